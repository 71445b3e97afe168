"""The same rows through SANA-FE, beside our estimates: ``python tools/silicon_sanafe.py --data DIR``.

SANA-FE (PyPI `sanafe`, GPL-3) is installed into a throwaway environment and run there as a program of its own; nothing
of it is imported by or shipped with this package. Rows whose activity is published are rebuilt as networks of its LIF
neurons with its own description of Loihi: as many neurons, synapses, cores and spikes. Writes
reports/silicon-sanafe.json, which `make silicon` puts into its report.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VERSION = "2.2.9"
ROOT = Path(__file__).resolve().parents[1]
FULL = 2.0**20  # of V: a small bias would be lost, as SANA-FE rounds V like the chip
HOW = (
    "Every neuron is updated at every step (left to itself, SANA-FE skips neurons without input); spike times are "
    "drawn with seed 0, as many for each layer as published. Its time has no host and no fixed cost of a sample, its "
    "energy no x86 and no leakage: it models the cores alone."
)


def networks(data: Path) -> list[dict[str, Any]]:
    """What to simulate: layers with neurons, cores, spikes a neuron and the pairs that are connected."""
    sys.path.insert(0, str(ROOT / "tools"))
    from silicon_rows import read_rows

    found = []
    for name, row in read_rows(data).items():
        if name.startswith("quartz-mnist"):
            found.append({"row": name, "n_steps": int(row["steps_per_inference"]), "layers": _quartz()})
        if name == "emg-mlp":
            spikes = float(row["spikes_per_inference"]) / 2  # as tools/silicon_rows.py declares
            each = spikes / 128
            layers = [
                {"name": "input", "neurons": 128, "cores": 1, "spikes": each, "synapse": "dense", "pairs": "all"},
                {"name": "dense1", "neurons": 128, "cores": 1, "spikes": each, "synapse": "dense", "pairs": "all"},
                {"name": "dense2", "neurons": 128, "cores": 1, "spikes": each, "synapse": "dense", "pairs": "all"},
                {"name": "dense3", "neurons": 5, "cores": 1, "spikes": 0, "synapse": "dense", "pairs": None},
            ]
            found.append({"row": name, "n_steps": 300, "layers": layers})
    return found


def _quartz() -> list[dict[str, Any]]:
    """Layers on 11 cores, conv1 on 4 of them; "pairs" leads from a layer to the next: kernel and pooling sizes."""
    sizes = (
        ("input", 28, 1, 1, ("conv", 5)), ("conv1", 24, 6, 4, ("pool", 2)), ("pool1", 12, 6, 1, ("conv", 5)),
        ("conv2", 8, 12, 1, ("pool", 2)), ("pool2", 4, 12, 1, ("conv", 4)), ("conv3", 1, 120, 2, "all"),
        ("dense", 1, 10, 1, None),
    )  # fmt: skip
    return [
        {"name": name, "side": side, "channels": channels, "neurons": side * side * channels, "cores": cores,
         "spikes": 1, "pairs": pairs, "synapse": "dense" if pairs == "all" else "conv"}
        for name, side, channels, cores, pairs in sizes
    ]  # fmt: skip


def simulate(network: dict[str, Any]) -> dict[str, float]:
    """Energy and time of one network; runs where `sanafe` can be imported."""
    import sanafe

    rng, n_steps, layers = random.Random(0), network["n_steps"], network["layers"]
    arch, net, groups = sanafe.load_loihi(), sanafe.Network(), []
    for layer in layers:
        on_chip = layer["name"] != "input"
        attributes = {"threshold": FULL, "leak_decay": 1.0, "reset": 0.0, "bias": 0.0, "force_update": on_chip}
        soma = "loihi_lif" if on_chip else "loihi_inputs[0]"
        kind = f"loihi_{layer['synapse']}_synapse"
        if not on_chip:
            attributes = {}
        groups.append(
            net.create_neuron_group(
                layer["name"], layer["neurons"], attributes, kind, "loihi_dendrites", False, False, soma
            )
        )
    cores = [core for tile in arch.tiles for core in tile.cores]
    first = 0
    for group, layer in zip(groups, layers, strict=True):
        for i, neuron in enumerate(group.neurons):
            neuron.map_to_core(cores[first + i * layer["cores"] // layer["neurons"]])
            if layer["name"] == "input":
                train = [False] * n_steps
                for step in rng.sample(range(n_steps), round(layer["spikes"])):
                    train[step] = True
                neuron.set_attributes(soma_hw_name=f"loihi_inputs[{i}]", model_attributes={"spikes": train})
            elif layer["spikes"]:
                # V grows by the bias and is reset at FULL: one spike each period, the first when the period is over
                period = n_steps / (layer["spikes"] + rng.random() * 0.9)
                neuron.set_attributes(model_attributes={"bias": FULL / period})
        first += layer["cores"]
    for i, layer in enumerate(layers[:-1]):
        pairs = _pairs(layer, layers[i + 1])
        groups[i].connect_neurons_sparse(groups[i + 1], {"weight": [0.0] * len(pairs)}, pairs)
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    result = chip.sim(n_steps)
    return {
        "core_dynamic": result["energy"]["total"], "time": result["sim_time"], "synops": result["spikes"],
        "spikes": result["neurons_fired"], "updates": result["neurons_updated"],
    }  # fmt: skip


def _pairs(pre: dict[str, Any], post: dict[str, Any]) -> list[tuple[int, int]]:
    """Which neuron leads to which; channels last."""
    if pre["pairs"] == "all":
        return [(i, j) for i in range(pre["neurons"]) for j in range(post["neurons"])]
    what, size = pre["pairs"]
    found = []
    for y in range(post["side"]):
        for x in range(post["side"]):
            for c in range(post["channels"]):
                to = (y * post["side"] + x) * post["channels"] + c
                at = (y, x) if what == "conv" else (y * size, x * size)
                channels = range(pre["channels"]) if what == "conv" else [c]
                found += [
                    (((at[0] + dy) * pre["side"] + at[1] + dx) * pre["channels"] + k, to)
                    for dy in range(size) for dx in range(size) for k in channels
                ]  # fmt: skip
    return found


def compare(data: Path, simulated: dict[str, dict[str, float]]) -> dict[str, Any]:
    """SANA-FE and ours beside the measurement. Of EMG only the sum with the x86 was measured, which SANA-FE lacks."""
    from cotrain import hardware
    from silicon_rows import cases

    entries = []
    for case in cases(data):
        if case.name not in simulated:
            continue
        ours = hardware.estimate(case.counts[0])
        for term, value in (("core_dynamic", ours["energy_j"]["core_dynamic"]), ("time", ours["time_s"]["total"])):
            if term in case.measured:
                measured, theirs = case.measured[term], simulated[case.name][term]
                entries.append({
                    "row": case.name, "term": term, "measured": measured, "sana_fe": theirs,
                    "sana_fe_error": theirs / measured - 1, "ours": value["value"],
                    "our_error": value["value"] / measured - 1,
                })  # fmt: skip
    summary = {}
    for term in ("core_dynamic", "time"):
        mine = [e for e in entries if e["term"] == term]
        summary[term] = {}
        for who, key in (("sana_fe", "sana_fe_error"), ("ours", "our_error")):
            errors = [abs(e[key]) for e in mine]
            summary[term][who] = {"median_error": statistics.median(errors), "worst_error": max(errors)}
        summary[term]["rows"] = len(mine)
    return {"version": VERSION, "how": HOW, "summary": summary, "entries": entries, "simulated": simulated}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of rows.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "silicon-sanafe.json", metavar="FILE")
    parser.add_argument("--simulate", type=Path, metavar="FILE", help=argparse.SUPPRESS)  # within that environment
    arguments = parser.parse_args(argv)
    if arguments.simulate:
        found = {network["row"]: simulate(network) for network in json.loads(arguments.simulate.read_text())}
        arguments.out.write_text(json.dumps(found))
        return 0
    if arguments.data is None:
        parser.error("--data DIR is needed: the folder of rows.csv")
    with tempfile.TemporaryDirectory() as folder:
        home, todo, done = Path(folder) / "env", Path(folder) / "networks.json", Path(folder) / "simulated.json"
        todo.write_text(json.dumps(networks(arguments.data)))
        for command in (
            [sys.executable, "-m", "venv", home],
            [home / "bin" / "python", "-m", "pip", "install", "--quiet", f"sanafe=={VERSION}"],
            [home / "bin" / "python", Path(__file__).resolve(), "--simulate", todo, "--out", done],
        ):
            subprocess.run([str(word) for word in command], check=True)
        document = compare(arguments.data, json.loads(done.read_text()))
    from cotrain.hardware import files

    files.write_json(arguments.out, document)
    for term, s in document["summary"].items():
        print(f"{term}: SANA-FE median error {100 * s['sana_fe']['median_error']:.1f} %, "
              f"ours {100 * s['ours']['median_error']:.1f} %")  # fmt: skip
    print(f"written to {arguments.out}; put it into the report: make silicon")
    return 0


if __name__ == "__main__":
    sys.exit(main())
