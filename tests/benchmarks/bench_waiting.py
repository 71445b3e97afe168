"""Where people wait besides the emulator: start-up, and NengoDL's rows of a comparison.

    python tests/benchmarks/bench_waiting.py [--json FILE] [--samples 48]

Start-up in seconds of CPU (user and system, of the command and what it starts), the best of several; NengoDL's rows as
the ratio of NengoDL alone to what the stages run, in one process on the same images, after both are built. Whether
readouts and spikes are equal to the last bit is part of the result.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "reports" / "benchmarks-waiting.json"
NETWORK = """
import nengo
import numpy as np

def build():
    with nengo.Network(seed=0) as net:
        image = nengo.Node(np.zeros(784))
        hidden = nengo.Ensemble(128, 1, max_rates=nengo.dists.Choice([100]), intercepts=nengo.dists.Choice([0]))
        nengo.Connection(image, hidden.neurons, transform=nengo.dists.Uniform(-0.05, 0.1))
        output = nengo.Node(size_in=10)
        nengo.Connection(hidden.neurons, output, transform=nengo.dists.Uniform(-0.01, 0.01))
        nengo.Probe(output, synapse=0.01)
    return net
"""
BARS_S = {"check": 3.0, "check of a file that imports nengo_loihi": 4.0}
TURNS = 3


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a command and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_up() -> list[dict]:
    cotrain = [sys.executable, "-m", "cotrain.pipeline"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plain, imports = Path(folder) / "plain.py", Path(folder) / "imports.py"
        plain.write_text(NETWORK)
        imports.write_text("import nengo_loihi\n" + NETWORK)
        commands = {
            "import nengo": [sys.executable, "-W", "ignore", "-c", "import nengo"],
            "from cotrain import hardware": [sys.executable, "-c", "from cotrain import hardware"],
            "--help": [*cotrain, "--help"],
            "check": [*cotrain, "check", f"{plain}:build"],
            "check of a file that imports nengo_loihi": [*cotrain, "check", f"{imports}:build"],
        }
        for name, command in commands.items():
            seconds = min(cpu_seconds(command) for _ in range(TURNS))
            rows.append({"what": name, "cpu_seconds": seconds, "bar_s": BARS_S.get(name)})
            print(f"{name}: {seconds:.2f} s of CPU", flush=True)
    return rows


def rows_of(name: str, n: int) -> dict:
    """NengoDL alone against what the stages run, on random images and the package's parameters."""
    from cotrain.pipeline import experiment as experiments
    from cotrain.pipeline.evaluation import event_model
    from cotrain.pipeline.evaluation.models import NengoDLModel
    from cotrain.pipeline.networks import spec_for
    from cotrain.pipeline.runs.parameters import from_package

    experiment = experiments.load(name).deployed()
    channels = max(1, 1 + 2 * experiment.data.neighbours)
    spec = spec_for(experiment.network, (experiment.data.height, experiment.data.width, channels))
    params = from_package(experiment).params["hybrid"]
    images = np.random.default_rng(0).random((n, *spec.input_shape)).astype(np.float32) ** 3
    with NengoDLModel(experiment, spec, params, "hybrid") as model:
        fast = event_model.EventModel(model, params)
        size = model.minibatch
        model.outputs(images[:size])
        list(fast.run(images[:2]))
        seconds = {"nengo-dl": [], "ours": []}
        equal = True
        for first in range(0, n - n % size, size):
            part = images[first : first + size]
            started = time.process_time()
            readout, outputs = model.outputs(part)
            between = time.process_time()
            found = list(fast.run(part))
            seconds["nengo-dl"].append(between - started)
            seconds["ours"].append(time.process_time() - between)
            for i, (ours, spikes) in enumerate(found):
                equal &= np.array_equal(ours, readout[i])
                for layer, values in outputs.items():
                    theirs = np.rint(values[i] * np.float32(model.amplitude))
                    equal &= np.array_equal(spikes[layer].dense(values.shape[-1]), theirs)
    best = {key: min(values) / size for key, values in seconds.items()}
    row = {
        "network": name, "n_neurons": spec.n_neurons, "n_steps": model.n_steps, "samples": n, "minibatch": size,
        "cpu_seconds_a_sample": best, "times_faster": best["nengo-dl"] / best["ours"], "equal": bool(equal),
        "sums_by_tensorflow": [edge.param for edge in fast.given],
    }  # fmt: skip
    told = "equal" if equal else "DIFFERENT"
    print(f"{name}: {row['times_faster']:.1f} times NengoDL, {1000 * best['ours']:.1f} ms a sample, {told}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=REPORT)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--networks", default="cae,cae-60,locnet", help="experiments with packed parameters")
    arguments = parser.parse_args()
    report = {
        "schema": 1,
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "start_up": start_up(),
        "nengo_dl_rows": [rows_of(name, arguments.samples) for name in arguments.networks.split(",")],
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.json.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
