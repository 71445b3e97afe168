"""A network is lowered once, and everybody who reads it gives what it gives by itself, under the same names."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import NAMES, import_nengo_loihi
from cotrain.hardware.errors import CotrainError, InputError, MisfitError, UnsupportedError
from cotrain.hardware.placement.partition import partition
from cotrain.hardware.preflight.command import preflight
from emulator_networks import random_network
from partition_networks import chain, conv

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def builds(monkeypatch):
    """Networks that nengo_loihi has begun to build."""
    seen, split = [], import_nengo_loihi("splitter").Split
    monkeypatch.setattr(split, "__init__", _counted(split.__init__, seen))
    return seen


def _counted(function, seen):
    def counted(self, network, *args, **kwargs):
        seen.append(network)
        return function(self, network, *args, **kwargs)

    return counted


def vision():
    return chain((12, 12, 1), [conv(2, 1), conv(8, 3), conv(8, 3, 2), ("dense", 10)])


def everything(network, layout="keep"):
    """What all readers say of a network: placement, report, integers, errors, spikes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = hardware.partition(network, layout=layout)
        report = hardware.check(network, precompute=False)
        program = hardware.compile_network(network)
        errors = hardware.quantization_error(network)
        net = getattr(network, "net", network)
        with hardware.Simulator(network, target="emulator") as sim:
            out = sim.predict({net.image: np.full((2, 1, net.image.size_out), 0.7)}, n_steps=5)
            spikes = {name: n.tolist() for name, n in sim.stats.spikes.items()}
    return {
        "placement": placed.table(), "report": report.to_json(), "program": program.digest,
        "errors": json.dumps(errors), "out": out[net.output].tobytes(), "spikes": spikes,
    }  # fmt: skip


def test_all_readers_of_one_build_agree_with_builds_of_their_own(builds):
    one_by_one = everything(vision())
    assert len(builds) == 5
    builds.clear()
    assert everything(hardware.lower(vision())) == one_by_one
    assert len(builds) == 1


def test_turned_channels_are_built_again_and_agree():
    networks = [chain((16, 16, 1), [conv(16, 3), conv(32, 3), conv(32, 3)]) for _ in range(2)]
    assert everything(networks[0], "free") == everything(hardware.lower(networks[1]), "free")


def test_what_is_cut_is_built_again_before_it_is_cut_anew(builds):
    lowered = hardware.lower(vision())
    before = hardware.check(lowered)  # as nengo_loihi cuts it
    hardware.partition(lowered, layout="keep")
    after = hardware.check(lowered)
    assert len(builds) == 2 and before.to_json() != after.to_json() == hardware.check(lowered.net).to_json()


def test_the_command_builds_once(builds):
    report = preflight(chain((6, 6, 1), [conv(2, 1), conv(4, 3)], channels_last=False), hardware.NAHUKU32)
    assert report.fits and len(builds) == 1


def test_one_open_simulator_of_a_lowered_network_at_a_time():
    lowered = hardware.lower(vision())
    runs = []
    for _ in range(2):
        with hardware.Simulator(lowered, target="emulator") as sim:
            with pytest.raises(InputError, match="serves another simulator"):
                hardware.Simulator(lowered, target="emulator")
            sim.run_steps(8)
            runs.append(np.array(sim.data[lowered.net.output]))
    assert np.array_equal(*runs) and runs[0].any()


def test_another_step_is_refused():
    lowered = hardware.lower(vision(), dt_s=0.002)
    assert hardware.compile_network(lowered).dt_s == 0.002
    assert hardware.compile_network(lowered, dt_s=0.002).dt_s == 0.002
    with pytest.raises(InputError, match="lowered with dt_s=0.002"):
        hardware.check(lowered, dt_s=0.003)


@pytest.mark.parametrize("seed", [2, 6, 10])
def test_passthrough_nodes_give_the_same_integers_every_time(seed):
    """nengo_loihi builds what it makes of them in the order of a set, and without seeds."""
    assert len({hardware.compile_network(random_network(seed)).digest for _ in range(3)}) == 1


# --- names


