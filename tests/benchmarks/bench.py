"""How fast the emulator is, against nengo-loihi's and against this machine: ``make bench``.

    python tests/benchmarks/bench.py [--seconds 60] [--out reports] [--only cifar10,locnet,cae,scaling]

Writes benchmarks.json and benchmarks.md. Both emulators run the same network on the same images in the same process;
building is left out of both times, and what nengo-loihi computes is compared to the last bit.
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


def measure(sim, case, n_samples=N_SAMPLES, n_steps=N_STEPS, repeats=3):
    """Seconds and counts of one `predict`."""
    x = images(case, n_samples)
    sim.predict({case.image: x[:1]}, n_steps=2)  # compiled code is loaded
    seconds = best_time(lambda: sim.predict({case.image: x}, n_steps=n_steps), repeats)
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


def against_reference(name, seconds):
    """One row of the table: this emulator, and nengo-loihi's for as many samples as fit into `seconds`."""
    case = CASES[name]()
    start = time.perf_counter()
    with hardware.Simulator(case.net, target="emulator") as sim:
        build_s = time.perf_counter() - start
        row = {"network": name, "cores": len(sim.program.blocks), "build_s": build_s, **measure(sim, case)}
        row["pool_bytes"] = int(sim.emulator.layout.pool.nbytes)
        n_compared = 0
        with hardware.Simulator(case.net, target="reference") as reference:
            spent, x = 0.0, images(case, N_SAMPLES)
            while n_compared < N_SAMPLES and (n_compared == 0 or spent < seconds):
                one = {case.image: x[n_compared : n_compared + 1]}
                start = time.perf_counter()
                expected = reference.predict(one, n_steps=N_STEPS)[case.output]
                spent += time.perf_counter() - start
                n_compared += 1
                if not np.array_equal(sim.predict(one, n_steps=N_STEPS)[case.output], expected):
                    raise SystemExit(f"{name}: sample {n_compared - 1} differs from nengo-loihi's; no speed to report")
    row.update(
        reference_samples=n_compared,
        reference_samples_per_s=n_compared / spent,
        reference_ms_per_sample_step=1e3 * spent / n_compared / N_STEPS,
        speedup=row["samples_per_s"] * spent / n_compared,
    )
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


# --- how cost grows


def stack(filters, gain=3.0):
    """16×16 pixels; 4 filters on the host, then two 3×3 convolutions."""
    layers = ((4, 1, 1, None), (filters, 3, 1, None), (filters, 3, 1, None))
    case = random_network("stack", (16, 16, 1), layers, gain)
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
    rows = tables["threads"] = []
    for n in range(1, threads + 1):
        with hardware.Simulator(case.net, target="emulator", threads=n) as sim:
            rows.append({"value": n, **measure(sim, case, 32)})
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="time for nengo-loihi, per network")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the report")
    parser.add_argument("--only", default="cifar10,locnet,cae,scaling", help="parts to run, with commas")
    args = parser.parse_args()
    parts = args.only.split(",")
    warnings.simplefilter("ignore")
    threads = default_threads()
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"the machine is busy (load {load:.1f}): times will be too long", file=sys.stderr)
    result = {
        "schema": 1,
        "machine": machine(),
        "threads": threads,
        "load_at_start": load,
        "date": time.strftime("%Y-%m-%d"),
        "ceiling_vector": ceiling(16 << 10, threads),
        "networks": [],
    }
    for name in (p for p in parts if p in CASES):
        print(name, file=sys.stderr)
        row = against_reference(name, args.seconds)
        row["ceiling_memory"] = ceiling(row["pool_bytes"], threads)
        result["networks"].append(row)
    result["scaling"] = scaling(threads) if "scaling" in parts else {}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("benchmarks.json", json.dumps(result, indent=1)), ("benchmarks.md", markdown(result))):
        temporary = args.out / f"{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, args.out / name)
    print(markdown(result))


if __name__ == "__main__":
    main()
