"""hardware.cost against sums done by hand: energies, times, bounds, and counts that are refused."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random

import pytest
from cotrain import hardware
from cotrain.hardware.chip import events
from cotrain.hardware.cost import energy, occupancy
from cotrain.hardware.cost.estimate import constants
from cotrain.hardware.errors import InputError
from cotrain.pipeline.__main__ import main

PJ, NS = 1e-12, 1e-9


def counts(**changes):
    """Two layers on one tile, all known."""
    return {
        "name": "two layers", "n_steps": 50, "chips": 1, "cores": 4, "powered_cores": 64, "x86_in_use": 1,
        "x86_active_ratio": 0.25, "input": "once", "input_spikes_per_inference": 300,
        "layers": [
            {"name": "conv", "neurons": 2000, "cores": 2, "synapse": "convolution",
             "spikes_per_inference": 900, "synops_per_inference": 20_000},
            {"name": "dense", "neurons": 100, "cores": 2, "synapse": "dense",
             "spikes_per_inference": 70, "synops_per_inference": 90_000},
        ],
        **changes,
    }  # fmt: skip


def without(key, layer=None):
    found = copy.deepcopy(counts())
    del (found if layer is None else found["layers"][layer])[key]
    return found


def ends(part):
    return part["low"], part["high"]


def test_core_energy_by_hand():
    found = hardware.estimate(counts())
    # 4 cores fill one tile: no message hops; a spike of conv goes to both cores of the dense layer
    neurons = (2000 + 100) * 50 * (51.2 + 21.6) * PJ
    synapses = (20_000 * 24.0 + 90_000 * 35.5) * PJ
    spikes, messages = (900 + 70) * 69.3 * PJ, (900 * 2 + 70) * 111.0 * PJ
    assert found.energy_j["core_dynamic"]["value"] == pytest.approx(neurons + synapses + spikes + messages, rel=1e-12)
    assert found.layers[0]["messages_j"]["value"] == pytest.approx(1800 * 111.0 * PJ, rel=1e-12)
    least = 2100 * 50 * 52 * PJ + 110_000 * 23.6 * PJ + (970 * 69.3 + 1870 * 111.0) * PJ / 1.25
    assert found.energy_j["core_dynamic"]["low"] == pytest.approx(least, rel=1e-12)


def test_time_by_hand():
    found = hardware.estimate(counts())
    conv = (2000 * 9.7 + (300 * 16 + 20_000 * 3.1 + 900 * 30 + 1800 * 5.1) / 50) / 2
    dense = (100 * 9.7 + (1800 * 16 + 90_000 * 3.8 + 70 * 30 + 70 * 5.1) / 50) / 2
    assert conv > dense
    assert found.time_s["steps"]["value"] == pytest.approx(50 * (conv + 600) * NS, rel=1e-12)
    assert found.time_s["fixed"]["value"] == pytest.approx(3.5e-3) and found.time_s["input"]["value"] == 0
    assert found.limiter == "fixed time a sample"
    assert hardware.estimate(counts(input="on-chip")).limiter == "busiest core (conv)"
    assert hardware.estimate(counts(input="streamed")).limiter == "host input"


def test_powers_times_time():
    found = hardware.estimate(counts())
    seconds = found.time_s["total"]["value"]
    assert found.energy_j["x86"]["value"] == pytest.approx((18 + 6 * 0.25) * 1e-3 * seconds, rel=1e-12)
    assert found.energy_j["leakage"]["value"] == pytest.approx((4 * 0.42e-3 + 0.125e-3) * seconds, rel=1e-12)
    parts = [found.energy_j[key] for key in ("core_dynamic", "x86", "leakage")]
    for end in ("value", "low", "high"):
        assert found.energy_j["total"][end] == pytest.approx(math.fsum(part[end] for part in parts), rel=1e-12)
    # of 22 chips and 42 x86, NxSDK counts 22 clocks (row relnet-babi-qa17)
    many = hardware.estimate(counts(chips=22, cores=500, powered_cores=None, x86_in_use=42, x86_active_ratio=0.0453))
    power = many.energy_j["x86"]["value"] / many.time_s["total"]["value"]
    assert power == pytest.approx(407.4e-3, rel=1e-3)


def test_all_known_is_a_point_within_a_factor_of_three():
    for way in ("streamed", "once", "on-chip"):
        found = hardware.estimate(counts(input=way))
        total = found.energy_j["total"]
        assert found.unknown == [] and total["low"] <= total["value"] <= total["high"] <= 3 * total["low"]
        assert found.time_s["total"]["high"] <= 3 * found.time_s["total"]["low"]


def test_a_measured_time_replaces_the_estimate():
    found = hardware.estimate(counts(seconds_per_inference=2e-3))
    assert ends(found.time_s["total"]) == (2e-3, 2e-3)
    assert found.energy_j["x86"]["value"] == pytest.approx(19.5e-3 * 2e-3, rel=1e-12)
    assert any("time was given" in line for line in found.assumptions)


@pytest.mark.parametrize("key", ["spikes_per_inference", "synops_per_inference"])
def test_unknown_activity_is_bounded_never_a_point(key):
    known, found = hardware.estimate(counts()), hardware.estimate(without(key, 1))
    for part in (found.energy_j["core_dynamic"], found.energy_j["total"], found.time_s["total"]):
        assert part["value"] is None and 0 < part["low"] < part["high"] < math.inf
    for term in ("core_dynamic", "total"):
        assert found.energy_j[term]["low"] <= known.energy_j[term]["low"]
        assert found.energy_j[term]["high"] >= known.energy_j[term]["high"]
    assert any(line.startswith(f"dense: {key} not given") for line in found.unknown)


def test_bounds_of_activity_are_those_of_the_chip():
    bare = [{"neurons": 10}, {"neurons": 5}]
    found = hardware.estimate({"n_steps": 3, "cores": 2, "layers": bare})
    assert "layer 1: spikes_per_inference not given; between 0 and 30" in found.unknown
    assert "layer 2: synops_per_inference not given; between 0 and 150" in found.unknown  # 30 spikes to 5 neurons
    # 4,096 axons of its core, each to 10 neurons at 3 steps
    assert "layer 1: synops_per_inference not given; between 0 and 1.229e+05" in found.unknown
    assert found.limiter.startswith("unknown") and found.time_s["input"]["value"] is None


def test_any_key_but_two_may_be_missing_or_null():
    whole = hardware.estimate(counts()).energy_j["total"]
    for key in set(counts()) - {"n_steps", "layers"}:
        for changed in (without(key), counts(**{key: None})):
            total = hardware.estimate(changed).energy_j["total"]
            assert total["low"] <= whole["low"] * (1 + 1e-9) and total["high"] >= whole["high"] * (1 - 1e-9), key
    for key in ("name", "cores", "synapse"):
        total = hardware.estimate(without(key, 0)).energy_j["total"]
        assert total["low"] <= whole["low"] * (1 + 1e-9) and total["high"] >= whole["high"] * (1 - 1e-9), key
    assert hardware.estimate({"n_steps": 1, "layers": [{"neurons": 1}]}).energy_j["total"]["value"] is None


@pytest.mark.parametrize(
    "key, word",
    [
        ("x86_in_use", "x86_in_use"), ("x86_active_ratio", "x86_active_ratio"), ("input", "input"), ("cores", "cores"),
        ("chips", "chips"), ("input_spikes_per_inference", "input_spikes_per_inference"), ("powered_cores", None),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(key, word):
    said = hardware.estimate(without(key)).unknown
    assert [line for line in said if line.startswith(f"{word}: not given")] if word else said == []


def random_counts(rng):
    """A chain of layers that could be: no more spikes than steps and neurons allow, synops that follow from them."""
    n_steps, arriving = rng.choice([1, 51, 3000]), rng.choice([0, 784, 5000.0])
    layers, entering = [], arriving
    for i in range(rng.randint(1, 5)):
        neurons = int(10 ** rng.uniform(0, 5))
        synapse = rng.choice(["convolution", "dense", "sparse"])
        share = 1.0 if synapse == "dense" else rng.uniform(1 / neurons, 1)  # of the neurons that a spike reaches
        least = -(-neurons // 1024)
        layers.append({
            "name": f"layer{i}", "neurons": neurons, "cores": rng.randint(least, 3 * least), "synapse": synapse,
            "spikes_per_inference": rng.uniform(0, 1) ** 3 * neurons * n_steps,
            "synops_per_inference": min(arriving, 4096 * n_steps) * neurons * share,
        })  # fmt: skip
        arriving = layers[-1]["spikes_per_inference"]
    cores = sum(layer["cores"] for layer in layers) + rng.randint(0, 3)
    chips = -(-cores // 128) + rng.randint(0, 1)
    return counts(
        n_steps=n_steps, chips=chips, cores=cores, powered_cores=None, x86_in_use=rng.randint(0, 3 * chips),
        input=rng.choice(["streamed", "once", "on-chip"]), input_spikes_per_inference=entering, layers=layers,
    )  # fmt: skip


def test_to_know_less_never_narrows_a_range():
    """Of random networks, what stands in the ranges of all that is known lies in those of what is left of it."""
    rng = random.Random(0)
    for _ in range(300):
        whole = random_counts(rng)
        less = copy.deepcopy(whole)
        for part in (less, *less["layers"]):
            for key in set(part) - {"n_steps", "layers", "neurons", "name", "cores", "input_spikes_per_inference"}:
                if rng.random() < 0.2:
                    del part[key]
        a, b = hardware.estimate(whole), hardware.estimate(less)
        for group in ("energy_j", "time_s"):
            for term, known in a[group].items():
                assert 0 <= known["low"] <= known["value"] * (1 + 1e-9) and known["value"] <= known["high"] * (1 + 1e-9)
                found = b[group][term]
                assert found["low"] <= known["low"] * (1 + 1e-3) and found["high"] >= known["high"] * (1 - 1e-3), (
                    term, whole, less,
                )  # fmt: skip
        total = a.energy_j["total"]
        assert total["high"] <= 3 * total["low"] or a.unknown  # a wide range says why


def test_more_steps_spikes_and_cores_never_cost_less():
    base = hardware.estimate(counts())
    more = [counts(n_steps=60), counts(cores=8), counts(x86_active_ratio=0.5), counts(powered_cores=None, chips=2)]
    busier = counts()
    busier["layers"][0]["spikes_per_inference"] = 1800
    for changed in (*more, busier):
        assert hardware.estimate(changed).energy_j["total"]["value"] > base.energy_j["total"]["value"]


@pytest.mark.parametrize(
    "cores, expected", [(1, 600), (4, 600), (8, 1000), (12, 1200), (16, 1400), (116, 1800), (128, 1800)]
)
def test_the_barrier_goes_by_tiles(cores, expected):
    from cotrain.hardware.cost.time import barrier

    assert barrier(cores) == pytest.approx(expected * NS)


@pytest.mark.parametrize(
    "cores, width, height",
    [(1, 1, 1), (4, 1, 1), (8, 1, 2), (16, 1, 4), (33, 3, 4), (128, 8, 4), (500, 8, 4)],
)
def test_mean_hops_by_enumeration(cores, width, height):
    pairs = list(itertools.product(itertools.product(range(width), range(height)), repeat=2))
    x = sum(abs(a[0] - b[0]) for a, b in pairs) / len(pairs)
    y = sum(abs(a[1] - b[1]) for a, b in pairs) / len(pairs)
    assert occupancy.mean_hops(cores) == pytest.approx((x, y))


def test_keras_spiking_published_example():
    """keras-spiking's documentation prints 8.64e-04 J for 784 inputs to 128 units on its CPU."""
    assert energy.dense_energy_j(784 * 128, 128)["cpu"] == pytest.approx(8.64e-4, abs=0.005e-4)
    # 0.3 nJ against 8.6 nJ a MAC on its GPU
    assert energy.dense_energy_j(784 * 128, 128)["gpu"] == pytest.approx(8.64e-4 * 0.3 / 8.6, abs=0.005e-4)