@pytest.mark.parametrize("seed", range(24))
def test_names_are_the_same_everywhere(seed):
    net = random_network(seed)
    report = hardware.check(net)
    names = [at.name for at in report.utilisation.layers]
    assert len(set(names)) == len(names) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with hardware.Simulator(net, target="emulator") as sim:
            sim.predict({}, n_steps=3)
            stats, program = sim.stats, sim.program
        errors = hardware.quantization_error(net, stats, n_steps=3)
    assert list(program.layers) == names == [at["name"] for at in errors["layers"]]
    assert list(stats.synops) == list(stats.overflows) == names
    assert set(names) <= set(stats.spikes) == set(stats.neuron_spikes)
    for at in report.utilisation.layers:
        assert stats.neuron_spikes[at.name].shape == (at.neurons,)
    assert {f.layer for f in (*report.findings, *report.violations)} <= {*names, ""}
    assert {core.layer for core in report.utilisation.cores} == set(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [at.name for at in partition(net).layers] == names


def test_two_layers_of_one_label_and_decoded_ones_have_names_of_their_own():
    with nengo.Network(seed=0) as net:
        import_nengo_loihi().add_params(net)
        u = nengo.Node([0.5], label="u")
        host = nengo.Ensemble(20, 1, label="a")
        first, second, third = (nengo.Ensemble(20, 1, label=label) for label in ("a", "a", None))
        net.config[host].on_chip = False
        nengo.Connection(u, host)
        nengo.Connection(host, first)
        nengo.Connection(first, second)
        nengo.Connection(first, second)
        nengo.Connection(second, third)
    with hardware.Simulator(net, target="emulator") as sim:
        sim.predict({u: np.ones((1, 1, 1))}, n_steps=2)
    on_chip = {"a", "a#2", "ensemble2", "a decoded for a#2", "a decoded for a#2#2", "a#2 decoded for ensemble2"}
    assert set(sim.program.layers) == on_chip == {at.name for at in hardware.check(net).utilisation.layers}
    assert set(sim.stats.spikes) == on_chip | {"a#3"}  # the one on the host


# --- the door


def test_the_list_at_the_door_is_what_is_used():
    used = set()
    for path in (ROOT / "hardware").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "door":
                used.add(node.attr)
    assert set(NAMES) <= used <= {*NAMES, "translated"}


# --- errors


def _small(build):
    with nengo.Network(seed=1) as net:
        source = nengo.Ensemble(20, 1, label="source")
        nengo.Connection(nengo.Node([0.5]), source)
        build(source)
    return net


def _failing(x):
    if x.any():  # nengo tries it on zeros
        raise ZeroDivisionError("by the user")
    return x


ERRORS = {
    "part of a layer": (
        lambda a: nengo.Connection(a, nengo.Ensemble(20, 2, label="target")[1]),
        UnsupportedError,
        "connection from 'source' to 'target': .* not a part",
    ),
    "synapse": (
        lambda a: nengo.Connection(a, nengo.Ensemble(20, 1), synapse=nengo.Alpha(0.01), label="slow"),
        UnsupportedError,
        "connection 'slow': Cannot handle non-Lowpass synapses",
    ),
    "neuron type": (
        lambda a: nengo.Ensemble(10, 1, neuron_type=nengo.Izhikevich(), label="odd"),
        UnsupportedError,
        "'odd'.*Izhikevich.*on_chip = False",
    ),
    "function": (
        lambda a: nengo.Connection(a, nengo.Ensemble(20, 1, label="target"), function=_failing),
        InputError,
        "connection from 'source' to 'target': .*ZeroDivisionError: by the user",
    ),
    "integers": (
        lambda a: nengo.Ensemble(20, 1, gain=np.ones(20), bias=np.full(20, 1e9), label="loud"),
        MisfitError,
        "layer 'loud': no exponent fits",
    ),
    "gains": (
        lambda a: nengo.Connection(
            nengo.Ensemble(16, 1, label="image").neurons,
            nengo.Ensemble(9, 1, label="uneven").neurons,
            transform=nengo.Convolution(1, (4, 4, 1), kernel_size=(2, 2)),
        ),
        InputError,
        "the neurons of 'image' to the neurons of 'uneven': .*same gain",
    ),
}


@pytest.mark.parametrize("build, kind, match", ERRORS.values(), ids=ERRORS)
def test_nengo_loihis_errors_are_ours_and_name_the_part(build, kind, match):
    said = set()
    calls = (
        hardware.compile_network,
        lambda net: hardware.compile_network(hardware.lower(net)),
        lambda net: hardware.Simulator(net, target="emulator"),
        lambda net: hardware.Simulator(net, target="reference"),
    )
    for call in calls:
        with pytest.raises(CotrainError, match=match) as raised:
            call(_small(build))
        assert type(raised.value) is kind and "\n" not in str(raised.value)
        said.add(str(raised.value))
    assert len(said) == 1
    report = hardware.check(_small(build))
    assert {v.rule for v in report.violations} == {"integer_range" if kind is MisfitError else "buildable"}
