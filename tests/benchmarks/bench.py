"""How fast the emulator is, against nengo-loihi's and against this machine: ``make bench``.

    python tests/benchmarks/bench.py [--seconds 30] [--out reports] [--only cifar10,probed,locnet,cae,threads,scaling]

Writes benchmarks.json and benchmarks.md after each part; with --only, the other parts stay as they were measured
before on this machine, so that a run that was stopped can go on. Both emulators run the same network on the same images
in the same process; building is left out of both times, and what nengo-loihi computes is compared to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

from architectures import CASES, random_network  # noqa: E402
from cotrain import hardware  # noqa: E402
from cotrain.hardware.emulator.emulator import default_threads  # noqa: E402
from cotrain.hardware.emulator.vectors import add_rows_128  # noqa: E402
from numba import njit  # noqa: E402

N_SAMPLES, N_STEPS = 64, 50
LANES = 128
SCHEMA = 2
PARTS = {"cifar10": "cifar10", "probed": "cifar10, every layer probed", "locnet": "locnet", "cae": "cae"}


def images(case, n, seed=0):
    return np.random.RandomState(seed).uniform(0, 1, (n, 1, case.image.size_out))


def best_time(run, repeats=3):
    """Shortest of some runs, in seconds: the others were disturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(sim, case, n_samples=N_SAMPLES, n_steps=N_STEPS, repeats=3, **kwargs):
    """Seconds and counts of one `predict`."""
    x = images(case, n_samples)
    sim.predict({case.image: x[:1]}, n_steps=2)  # compiled code is loaded
    seconds = best_time(lambda: sim.predict({case.image: x}, n_steps=n_steps, **kwargs), repeats)
    stats, steps = sim.stats, n_samples * n_steps
    return {
        "samples": n_samples,
        "steps": n_steps,
        "seconds": seconds,
        "samples_per_s": n_samples / seconds,
        "ms_per_sample_step": 1e3 * seconds / steps,
        "neurons_on_chip": int(sim.program.n_compartments),
        "spikes_per_step": float(sum(v.sum() for v in stats.spikes.values()) / steps),
        "synops_per_step": float(sum(v.sum() for v in stats.synops.values()) / steps),
        "synops_per_s": float(sum(v.sum() for v in stats.synops.values()) / seconds),
    }


def read_all(out):
    """Every probe as numbers; how many bytes these are."""
    return sum(array.nbytes for array in out.values())


def against_reference(name, seconds):
    """One row of the table: this emulator, and nengo-loihi's for as many samples as fit into `seconds`."""
    case = CASES[name]()
    start = time.perf_counter()
    with hardware.Simulator(case.net, target="emulator") as sim:
        build_s = time.perf_counter() - start
        row = {"network": name, "cores": len(sim.program.blocks), "build_s": build_s, **measure(sim, case)}
        row["pool_bytes"] = int(sim.emulator.layout.pool.nbytes)
        x = images(case, N_SAMPLES)
        if case.spikes:
            start = time.perf_counter()
            row["read_bytes"] = read_all(sim.predict({case.image: x}, n_steps=N_STEPS))
            row["seconds_with_numbers"] = time.perf_counter() - start
            again = time.perf_counter()
            read_all(sim.predict({case.image: x}, n_steps=N_STEPS))
            row["seconds_with_numbers"] = min(row["seconds_with_numbers"], time.perf_counter() - again)
        n_compared = 0
        with hardware.Simulator(case.net, target="reference") as reference:
            spent = 0.0
            while n_compared < N_SAMPLES and (n_compared == 0 or spent < seconds):
                one = {case.image: x[n_compared : n_compared + 1]}
                start = time.perf_counter()
                expected = reference.predict(one, n_steps=N_STEPS)
                spent += time.perf_counter() - start
                n_compared += 1
                found = sim.predict(one, n_steps=N_STEPS)
                if not all(np.array_equal(found[p], expected[p]) for p in (case.output, *case.spikes)):
                    raise SystemExit(f"{name}: sample {n_compared - 1} differs from nengo-loihi's; no speed to report")
    row.update(
        reference_samples=n_compared,
        reference_samples_per_s=n_compared / spent,
        reference_ms_per_sample_step=1e3 * spent / n_compared / N_STEPS,
        speedup=row["samples_per_s"] * spent / n_compared,
    )
    if case.spikes:
        row["speedup_with_numbers"] = N_SAMPLES / row["seconds_with_numbers"] * spent / n_compared
    return row