def test_every_constant_has_a_source():
    rows = constants()
    assert {"update_j", "clock_w", "core_w", "fixed_s", "cpu_mac_j"} <= {row["name"] for row in rows}
    words = ("keras-spiking", "SANA-FE", "NxSDK", "rows ", "nengo-loihi")
    for row in rows:
        assert 0 < row["low"] <= row["value"] <= row["high"] and any(word in row["source"] for word in words), row
    assert {row["name"] for row in rows if row["fitted"]} >= {"fixed_s", "core_w"}
    assert events.BARRIER_S[0] == (1, 600e-9)


BAD = [
    ({"n_steps": 0}, "n_steps is 0"),
    ({"n_steps": None}, "n_steps is missing"),
    ({"n_steps": 1.5}, "n_steps is 1.5; expected a whole number"),
    ({"n_steps": True}, "n_steps is True"),
    ({"n_steps": "51"}, "n_steps is '51'"),
    ({"n_steps": 10**400}, "n_steps is a whole number of 1,329 bits"),
    ({"chips": -1}, "chips is -1"),
    ({"x86_active_ratio": 1.2}, "x86_active_ratio is 1.2; expected a number from 0 to 1"),
    ({"x86_active_ratio": float("nan")}, "x86_active_ratio is nan"),
    ({"input_spikes_per_inference": float("inf")}, "input_spikes_per_inference is inf"),
    ({"input_spikes_per_inference": -3}, "input_spikes_per_inference is -3"),
    ({"input": "stream"}, "input is 'stream', did you mean 'streamed'?"),
    ({"input": 3}, "input is 3; expected streamed, once or on-chip"),
    ({"name": 3}, "name is 3; expected a text"),
    ({"layers": []}, "layers is empty; expected a list of at least one layer"),
    ({"layers": None}, "layers is missing"),
    ({"layers": {"neurons": 3}}, "layers is of type dict"),
    ({"layers": [3]}, r"layers\[0\] is 3; expected an object"),
    ({"layers": [{}]}, r"layers\[0\]: neurons is missing"),
    ({"layers": [{"neurons": -4}]}, r"layers\[0\]: neurons is -4"),
    ({"layers": [{"neurons": 4, "synapse": "conv"}]}, "synapse is 'conv'"),
    ({"layers": [{"neurons": 4, "spikes": 1}]}, "unknown key 'spikes', did you mean 'spikes_per_inference'"),
    ({"layers": [{"neurons": 4, "spikes_per_inference": 1e6}]}, "at most 200, one a neuron and step"),
    ({"layers": [{"neurons": 3000, "cores": 2}]}, "expected at least 3, as a core holds 1024"),
    ({"step": 3}, "unknown key 'step', did you mean 'n_steps'"),
    ({"cores": 129}, "cores is 129, but chips is 1; expected at most 128"),
    ({"cores": 65}, "cores is 65, but powered_cores is 64"),
    ({"x86_in_use": 4}, "x86_in_use is 4, but chips is 1; expected at most 3"),
    ({"seconds_per_inference": 0}, "seconds_per_inference is 0"),
]  # fmt: skip


