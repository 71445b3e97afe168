"""`predict`: batches of samples through host, chip and host again, on all cores.

Every sample gives what a fresh nengo_loihi.Simulator gives for it. A thread takes a few samples at a time, so memory
does not depend on the size of the test set, but for the result itself.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Lock, local
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from cotrain.hardware.emulator.bits import listed
from cotrain.hardware.emulator.emulator import Emulator, default_threads
from cotrain.hardware.emulator.readout import SpikeReader, decode
from cotrain.hardware.errors import InputError
from cotrain.hardware.host.copies import Copies
from cotrain.hardware.host.neurons import spike_lines
from cotrain.hardware.host.operators import owner, remembered_by
from cotrain.hardware.host.plan import HostBatch, HostPlan
from cotrain.hardware.simulator.links import HostLinks
from cotrain.hardware.simulator.lists import NOTHING, in_a_row, joined, now, one_later
from cotrain.hardware.simulator.recording import sampled
from cotrain.hardware.simulator.results import BatchResult, Received, Result, StatsSum

_ROW_BYTES = 4 << 20  # host state of a batch: more samples cost cache, fewer cost Python's share of each step
_MAX_BATCH = 32  # samples
RESULT_BYTES = 3 << 30  # results larger than this do not leave room in 4 GB
WORK_BYTES = 2 << 30  # what all threads together may hold of samples that they work on
_LIST_BYTES = 128  # a step's list of spikes on Python's heap


class BatchRunner:
    """A compiled network with its host, ready for any number of samples.

    Parameters
    ----------
    emulator : Emulator
    links : HostLinks
    feeds : dict of {nengo.Node: bool}
        Nodes that are given, and whether their values stay the same over a presentation.
    ensembles : dict of {nengo.Ensemble: str}
        Spiking ensembles on the host, to be counted.
    seed : int
    random_states : dict of {operator: dict of RandomState}
        Of neurons on the host that fire by chance, as they were built.
    """

    def __init__(
        self, emulator: Emulator, links: HostLinks, feeds: Any, ensembles: Any, seed: int, random_states: Any = None
    ):
        self.emulator, self.links, self.seed = emulator, links, seed
        self.random_states = random_states or {}
        self.program = emulator.program
        self.feeds = feeds
        self.pre = self._plan(links.host_pre, feeds, ensembles, receives=False)
        self.host = self._plan(links.host, feeds, ensembles, receives=True)
        self.labels = list(ensembles.values())
        self._local = local()
        self._pool: Any = None
        self._scheduled = self._scheduled_lists()
        self._at_once = self.pre is not None and self.pre.idle and self.pre.repeatable and not self._scheduled
        recorder = emulator.recorder
        self.elements = [recorder.elements(i) for i in range(len(self.program.probes))]
        self.kept_as_bits = {
            probe: reader
            for probe, (index, filtered) in links.probes.items()
            if filtered is None and (reader := recorder.spike_reader(index)) is not None
        }

    def _plan(self, sim, feeds, ensembles, receives):
        if sim is None:
            return None
        model = sim.model
        signals = {model.sig[node]["out"]: same for node, same in feeds.items() if node in model.params}
        if receives:
            signals.update({model.sig[node]["out"]: False for _, node in self.links.receivers})
        neurons = {model.sig[e.neurons]["out"]: label for e, label in ensembles.items() if e in model.params}
        return HostPlan(sim, signals, self.links.senders, neurons)

    def _scheduled_lists(self):
        p = self.program
        lists = {}
        for k, step, line in zip(p.scheduled_input, p.scheduled_step, p.scheduled_index):
            lists.setdefault((int(k), int(step)), []).append(line)
        return {key: np.asarray(lines, dtype=np.int32) for key, lines in lists.items()}

    # --- one batch

    def run_batch(self, values: Dict[Any, np.ndarray], n: int, n_steps: int, first_kept: int, host_probes: Any) -> Any:
        """Run `n` samples; `values` is {node: (n, 1 or n_steps, size)}, `host_probes` what probes there write to."""
        out = BatchResult(self.emulator, n, self.labels, host_probes)
        noise = self.emulator.noise(np.random.RandomState(self.seed), n_steps)
        kept = [dict(zip(self._remembering, self._copies.fresh())) for _ in range(n)]
        if self.links.scheduled:
            arriving = self._before(values, n, n_steps, first_kept, out, kept)
            start, lines = joined([arriving(b) for b in range(n)])
            recording = self.emulator.run_many(self._scratch(), start, lines, n_steps, noise, out.counts)
            out.add_chip(slice(None), recording)
            recordings = [recording.sample(b) for b in range(n)]
            self._after(values, recordings, n, n_steps, first_kept, out, kept)
        else:
            recordings = self._together(values, n, n_steps, noise, first_kept, out, kept)
        steps = np.arange(1, n_steps + 1)
        for probe, (index, filtered) in self.links.probes.items():
            compiled = self.program.probes[index]
            seen = sampled(steps, probe.sample_every, self.program.dt_s)
            rows: Any = slice(first_kept, None) if seen.all() else seen & (steps > first_kept)
            if probe in self.kept_as_bits:
                mine = self.kept_as_bits[probe].words
                out.probes[probe] = [recording.words[rows, mine] for recording in recordings]
                continue
            for recording in recordings:
                data = decode(compiled, self.emulator.recorder.probe_outputs(recording, index))
                data = data if filtered is None else filtered(data)
                out.probes.setdefault(probe, []).append(np.asarray(data)[rows])
        return out

    def _feed(self, batch, values, t):
        for node, array in values.items():
            model = batch.plan.model
            if node in model.params and (t == 0 or array.shape[1] > 1):
                batch.feed(model.sig[node]["out"], array[:, t])

    def _sent(self, batch, events, step, n):
        """Note the spikes that the host sent in this step."""
        for key, source in batch.sent.items():
            for b in range(n):
                events[b][key].append(spike_lines(source[b]))
        for k in range(len(self.program.input_size)):
            if k in batch.direct:
                continue
            if (k, step) in self._scheduled:
                for b in range(n):
                    events[b][k].append(self._scheduled[k, step])
            elif k not in batch.sent:
                for b in range(n):
                    events[b][k].append(NOTHING)

    def _no_events(self, n):
        return [[[] for _ in self.program.input_size] for _ in range(n)]

    def _before(self, values, n, n_steps, first_kept, out, kept):
        """Run what feeds the chip; returns a function that gives a sample's input, as of `kernels.run_sample`."""
        if self._at_once:
            return lambda b: self._sample_at_once({node: x[b : b + 1] for node, x in values.items()}, n_steps, out, b)
        events = self._no_events(n)
        batch = _NoHost() if self.pre is None else HostBatch(self.pre, n, [self.seed, 0], kept, n_steps)
        for t in range(n_steps):
            if self.pre is not None:
                self._feed(batch, values, t)
                batch.step()
                self._keep(batch, t, first_kept, out)
            elif not self._scheduled:
                break
            self._sent(batch, events, t + 1, n)
        out.add_host(batch)
        return lambda b: self._arriving(batch, events[b], n_steps, out, b)

    def _sample_at_once(self, values, n_steps, out, b):
        """`_before` for one sample, where all that the host does is known after one step of it."""
        mine = self._local.__dict__
        if mine.get("key") != n_steps:
            mine["key"], mine["batch"] = n_steps, HostBatch(self.pre, 1, [self.seed, 0], None, n_steps)
        else:
            mine["batch"].again()
        batch = mine["batch"]
        self._feed(batch, values, 0)
        batch.step()
        out.add_host(batch, slice(b, b + 1))
        return self._arriving(batch, self._no_events(1)[0], n_steps, out, 0)

    def _arriving(self, batch, events, n_steps, out, b):
        sent = [
            batch.direct[k].lists[b] if k in batch.direct else in_a_row(lists, n_steps)
            for k, lists in enumerate(events)
        ]
        per_step = sum((np.diff(start) for start, _ in sent), np.zeros(n_steps, dtype=np.int64))
        out.input_spikes_max = max(out.input_spikes_max, int(per_step.max(initial=0)))
        return one_later(sent, n_steps)

    def _scratch(self):
        mine = self._local.__dict__
        if "scratch" not in mine:
            mine["scratch"] = self.emulator.new_scratch()
        return mine["scratch"]

    def _after(self, values, recordings, n, n_steps, first_kept, out, kept):
        if self.host is None:
            return
        batch = HostBatch(self.host, n, [self.seed, 1], kept, n_steps)
        received, spikes = [], []
        for index, node in self.links.receivers:
            sig = batch.plan.model.sig[node]["out"]
            value, lists = self._listed(index, recordings)
            if lists is not None and sig is sig.base and len(sig.shape) == 1:
                spikes.append(batch.receive(sig, lists, value))
            else:
                received.append((batch.view(sig), [Received(self, index, r) for r in recordings]))
        for t in range(n_steps):
            self._feed(batch, values, t)
            # nengo-loihi queues the value of step t for step t + 1; the first one is there at once
            for one in spikes:
                one.write(max(t - 1, 0))
            for view, samples in received:
                for b in range(n):
                    samples[b].write(max(t - 1, 0), view[b])
            batch.step()
            self._keep(batch, t, first_kept, out)
        out.add_host(batch)

    def _listed(self, index, recordings):
        """(value of a spike, list of (start, lines) of each sample) of a receiver of spikes, (None, None) of others."""
        reader, weight = self.elements[index] or (None, None)
        weight = 1.0 if weight is None else float(weight)
        if not isinstance(reader, SpikeReader) or not weight > 0:
            return None, None
        return weight, [listed(r.words[:, reader.words], reader.column) for r in recordings]

    def _together(self, values, n, n_steps, noise, first_kept, out, kept):
        """Host and chip step by step: the host needs the chip's values before it can go on."""
        batch = HostBatch(self.host, n, [self.seed, 1], kept)
        scratches = [self.emulator.new_scratch(1) for _ in range(n)]
        events = self._no_events(n)
        parts = [[] for _ in range(n)]
        signals = [(index, batch.plan.model.sig[node]["out"]) for index, node in self.links.receivers]
        for _, sig in signals:
            batch.feed(sig, 0)
        for t in range(n_steps):
            self._feed(batch, values, t)
            batch.step()
            self._keep(batch, t, first_kept, out)
            for b in range(n):
                start, lines = now([lists[-1] if lists else NOTHING for lists in events[b]])
                row = noise[t : t + 1] if len(noise) > 1 else noise[:1]
                recording = self.emulator.run_one(scratches[b], start, lines, 1, row, out.counts, resume=t > 0)
                out.add_chip(b, recording)
                parts[b].append(recording)
                for index, sig in signals:
                    Received(self, index, recording).write(0, batch.view(sig)[b])
            self._sent(batch, events, t + 1, n)
            for b in range(n):
                out.input_spikes_max = max(out.input_spikes_max, sum(len(lists[-1]) for lists in events[b]))
        out.add_host(batch)
        return [_in_one(p) for p in parts]

    def _keep(self, batch, t, first_kept, out):
        if t >= first_kept:
            for probe in batch.plan.model.probes:
                value = batch.probed(probe)
                if value is not None:
                    kept = out.n_kept[probe] = out.n_kept.get(probe, -1) + 1
                    out.host_probes[probe][:, kept] = value

    def _host_probes(self, n_samples, n_steps, first_kept):
        """Arrays for what is probed on the host."""
        steps = np.arange(first_kept + 1, n_steps + 1)
        return {
            probe: np.empty(
                (n_samples, int(sampled(steps, probe.sample_every, plan.dt).sum()), *plan.model.sig[probe]["in"].shape),
                dtype=plan.model.sig[probe]["in"].dtype,
            )
            for plan in (self.pre, self.host)
            if plan is not None
            for probe in plan.model.probes
        }

    # --- all batches

    def run(
        self,
        values: Dict[Any, np.ndarray],
        n_samples: int,
        n_steps: int,
        last_steps: Optional[int],
        probes: Any,
        progress: Any,
        threads: Optional[int] = None,
    ) -> Any:
        """Run all samples; returns ({probe: (n_samples, n_kept, size)}, Stats)."""
        threads = threads or default_threads()
        first_kept = 0 if last_steps is None else n_steps - last_steps
        self._check_results(probes, n_samples, n_steps, first_kept)
        batches = evenly(n_samples, threads, self._batch_size(n_samples, threads, n_steps))
        ops = [(owner(op, plan.model), op) for plan in (self.pre, self.host) if plan for op in plan.remembering]
        self._remembering = [op for _, op in ops]
        self._copies = Copies([(name, remembered_by(op, self.random_states)) for name, op in ops])
        host_probes = self._host_probes(n_samples, n_steps, first_kept)
        result = Result(probes, n_samples, host_probes)
        stats = StatsSum(self, n_samples)
        lock = Lock()

        def work(bounds):
            i, j = bounds
            mine = {probe: array[i:j] for probe, array in host_probes.items()}
            out = self.run_batch({node: x[i:j] for node, x in values.items()}, j - i, n_steps, first_kept, mine)
            with lock:
                result.put(i, j, out)
                stats.put(i, j, out)
            return j - i

        pool = self._threads(threads)
        waiting = {pool.submit(work, b) for b in batches}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                n_done = sum(f.result() for f in done)
                if progress is not None:
                    progress.advance(n_done)
        except BaseException:
            for f in waiting:
                f.cancel()
            wait(waiting)  # for those that had begun
            raise
        self._copies.check_shared()
        return result.outputs(self.kept_as_bits, threads), stats.stats()

    def _threads(self, n):
        """Threads that stay, with what they have in memory, from one call to the next."""
        if self._pool is None or self._pool[0] != n:
            if self._pool is not None:
                self._pool[1].shutdown()
            self._pool = n, ThreadPoolExecutor(n)
        return self._pool[1]

    def _batch_size(self, n_samples, threads, n_steps):
        """Samples that a thread takes at once, at most."""
        plans = (None if self._at_once else self.pre, self.host)
        rows = [p.row_bytes() for p in plans if p is not None]
        fit = max(1, _ROW_BYTES // max(rows + [1]))
        share = -(-n_samples // (2 * threads))
        at_work = min(threads, n_samples)
        room = WORK_BYTES // (at_work * self._sample_bytes(n_steps))
        if not room:
            fits = int(n_steps * WORK_BYTES / (at_work * self._sample_bytes(n_steps)))
            raise InputError(
                f"n_steps={n_steps:,}: predict holds a sample's steps in memory, and here {fits:,} fit; use run_steps "
                "for runs that long"
            )
        return int(max(1, min(fit, _MAX_BATCH, share, room)))

    def _sample_bytes(self, n_steps) -> int:
        """Memory that the steps of one sample take while it is worked on: spikes in, recordings, and their floats."""
        recorder = self.emulator.recorder
        per_step = 8 * recorder.n_words + 4 * sum(len(recorder.columns[key]) for key in ("voltage", "current"))
        bits = {self.links.probes[probe][0] for probe in self.kept_as_bits}
        read = [p.compartments for i, p in enumerate(self.program.probes) if i not in bits]
        per_step += 8 * sum(len(c) for compartments in read for c in compartments)
        per_step += sum(_LIST_BYTES + 4 * size for size in self.program.input_size)
        per_step += sum(8 * probe.size_in for plan in (self.pre, self.host) if plan for probe in plan.model.probes)
        return n_steps * max(int(per_step), _LIST_BYTES)

    def _check_results(self, probes, n_samples, n_steps, first_kept):
        """Refuse a result that is too large before anything runs."""
        total = 0
        for probe in probes:
            every = 1 if probe.sample_every is None else max(1.0, probe.sample_every / self.program.dt_s)
            key = self.program.probes[self.links.probes[probe][0]] if probe in self.links.probes else None
            itemsize = 4 if key is not None and all(w is None for w in key.weights) else 8
            n_bytes = n_samples * (n_steps - first_kept) / every * probe.size_in * itemsize
            total += n_bytes
            if total > RESULT_BYTES:
                raise InputError(
                    f"{probe}: {n_samples:,} samples of {n_steps - first_kept:,} steps with {probe.size_in:,} values "
                    f"need {n_bytes / 2**30:,.1f} GiB (for all probes {RESULT_BYTES / 2**30:.1f} are allowed); pass "
                    "last_steps to keep fewer steps, or predict in several calls"
                )


def evenly(n_samples: int, threads: int, size: int) -> List[Tuple[int, int]]:
    """Batches (first, end) of at most `size` samples, so many and so equal that all threads end together."""
    rounds = -(-n_samples // (size * threads))
    n = min(n_samples, rounds * threads)
    ends = [n_samples * k // n for k in range(n + 1)]
    return list(zip(ends, ends[1:]))


class _NoHost:
    sent: dict = {}
    direct: dict = {}
    spikes: dict = {}
    counts: dict = {}


def _in_one(parts):
    first = parts[0]
    whole = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("words", "currents", "voltages")}
    return replace(first, n_spikes=None, n_synops=None, overflows=None, **whole)