# --- what this machine can do


@njit(nogil=True)
def _add(q, pool, rows, width, repeats):
    for _ in range(repeats):
        for offset in range(0, width, 128):
            add_rows_128(q, offset, pool, offset, rows, rows.size, 0)


def ceiling(pool_bytes, threads):
    """16-bit additions per second: sums of rows of a pool of this size, nothing else."""
    width = LANES if pool_bytes <= 32 << 10 else 6 * LANES  # at least 64 rows, so that the sums are what takes time
    n_rows = max(64, pool_bytes // (2 * width))
    rng = np.random.RandomState(0)

    def work(_):
        pool = rng.randint(-255, 256, n_rows * width + LANES).astype(np.int16)
        rows = rng.permutation(n_rows).astype(np.int64)[:128] * width
        q = np.zeros(width + LANES, dtype=np.int32)
        _add(q, pool, rows, width, 1)
        repeats = max(1, 20_000_000 // (rows.size * width))
        return best_time(lambda: _add(q, pool, rows, width, repeats)) / repeats / rows.size / width

    with ThreadPoolExecutor(threads) as pool:
        return float(sum(1 / t for t in pool.map(work, range(threads))))


@njit(nogil=True)
def _spin(n):
    x = np.uint64(1)
    for _ in range(n):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


def fill_rate(threads, n_bytes=512 << 20):
    """Bytes per second of fresh memory that threads can fill with floats."""

    def fill(rows):
        rows[:] = 1000.0

    def run():
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, np.array_split(np.zeros(n_bytes // 8), threads)))

    return n_bytes / best_time(run)


def spinning(threads):
    """Seconds of a loop that needs nothing but a core."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_spin, [40_000_000 // threads] * threads))
    return time.perf_counter() - start


@njit(nogil=True)
def _add_rows(q, pool, orders, width, n):
    for k in range(n):
        for offset in range(0, width, LANES):
            add_rows_128(q, offset, pool, offset, orders[k % len(orders)], orders.shape[1], 0)


def adding(pool_bytes, n=20_000):
    """times(threads): seconds of nothing but additions of rows of weights, from a pool of this size a thread."""
    width = 6 * LANES
    rng = np.random.RandomState(0)
    n_rows = max(64, pool_bytes // (2 * width))
    orders = np.stack([rng.permutation(n_rows)[:64] for _ in range(64)]) * width
    pools = [rng.randint(-255, 256, n_rows * width + LANES).astype(np.int16) for _ in range(2)]

    def work(pool, n):
        _add_rows(np.zeros(width + LANES, dtype=np.int32), pool, orders, width, n)

    def times(threads):
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, pools[:threads], [n // threads] * threads))
        return time.perf_counter() - start

    work(pools[0], 1)
    return times


def gains_of_a_thread(what, repeats=7):
    """What a second thread gains each of some times(threads), which take turns."""
    found = {(name, n): [] for name in what for n in (1, 2)}
    for _ in range(repeats):
        for name, n in found:
            found[name, n].append(what[name](n))
    return {name: min(found[name, 1]) / min(found[name, 2]) for name in what}


def two_threads(threads):
    """One row a network: what a second thread gains it, a loop that needs nothing but a core, and one of memory."""
    rows = []
    _spin(1)
    for name in ("cifar10", "locnet", "cae") if threads > 1 else ():
        case = CASES[name]()
        x = images(case, 32)
        with hardware.Simulator(case.net, target="emulator") as sim:

            def predict(n, sim=sim, case=case, x=x):
                sim.threads = n
                start = time.perf_counter()
                sim.predict({case.image: x}, n_steps=N_STEPS)
                return time.perf_counter() - start

            predict(1)
            memory = adding(sim.emulator.layout.pool.nbytes)
            rows.append({
                "network": name, **gains_of_a_thread({"gain": predict, "control": spinning, "memory": memory})
            })  # fmt: skip
            print(rows[-1], file=sys.stderr)
    return rows


# --- how cost grows


def stack(filters, gain=3.0, n_probed=0):
    """16×16 pixels; 4 filters on the host, then two 3×3 convolutions."""
    layers = ((4, 1, 1, None), (filters, 3, 1, None), (filters, 3, 1, None))
    case = random_network("stack", (16, 16, 1), layers, gain, n_probed=n_probed)
    hardware.partition(case.net)
    return case


def scaling(threads):
    tables = {}
    rows = tables["neurons"] = []
    for filters in (8, 16, 32, 64):
        case = stack(filters)
        with hardware.Simulator(case.net, target="emulator") as sim:
            rows.append({"value": sim.program.n_compartments, **measure(sim, case, 32)})
    rows = tables["firing rate (gain of the first layer)"] = []
    for gain in (1.0, 2.0, 4.0, 8.0):
        case = stack(32, gain)
        with hardware.Simulator(case.net, target="emulator") as sim:
            rows.append({"value": gain, **measure(sim, case, 32)})
    case = stack(32)
    with hardware.Simulator(case.net, target="emulator") as sim:
        tables["steps"] = [{"value": n, **measure(sim, case, 16, n)} for n in (25, 50, 100, 200)]
        tables["batch"] = [{"value": n, **measure(sim, case, n)} for n in (1, 4, 16, 64)]
        tables["threads"] = rows = []
        for sim.threads in range(1, threads + 1):
            rows.append({"value": sim.threads, **measure(sim, case, 32)})
    rows = tables["layers probed (32 filters, 16,384 neurons at most)"] = []
    for n in (0, 1, 2):
        case = stack(32, n_probed=n)
        with hardware.Simulator(case.net, target="emulator") as sim:
            rows.append({"value": n, **measure(sim, case, 32)})
            if n == 2:
                tables["last_steps, of 50, both layers probed"] = [
                    {"value": kept, **measure(sim, case, 32, last_steps=kept)} for kept in (1, 10, 50)
                ]
    return tables


# --- report


def markdown(result):
    lines = ["# Benchmarks", "", f"{result['machine']}; {result['threads']} threads; {result['date']}.", ""]
    lines += [
        f"`predict` on {N_SAMPLES} samples × {N_STEPS} steps against nengo-loihi's emulator in the same process "
        "(random weights, every compared sample equal to the last bit).",
        "",
        "| network | neurons on chip | spikes/step | synops/step | ms per sample and step | nengo-loihi | speed-up |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in result["networks"]:
        lines.append(
            f"| {r['network']} | {r['neurons_on_chip']:,} | {r['spikes_per_step']:,.0f} "
            f"| {r['synops_per_step']:,.0f} | "
            f"{r['ms_per_sample_step']:.3f} | {r['reference_ms_per_sample_step']:,.0f} ms "
            f"({r['reference_samples']} samples) | **{r['speedup']:,.0f}×** |"
        )
    lines += [
        "",
        "Synaptic operations per second, and how many this machine could add if it did nothing else: with all weights "
        "in the first-level cache (vector units), and from a pool of the network's size (memory).",
        "",
        "| network | weights in memory | synops/s | vector units | memory |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for r in result["networks"]:
        share = 100 * r["synops_per_s"]
        lines.append(
            f"| {r['network']} | {r['pool_bytes'] / 1e6:.1f} MB | {r['synops_per_s'] / 1e9:.1f}·10⁹ | "
            f"{result['ceiling_vector'] / 1e9:.0f}·10⁹ ({share / result['ceiling_vector']:.0f} %) | "
            f"{r['ceiling_memory'] / 1e9:.0f}·10⁹ ({share / r['ceiling_memory']:.0f} %) |"
        )
    probed = [r for r in result["networks"] if "read_bytes" in r]
    for r in probed:
        lines += [
            "",
            f"With every layer probed, {r['read_bytes'] / N_SAMPLES / N_STEPS / 8:,.0f} values a step: spikes stay "
            f"bits until somebody looks. `predict` and every value as a float: {r['seconds_with_numbers']:.2f} s for "
            f"{r['read_bytes'] / 1e9:.2f} GB, **{r['speedup_with_numbers']:,.0f}×** nengo-loihi; this machine fills "
            f"fresh memory with floats at {result['fill_bytes_per_s'] / 1e9:.1f} GB/s, "
            f"{r['read_bytes'] / result['fill_bytes_per_s']:.2f} s for as much.",
        ]
    if result["two_threads"]:
        lines += [
            "",
            "What a second thread gains, and what it gains a loop that needs nothing but a core, and one that adds "
            "rows of weights from a pool of the network's size, measured by turns:",
            "",
            "| network | two threads | the loop | weights |",
            "| --- | ---: | ---: | ---: |",
        ]
        for r in result["two_threads"]:
            memory = f"{r['memory']:.2f}×" if "memory" in r else "–"
            lines.append(f"| {r['network']} | {r['gain']:.2f}× | {r['control']:.2f}× | {memory} |")
    if result["scaling"]:
        lines += ["", "How cost grows: two 3×3 convolutions on 16×16 pixels.", ""]
    for name, rows in result["scaling"].items():
        lines += [f"| {name} | spikes/step | ms per sample and step | synops/s |", "| ---: | ---: | ---: | ---: |"]
        lines += [
            f"| {r['value']:,} | {r['spikes_per_step']:,.0f} | {r['ms_per_sample_step']:.4f} | "
            f"{r['synops_per_s'] / 1e9:.1f}·10⁹ |"
            for r in rows
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def machine():
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, Python {platform.python_version()}, NumPy {np.__version__}"


def measured_before(path):
    """What stands in a report of this machine, {} where there is none."""
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return before if before.get("schema") == SCHEMA and before.get("machine") == machine() else {}


def write(result, out):
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("benchmarks.json", json.dumps(result, indent=1)), ("benchmarks.md", markdown(result))):
        temporary = out / f"{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, out / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="time for nengo-loihi, per network")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the report")
    parser.add_argument("--only", help=f"parts to run, with commas: {', '.join((*PARTS, 'threads', 'scaling'))}")
    args = parser.parse_args()
    known = [*PARTS, "threads", "scaling"]
    parts = args.only.split(",") if args.only else known
    if unknown := [part for part in parts if part not in known]:
        parser.error(f"--only: no part {', '.join(unknown)}; choose from {', '.join(known)}")
    warnings.simplefilter("ignore")
    threads = default_threads()
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"the machine is busy (load {load:.1f}): times will be too long", file=sys.stderr)
    result = {"networks": [], "two_threads": [], "scaling": {}}
    result.update(measured_before(args.out / "benchmarks.json") if args.only else {})
    result.update(
        schema=SCHEMA,
        machine=machine(),
        threads=threads,
        load_at_start=load,
        date=time.strftime("%Y-%m-%d"),
        ceiling_vector=ceiling(16 << 10, threads),
        fill_bytes_per_s=fill_rate(threads),
    )
    for part in parts:
        print(part, file=sys.stderr)
        if part == "threads":
            result["two_threads"] = two_threads(threads)
        elif part == "scaling":
            result["scaling"] = scaling(threads)
        else:
            row = against_reference(PARTS[part], args.seconds)
            row["ceiling_memory"] = ceiling(row["pool_bytes"], threads)
            rows = [r for r in result["networks"] if r["network"] != row["network"]] + [row]
            result["networks"] = sorted(rows, key=lambda r: list(PARTS.values()).index(r["network"]))
        write(result, args.out)
    print(markdown(result))


if __name__ == "__main__":
    main()
