"""The measured rows of networks on Loihi 1 silicon as counts for `hardware.estimate`.

Layers follow from the structures that the rows publish. What a row does not publish stays unknown here too; what is
declared for it instead is said in `Case.declared`, and appears in the report.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError

SCALED_ROWS = ("n00", "n01", "n02", "n04", "n06", "n08", "n10")


@dataclass(frozen=True)
class Case:
    """One row: what was measured, and the counts to estimate it from.

    Attributes
    ----------
    row : dict
        Of rows.csv.
    counts : list of dict
        One, or two where something is bracketed: the least and the most that it can be.
    measured : dict of {term: value}
        In J and s; the terms are those of an Estimate, and "dynamic" = core dynamic + x86.
    declared : list of str
        What is taken for the row that it does not publish.
    cannot : str
        Why there is no estimate; then `counts` is empty.
    """

    row: dict[str, str]
    counts: list[dict[str, Any]]
    measured: dict[str, float]
    declared: list[str] = field(default_factory=list)
    cannot: str = ""

    @property
    def name(self) -> str:
        return self.row["id"]


def read_rows(folder: Path) -> dict[str, dict[str, str]]:
    """rows.csv by id. Raises MissingError."""
    path = Path(folder) / "rows.csv"
    if not path.is_file():
        raise MissingError(f"{path} does not exist; give the folder of the measured rows: --data DIR")
    with open(path, newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def cases(folder: Path) -> list[Case]:
    """Every row in order."""
    rows = read_rows(folder)
    rate = declared_rate(rows)
    found = []
    for name, row in rows.items():
        make = next((make for start, make in _MAKERS.items() if name.startswith(start)), None)
        if make is None:
            raise InputError(f"rows.csv: nothing is known of row {name!r}; known are {', '.join(_MAKERS)}")
        found.append(make(row, rate))
    return found


def _layer(name, neurons, synapse, spikes=None, synops=None, cores=None):
    return {
        "name": name, "neurons": neurons, "cores": cores, "synapse": synapse,
        "spikes_per_inference": spikes, "synops_per_inference": synops,
    }  # fmt: skip


def _measured(row: dict[str, str], **columns: str) -> dict[str, float]:
    """{term: value} of the columns that are filled."""
    scale = {"uj": 1e-6, "ms": 1e-3, "us": 1e-6}
    return {term: float(row[c]) * scale[c.rsplit("_", 1)[1]] for term, c in columns.items() if row[c]}


def _quartz(row, rate) -> Case:
    """One spike a neuron and input pixel; a synapse is used once a sample, those of pooling too."""
    structure = (
        ("conv1", 24 * 24 * 6, "convolution", 25), ("pool1", 12 * 12 * 6, "convolution", 4),
        ("conv2", 8 * 8 * 12, "convolution", 25 * 6), ("pool2", 4 * 4 * 12, "convolution", 4),
        ("conv3", 120, "convolution", 16 * 12), ("dense", 10, "dense", 120),
    )  # fmt: skip
    layers = [_layer(name, n, synapse, n, n * fan_in) for name, n, synapse, fan_in in structure]
    counts = {
        "name": row["id"], "n_steps": int(row["steps_per_inference"]), "chips": 1, "cores": int(row["cores"]),
        "powered_cores": 72, "x86_in_use": 1, "input": "once", "input_spikes_per_inference": 784, "layers": layers,
        "x86_active_ratio": float(re.search(r"active ratio ([\d.]+)", row["cores_note"])[1]),
    }  # fmt: skip
    measured = _measured(
        row, core_dynamic="energy_core_dynamic_uj", x86="energy_x86_uj", leakage="energy_static_uj",
        total="energy_total_uj", time="time_per_inference_ms",
    )  # fmt: skip
    measured["x86_power_w"] = float(row["power_x86_dynamic_mw"]) * 1e-3
    return Case(row, [counts], measured)


def scaled_counts(row: dict[str, str], copies: int, rate: float) -> dict[str, Any]:
    """ABR's scaled keyword spotter: two layers of 256 neurons and, for each copy, ten more; all of them dense.

    `rate` is the share of neurons that spike in a step, the same in every layer.
    """
    n_steps, n = int(row["steps_per_inference"]), 256
    spikes = rate * n * n_steps
    layers = [_layer("layer1", n, "dense", spikes, rate * 390 * n * n_steps, cores=8)]
    layers += [_layer(f"layer{i + 2}", n, "dense", spikes, spikes * n, cores=1) for i in range(1 + 10 * copies)]
    assert sum(layer["neurons"] for layer in layers) == int(row["neurons"])
    return {
        "name": row["id"], "n_steps": n_steps, "chips": 1, "input": "streamed",
        "input_spikes_per_inference": rate * 390 * n_steps, "layers": layers,
    }  # fmt: skip


def declared_rate(rows: dict[str, dict[str, str]]) -> float:
    """The one rate that the scaled keyword spotter needs: from the rise of its energy between 1 and 4 copies.

    Core dynamic energy is linear in the rate, so two estimates give it. The rows of 6 to 10 copies are not used.
    """
    from cotrain import hardware

    few, many = rows["abr-scaled-n01"], rows["abr-scaled-n04"]
    rise = (float(many["energy_dynamic_over_awake_idle_uj"]) - float(few["energy_dynamic_over_awake_idle_uj"])) * 1e-6

    def estimated(rate):
        values = [hardware.estimate(scaled_counts(r, c, rate)).energy_j["core_dynamic"]["value"]
                  for r, c in ((few, 1), (many, 4))]  # fmt: skip
        return values[1] - values[0]

    at_none = estimated(0.0)
    return 0.1 * (rise - at_none) / (estimated(0.1) - at_none)


_ABR_TERMS = {
    "total": "energy_total_uj", "core_dynamic": "energy_dynamic_over_awake_idle_uj", "time": "time_per_inference_ms",
}  # fmt: skip
_ABR_DECLARED = (
    "total is that of the rails of the whole chip; core dynamic is the power over the chip's idle after a first run.",
)


def _scaled(row, rate) -> Case:
    """Rates are not published, so this row gives bounds; with one declared rate it is part of the slope."""
    counts = scaled_counts(row, int(row["id"][-2:]), rate)
    counts["input_spikes_per_inference"] = None
    for layer in counts["layers"]:
        layer.update(spikes_per_inference=None, synops_per_inference=None)
    return Case(row, [counts], _measured(row, **_ABR_TERMS), list(_ABR_DECLARED))


def _kws(row, rate) -> Case:
    layers = [_layer("layer1", 256, "dense", cores=2), _layer("layer2", 256, "dense")]  # the readout has no neurons
    counts = {"name": row["id"], "n_steps": 10, "chips": 1, "input": "streamed", "layers": layers}
    return Case(row, [counts], _measured(row, **_ABR_TERMS), list(_ABR_DECLARED))


def _ntidigits(row, rate) -> Case:
    layers = [_layer("dense1", 256, "dense", cores=2), _layer("dense2", 256, "dense", cores=2),
              _layer("dense3", 242, "dense", cores=1)]  # fmt: skip
    counts = {
        "name": row["id"], "n_steps": int(row["steps_per_inference"]), "chips": 1, "cores": int(row["cores"]),
        "input": "once", "layers": layers,
    }  # fmt: skip
    declared = ["one of 640 copies on 32 chips, estimated as if it had a chip of its own"]
    measured = _measured(row, dynamic="energy_dynamic_uj", time="time_per_inference_ms")
    return Case(row, [counts], measured, declared)


def _relnet(row, rate) -> Case:
    """Neurons are not published: bracketed by one a chip and all that 22 chips hold."""
    common = {
        "name": row["id"], "n_steps": int(row["steps_per_inference"]), "chips": int(row["chips"]), "x86_in_use": 42,
        "input": "on-chip",
    }  # fmt: skip
    counts = [{**common, "layers": [{"name": "all", "neurons": n}]} for n in (22, 22 * 128 * 1024)]
    measured = _measured(
        row, core_dynamic="energy_core_dynamic_uj", x86="energy_x86_uj", leakage="energy_static_uj",
        total="energy_total_uj", time="time_per_inference_ms",
    )  # fmt: skip
    declared = ["neurons and cores are not published: from one neuron a chip to all that 22 chips hold"]
    return Case(row, counts, measured, declared)


def _nxtf(row, rate) -> Case:
    if row["id"] != "nxtf-cifar-tutorial":
        return Case(row, [], {}, cannot="only an energy-delay product is published; steps and neurons are not")
    sizes = (
        ("conv1", 16 * 16 * 32), ("dw1", 16 * 16 * 32), ("pw1", 16 * 16 * 64), ("dw2", 8 * 8 * 64),
        ("pw2", 8 * 8 * 128), ("dw3", 8 * 8 * 128), ("pw3", 8 * 8 * 128), ("dw4", 4 * 4 * 128),
        ("pw4", 4 * 4 * 256), ("dw5", 4 * 4 * 256), ("pw5", 4 * 4 * 256), ("pool", 2 * 2 * 256),
    )  # fmt: skip
    layers = [_layer(name, n, "convolution") for name, n in sizes] + [_layer("dense", 10, "dense")]
    assert sum(layer["neurons"] for layer in layers) == int(row["neurons"])
    counts = {
        "name": row["id"], "n_steps": int(row["steps_per_inference"]), "chips": int(row["chips"]),
        "cores": int(row["cores"]), "input": "once", "layers": layers,
    }  # fmt: skip
    return Case(row, [counts], _measured(row, time="time_per_inference_ms"))


def _emg(row, rate) -> Case:
    """6,947 spikes, of which layers is not said: taken as of the two hidden layers, in halves."""
    spikes = float(row["spikes_per_inference"]) / 2
    layers = [
        _layer("dense1", 128, "dense", spikes, spikes * 128, cores=1),
        _layer("dense2", 128, "dense", spikes, spikes * 128, cores=1),
        _layer("dense3", 5, "dense", 0.0, spikes * 5, cores=1),
    ]
    counts = {"name": row["id"], "n_steps": 300, "chips": 1, "cores": 4, "input": "once", "layers": layers}
    declared = [
        "300 steps, as in training; one core for each layer and one for the input; one x86",
        "the spikes are those of the two hidden layers, in halves, and as many arrive at the first as leave it",
    ]
    measured = _measured(row, dynamic="energy_dynamic_uj", time="time_per_inference_ms")
    return Case(row, [counts], measured, declared)


def _lin(row, rate) -> Case:
    return Case(row, [], {}, cannot="steps, rates and kind of the energy are not published")


def _n2n(row, rate) -> Case:
    steps = 1000
    layers = [_layer("first", 1, "sparse", steps, 0.0, 1), _layer("second", 1, "sparse", None, steps, 1)]
    counts = {
        "name": row["id"], "n_steps": steps, "chips": int(row["chips"]), "cores": 2, "input": "on-chip",
        "layers": layers,
    }  # fmt: skip
    step = _measured(row, time="time_per_step_us")["time"]
    return Case(row, [counts], {"time": step * steps}, [f"{steps} steps; the row is a rule of thumb without a log"])


def _noise(row, rate) -> Case:
    return Case(row, [], {}, cannot="noise: tests a protocol of measurement (tests/test_hardware_bundle_board.py)")


_MAKERS = {
    "quartz-mnist": _quartz, "abr-scaled": _scaled, "abr-kws": _kws, "ntidigits": _ntidigits, "relnet": _relnet,
    "nxtf": _nxtf, "emg": _emg, "lin2018": _lin, "n2n": _n2n, "forum-noise": _noise,
}  # fmt: skip