@pytest.mark.parametrize("changes, said", BAD, ids=[said for _, said in BAD])
def test_bad_counts_are_refused_in_one_line(changes, said):
    with pytest.raises(InputError, match=said) as caught:
        hardware.estimate(counts(**changes))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("counts")


def test_counts_that_are_no_object_are_refused():
    with pytest.raises(InputError, match="counts is of type list; expected an object"):
        hardware.estimate([1])


def test_the_command_writes_what_the_call_returns(tmp_path, capsys):
    file, out = tmp_path / "counts.json", tmp_path / "estimate.json"
    file.write_text(json.dumps(counts()))
    assert main(["estimate", str(file), "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == hardware.estimate(counts()).as_dict()
    printed = capsys.readouterr().out
    assert printed.index("  total ") < printed.index("  core_dynamic ") and "limiter: fixed time a sample" in printed
    file.write_text(json.dumps(counts(chips=-1)))
    assert main(["estimate", str(file), "--json", str(tmp_path / "none.json")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "counts.json: chips is -1" in error and not (tmp_path / "none.json").exists()
    file.write_text('{"n_steps": NaN}')
    assert main(["estimate", str(file)]) == 2 and "NaN is no JSON number" in capsys.readouterr().err
    assert main(["estimate", str(tmp_path / "absent.json")]) == 2 and "does not exist" in capsys.readouterr().err
