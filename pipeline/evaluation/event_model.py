"""A spiking network as NengoDL runs it, bit for bit, without NengoDL's loop over the whole network at every step.

NengoDL computes every convolution of every step densely, though few neurons spike, passes over all neurons a dozen
times, and keeps the history of all of them as floats. Here a layer runs through all steps before the next one starts,
and only spikes are added up (`event_kernels`). Bits hang on the order in which an operation adds, which no document
promises: each of TensorFlow's operations is asked once, on random spikes, and where spikes in C order do not give its
bits the operation itself is used, for all steps at once. `CheckedModel` then holds the first samples of every run to
NengoDL.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
from cotrain.hardware.emulator.emulator import default_threads
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.evaluation import event_kernels as kernels
from cotrain.pipeline.evaluation.event_maps import tables
from cotrain.pipeline.networks import IMAGE, Edge, NetworkSpec, Params
from nengo.builder.operator import ElementwiseInc
from nengo.utils.filter_design import cont2discrete

VALUES = 50_000_000  # float32 that the sums of a batch may take
TRIED = 4  # random samples that an operation of TensorFlow is held to


@dataclass(frozen=True)
class Spikes:
    """Of one layer in one presentation."""

    neuron: np.ndarray  # (n,) int32, step by step
    slot: np.ndarray  # (n_steps + 1,) int64: those of step t are neuron[slot[t] : slot[t + 1]]
    counts: np.ndarray | None  # (n,): spikes of each in its step; None where all are 1

    def dense(self, n_neurons: int) -> np.ndarray:
        """(n_steps, n_neurons) int32."""
        steps = np.repeat(np.arange(len(self.slot) - 1), np.diff(self.slot))
        found = np.zeros((len(self.slot) - 1, n_neurons), np.int32)
        found[steps, self.neuron] = 1 if self.counts is None else self.counts
        return found

    def per_neuron(self, n_neurons: int) -> np.ndarray:
        """(n_neurons,) int64."""
        return np.bincount(self.neuron, self.counts, n_neurons).astype(np.int64)

    def per_step(self) -> np.ndarray:
        """(n_steps,) int64."""
        if self.counts is None:
            return np.diff(self.slot)
        until = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        return np.diff(until[self.slot])

    def before_last_step(self, weights: np.ndarray) -> int:
        """Sum of `weights` (n_neurons,) int64 over the spikes of all steps but the last."""
        end = self.slot[-2]
        found = weights[self.neuron[:end]]
        return int(found.sum() if self.counts is None else found @ self.counts[:end].astype(np.int64))


class EventModel:
    """A network of rectified neurons, the chip's or Nengo's.

    Parameters
    ----------
    model : pipeline.evaluation.models.NengoDLModel
        The same network in NengoDL, built.
    params : dict of ndarray
    """

    def __init__(self, model: Any, params: Params):
        self.spec: NetworkSpec = model.spec
        self.n_steps, self.params = model.n_steps, params
        built, dt_s = model.built, model.sim.dt
        layers = [*self.spec.layers, self.spec.readout]
        self.edges = {layer.name: _in_order(model, layer) for layer in layers}
        first = next(iter(built.layers.values()))
        unit = np.float32(first.neuron_type.amplitude) / np.float32(dt_s)
        keep, inflow = _lowpass(built, dt_s)
        self.neurons = kernels.Neurons(
            "Loihi" in type(first.neuron_type).__name__,
            np.float32(first.gain[0]), np.float32(dt_s), unit, np.float32(keep), np.float32(inflow),
            int(_delayed(built)),
        )  # fmt: skip
        self.lift = np.zeros(0, np.float32)
        if built.start is not None:
            sent = [c.transform.init.ravel() for c in built.net.connections if c.pre_obj == built.start.neurons]
            self.lift = np.concatenate(sent).astype(np.float32) * unit
        biases = [model.sim.model.params[ensemble].bias for ensemble in built.layers.values()]
        self.bias = np.concatenate(biases).astype(np.float32)
        readout = params[f"{self.spec.readout.name}.bias"]
        self.readout_bias = np.broadcast_to(readout, self.spec.readout.output_shape).ravel().astype(np.float32)
        self.given = self._not_in_order(params)
        self.tables = tables(self.spec, self.edges, params, self.given)
        self.threads, self.own = default_threads(), local()

    def run(self, images: np.ndarray) -> Any:
        """Yield of each image the readout (n_steps, size) and {layer: its `Spikes`}."""
        size = self.n_steps * max([1, *(edge.target.n_neurons for edge in self.given)])
        size = int(np.clip(VALUES // (size * max(1, len(self.given))), 1, 64))
        with ThreadPoolExecutor(self.threads) as pool:
            for first in range(0, len(images), size):
                part = np.ascontiguousarray(images[first : first + size], np.float32)
                bases = self._bases(part)
                if self.given:
                    yield from self._run_given(pool, bases)
                else:
                    yield from pool.map(lambda base: self._finish(self._layers(base)), bases)

    def _bases(self, images: np.ndarray) -> np.ndarray:
        """Currents that do not change, (n_samples, n_neurons)."""
        bases = np.repeat(self.bias[None], len(images), axis=0)
        start = 0
        for layer in self.spec.layers:
            own = bases[:, start : start + layer.n_neurons]
            for edge in self.edges[layer.name]:
                if edge.source == IMAGE:
                    own += self.neurons.gain * _dense(edge, self.params[edge.param], images)
            start += layer.n_neurons
        return bases

    def _layers(self, base: np.ndarray) -> kernels.Scratch:
        scratch = self._scratch()
        kernels.run_layers(self.tables, self.neurons, scratch, base, self.lift, _NONE_GIVEN, 0, len(self.spec.layers))
        return scratch

    def _finish(self, scratch: kernels.Scratch, given: np.ndarray | None = None):
        readout = np.empty((self.n_steps, self.spec.readout.n_neurons), np.float32)
        given = _NONE_GIVEN if given is None else given
        kernels.read_out(self.tables, scratch, self.readout_bias, given, readout)
        return readout, {layer.name: self._spikes(scratch, i) for i, layer in enumerate(self.spec.layers)}

    def _spikes(self, scratch: kernels.Scratch, layer: int) -> Spikes:
        slot = scratch.slot[layer]
        events = slice(slot[0], slot[-1])
        counts = None if self.neurons.on_chip else np.rint(scratch.values[events] / self.neurons.unit)
        return Spikes(scratch.events[events].copy(), slot - slot[0], counts)

    def _run_given(self, pool: ThreadPoolExecutor, bases: np.ndarray):
        """As `run`, layer by layer, because TensorFlow adds up some edges for all samples."""
        n = len(bases)
        scratches = [self._new_scratch() for _ in range(n)]
        width = max(edge.target.n_neurons for edge in self.given)
        given = np.zeros((n, len(self.given), self.n_steps, width), np.float32)
        names = [layer.name for layer in self.spec.layers]
        for i, layer in enumerate((*self.spec.layers, self.spec.readout)):
            for edge in self.edges[layer.name]:
                if edge not in self.given:
                    continue
                source = names.index(edge.source)
                sent = np.zeros((n, self.n_steps, int(np.prod(edge.input.shape))), np.float32)
                for scratch, dense in zip(scratches, sent, strict=True):
                    slot = scratch.slot[source]
                    step = np.repeat(np.arange(self.n_steps), np.diff(slot))
                    events = slice(slot[0], slot[-1])
                    dense[step, scratch.events[events]] = scratch.values[events]
                sums = _dense(edge, self.params[edge.param], sent.reshape(n * self.n_steps, *edge.input.shape))
                given[:, self.given.index(edge), :, : layer.n_neurons] = sums.reshape(n, self.n_steps, -1)
            if layer is not self.spec.readout:
                arguments = [(scratches[k], bases[k], self.lift, given[k]) for k in range(n)]
                list(pool.map(lambda a, i=i: kernels.run_layers(self.tables, self.neurons, *a, i, i + 1), arguments))
        yield from pool.map(self._finish, scratches, given)

    def _scratch(self) -> kernels.Scratch:
        """This thread's."""
        if not hasattr(self.own, "scratch"):
            self.own.scratch = self._new_scratch()
        return self.own.scratch

    def _new_scratch(self) -> kernels.Scratch:
        most = max(layer.n_neurons for layer in (*self.spec.layers, self.spec.readout))
        edges = max(len(found) for found in self.edges.values()) + 1  # and what comes in once
        n = self.spec.n_neurons * self.n_steps + 8  # pages that nobody writes to take no memory
        parts = (
            np.empty(n, np.int32), np.empty(n, np.float32),
            np.zeros((len(self.spec.layers), self.n_steps + 1), np.int64),
            np.empty((edges, most), np.float32), *(np.empty(most + 8, np.float32) for _ in range(4)),
            np.zeros((most + 7) // 8, np.uint64),
        )  # fmt: skip
        return kernels.Scratch._make(parts)

    def _not_in_order(self, params: Params) -> list[Edge]:
        """The edges whose sums TensorFlow does not add up in C order."""
        inner = [edge for found in self.edges.values() for edge in found if edge.source != IMAGE]
        every = tables(self.spec, self.edges, params, [])
        names = [layer.name for layer in self.spec.layers]
        most = max(layer.n_neurons for layer in self.spec.layers)
        rng = np.random.default_rng(0)
        found = []
        for i, edge in enumerate(inner):
            x = (rng.random((TRIED, int(np.prod(edge.input.shape)))) < 0.3) * self.neurons.unit
            theirs = _dense(edge, params[edge.param], x.astype(np.float32).reshape(TRIED, *edge.input.shape))
            for k in range(TRIED):
                events = np.flatnonzero(x[k]).astype(np.int32)
                values = np.full(len(events), self.neurons.unit, np.float32)
                none = np.empty((1, most), np.float32)
                slot, flags = np.zeros((len(names), 2), np.int64), np.zeros(1, np.uint64)
                scratch = kernels.Scratch._make((events, values, slot, none, *none[[0] * 4], flags))
                ours = np.empty(edge.target.n_neurons, np.float32)
                kernels.weighted_sum(every, i, scratch, 0, len(events), ours)
                if not np.array_equal(ours, theirs[k]):
                    found.append(edge)
                    break
        return found


_NONE_GIVEN = np.zeros((0, 0, 0), np.float32)


def supported(model: Any) -> bool:
    """Whether a NengoDLModel's neurons are those that `EventModel` knows, without a voltage in the beginning."""
    signals = model.sim.model.sig
    for ensemble in model.built.layers.values():
        kind = type(ensemble.neuron_type).__name__
        if kind not in ("HybridLoihiRectified", "HybridRectified") or len(set(ensemble.gain)) != 1:
            return False
        if np.any(signals[ensemble.neurons]["voltage"].initial_value):
            return False
    return True


def _in_order(model, layer) -> list[Edge]:
    """A layer's edges in the order in which NengoDL adds them up."""
    edges, built = layer.edges(), model.built
    if layer.name not in built.layers or len(edges) == 1:
        return edges
    signals = model.sim.model.sig
    of_signal = {id(signals[built.connections[edge.param]]["weighted"]): edge for edge in edges}
    plan = [op for ops in model.sim.tensor_graph.plan for op in ops if isinstance(op, ElementwiseInc)]
    found = [of_signal[id(op.X)] for op in plan if id(op.X) in of_signal]
    return found if len(found) == len(edges) else edges


def _delayed(built) -> bool:
    return any(c.synapse is not None for c in built.connections.values())


def _lowpass(built, dt_s: float) -> tuple[float, float]:
    """What a synapse keeps of its state in a step and what it takes in, as NengoDL's LowpassBuilder has them."""
    synapse = next((c.synapse for c in built.connections.values() if c.synapse is not None), None)
    if synapse is None or synapse.tau <= 0.03 * dt_s:
        return 0.0, 1.0
    numerator, denominator, _ = cont2discrete((synapse.num, synapse.den), dt_s, method="zoh")
    return -float(denominator[1]), float(np.trim_zeros(np.ravel(numerator), "f")[0])


def _dense(edge: Edge, kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The edge's map of (n, *shape of its source) by the operation that NengoDL's builders take, as (n, n_targets)."""
    tf = import_tensorflow()
    if edge.kind == "dense":
        columns = tf.transpose(tf.constant(x.reshape(len(x), 1, -1)), (1, 2, 0))
        return tf.matmul(tf.constant(np.ascontiguousarray(kernel.T)[None]), columns).numpy()[0].T
    above, below, left, right = edge.input.pad
    x = np.pad(x, ((0, 0), (above, below), (left, right), (0, 0)))
    arguments = {"strides": edge.input.stride, "padding": edge.input.padding.upper(), "data_format": "NHWC"}
    if edge.kind == "conv":
        y = tf.nn.convolution(input=x, filters=kernel, **arguments)
    else:
        y = tf.nn.conv_transpose(
            input=x, filters=tf.transpose(kernel, (0, 1, 3, 2)), output_shape=[len(x), *edge.output_shape], **arguments
        )
    return y.numpy().reshape(len(x), -1)
