"""hardware.chip.energy against sums done by hand and against what the two models' authors print."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from cotrain.hardware.chip import energy
from cotrain.hardware.errors import InputError

PJ = 1e-12


def layer(**changes):
    values = {
        "name": "conv2",
        "neurons": 100,
        "spikes": 50.0,
        "synops": 2000.0,
        "cores": 2,
        "messages": 150.0,
    }
    return energy.LayerActivity(**{**values, **changes})


def test_keras_spiking_by_hand():
    found = energy.keras_spiking([layer(name="conv1", on_chip=False), layer()], n_steps=10)
    assert [x.name for x in found.layers] == ["conv2"]  # the host's layer costs the chip nothing
    assert found.sum_j("synapses_j") == pytest.approx(2000 * 27.1 * PJ, rel=1e-12)
    assert found.sum_j("neurons_j") == pytest.approx(100 * 10 * 81 * PJ, rel=1e-12)
    assert found.sum_j("messages_j") == 0
    assert found.total_j == pytest.approx((54200 + 81000) * PJ, rel=1e-12)
    assert found.latency_s is None


def test_keras_spiking_published_example():
    """keras-spiking's documentation prints 8.64e-04 J for 784 inputs to 128 units on its CPU."""
    assert energy.dense_energy_j(784 * 128, 128)["cpu"] == pytest.approx(8.64e-4, abs=0.005e-4)
    # 0.3 nJ against 8.6 nJ a MAC on its GPU
    assert energy.dense_energy_j(784 * 128, 128)["gpu"] == pytest.approx(8.64e-4 * 0.3 / 8.6, abs=0.005e-4)


def test_sana_fe_by_hand():
    layers = [
        layer(name="conv1", on_chip=False, messages=80.0),
        layer(),
        layer(name="dense", kind="dense", neurons=10),
    ]
    found = energy.sana_fe(layers, n_steps=10)
    # 4 cores fill one tile, so that no message hops
    synapses = 2000 * 24.0 * PJ + 2000 * 35.5 * PJ
    neurons = (100 + 10) * 10 * 72.8 * PJ + 2 * 50 * 69.3 * PJ
    messages = 2 * 150 * 111.0 * PJ
    assert found.sum_j("synapses_j") == pytest.approx(synapses, rel=1e-12)
    assert found.sum_j("neurons_j") == pytest.approx(neurons, rel=1e-12)
    assert found.sum_j("messages_j") == pytest.approx(messages, rel=1e-12)
    assert found.as_dict()["total_j"] == pytest.approx(synapses + neurons + messages, rel=1e-12)
    assert found.as_dict()["estimate"] is True


def test_sana_fe_latency_by_hand():
    """A layer slow enough that the cores, not the board, set the pace."""
    first = layer(name="conv1", on_chip=False, messages=1000.0)
    slow = layer(neurons=2000, cores=2, synops=100_000.0, spikes=300.0, messages=600.0)
    found = energy.sana_fe([first, slow], n_steps=10)
    per_core_ns = (2000 * 9.7 + (1000 * 20.0 + 100_000 * 3.1 + 300 * 30.0 + 600 * 5.1) / 10) / 2
    assert found.step_s == pytest.approx((per_core_ns + 299) * 1e-9, rel=1e-12)
    assert found.latency_s == pytest.approx(10 * found.step_s)
    assert (found.slowest_layer, found.limited_by) == ("conv2", "cores")


def test_board_sets_the_pace_of_a_small_network():
    assert energy.sana_fe([layer(neurons=10)], n_steps=100).latency_s == pytest.approx(100 / 125_000)
    two = energy.sana_fe([layer(neurons=10)], n_steps=100, chips=2)
    assert two.latency_s == pytest.approx(100 / 65_000)
    assert two.limited_by == "board"


@pytest.mark.parametrize(
    "cores, width, height",
    [(1, 1, 1), (4, 1, 1), (8, 1, 2), (16, 1, 4), (33, 3, 4), (128, 8, 4), (500, 8, 4)],
)
def test_mean_hops_by_enumeration(cores, width, height):
    pairs = list(itertools.product(itertools.product(range(width), range(height)), repeat=2))
    x = sum(abs(a[0] - b[0]) for a, b in pairs) / len(pairs)
    y = sum(abs(a[1] - b[1]) for a, b in pairs) / len(pairs)
    assert energy.mean_hops(cores) == pytest.approx((x, y))


def test_hops_cost_what_the_mesh_charges():
    near, far = (energy.sana_fe([layer(cores=n)], n_steps=1).sum_j("messages_j") for n in (4, 128))
    assert far - near == pytest.approx(150 * (2.625 * 3.0 + 1.25 * 4.2) * PJ, rel=1e-9)


def test_messages_default_to_one_a_spike():
    assert layer(messages=None).messages_out == 50.0


def test_every_constant_has_a_source():
    rows = energy.sources()
    assert len(rows) == sum(
        len(dataclasses.fields(m)) for m in (energy.KERAS_SPIKING, energy.SANA_FE, energy.BOARD, energy.DENSE)
    )
    for row in rows:
        assert row["value"] > 0
        assert any(word in row["source"] for word in ("keras-spiking", "SANA-FE", "assumed", "measured")), row


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"kind": "pool"}, "convolution or dense"),
        ({"cores": 0}, "at least 1"),
        ({"spikes": -1.0}, "spikes is -1.0"),
        ({"synops": float("nan")}, "synops is nan"),
    ],
)
def test_bad_activity_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        layer(**changes)


def test_bad_counts_are_refused():
    with pytest.raises(InputError, match="n_steps is 0"):
        energy.keras_spiking([layer()], n_steps=0)
    with pytest.raises(InputError, match="n_steps is 0"):
        energy.sana_fe([layer()], n_steps=0)
    with pytest.raises(InputError, match="chips is 0"):
        energy.sana_fe([layer()], n_steps=1, chips=0)
