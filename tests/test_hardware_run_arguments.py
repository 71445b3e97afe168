"""Step lengths, run lengths, seeds and probes that sample: the reference's numbers, or one line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.errors import CotrainError, InputError
from emulator_networks import nengo_loihi, random_network


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def wave(sample_every=(None,)):
    """A sine through an ensemble and a host that sends it back; probes of everything, host and chip."""
    with nengo.Network(seed=1) as net:
        net.u = nengo.Node(lambda t: np.sin(20 * t))
        ens, back = nengo.Ensemble(40, 1), nengo.Node(lambda t, x: 0.3 * x, size_in=1)
        nengo.Connection(net.u, ens)
        nengo.Connection(ens, back, synapse=0.01)
        nengo.Connection(back, ens, synapse=0.01)
        for every in sample_every:
            for obj, key in ((ens, None), (ens.neurons, None), (ens.neurons[[7, 2]], "voltage"), (back, None)):
                nengo.Probe(obj, key, synapse=0.01, sample_every=every)
            nengo.Probe(ens.neurons[3:30:4], "input", sample_every=every)
    return net


@pytest.mark.parametrize("dt", [0.0005, 0.002, 0.01, np.float32(0.001), 1e-4])
def test_step_lengths_give_the_references_numbers(dt):
    net = wave()
    with nengo_loihi.Simulator(net, dt=float(dt), target="sim", seed=0) as theirs:
        theirs.run_steps(30)
    with hardware.Simulator(net, "emulator", dt_s=dt) as ours:
        ours.run_steps(30)
        predicted = ours.predict({}, 30)
    for probe in net.all_probes:
        assert np.array_equal(ours.data[probe], theirs.data[probe])
        assert np.array_equal(predicted[probe][0], theirs.data[probe])


@pytest.fixture(scope="module")
def sim():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with hardware.Simulator(wave(), "emulator") as sim:
            yield sim


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, -1e-9, "1", None, True, 10**9, 1e300])
def test_run_refuses(sim, value):
    with pytest.raises(InputError):
        sim.run(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, float("nan"), "3", None, True, 10**9, 10**18])
def test_run_steps_and_predict_refuse(sim, value):
    with pytest.raises(InputError, match="run_steps: expected|steps: what the probes record"):
        sim.run_steps(value)
    with pytest.raises(InputError):
        sim.predict({}, value)
    if value is not None:
        with pytest.raises(InputError, match="last_steps"):
            sim.predict({}, 5, last_steps=value)
    assert sim.n_steps == 0


def test_a_run_of_no_length_warns_as_nengo_does(sim):
    with pytest.warns(UserWarning, match="0 timesteps"):
        sim.run(0)
    with pytest.warns(UserWarning, match="0 timesteps"):
        sim.run(1e-9)
    assert sim.n_steps == 0


def test_long_runs_in_parts_are_runs(monkeypatch):
    net = wave([None, 0.003])
    with hardware.Simulator(net, "emulator") as sim:
        sim.run_steps(40)
        whole = {p: np.array(sim.data[p]) for p in net.all_probes}
        sim.reset()
        monkeypatch.setattr("cotrain.hardware.simulator.simulator.CHUNK_STEPS", 7)
        sim.run_steps(40)
        for probe in net.all_probes:
            assert np.array_equal(sim.data[probe], whole[probe])


@pytest.mark.parametrize("bad", [-1, 2**32, 2**70, 1.5, "0", None, True, float("nan")])
def test_seeds(bad):
    with pytest.raises(InputError, match="seed"):
        hardware.Simulator(wave(), "emulator", seed=bad)
    with pytest.raises(InputError, match="threads"):
        hardware.Simulator(wave(), "emulator", threads=0 if bad is None else -1 if bad == 2**32 else 1.5)
    assert threading.active_count() == 1


def test_the_largest_seed_is_one():
    with hardware.Simulator(wave(), "emulator", seed=2**32 - 1) as sim:
        sim.run_steps(2)


# --- probes that sample


EVERY = [0.001, 0.002, 0.003, 0.0025, 0.0004, 0.005, 1.0]


def test_probes_that_sample_hold_the_steps_that_nengo_would():
    """nengo.Simulator records a step where n_steps mod (sample_every / dt) < 1, after the filter."""
    net = wave([None] + EVERY)
    whole = net.probes[:5]
    found = {}
    for target in ("emulator", "reference"):
        with hardware.Simulator(net, target) as sim:
            for n in (7, 1, 22):
                sim.run_steps(n)
            data = {p: np.array(sim.data[p]) for p in net.probes}
            times = {every: sim.trange(sample_every=every) for every in EVERY}
            out = sim.predict({}, 30)
            last = sim.predict({}, 30, last_steps=8)
        found[target] = out
        for k, probe in enumerate(net.probes[5:]):
            every = EVERY[k // 5]
            kept = np.arange(1, 31) % (every / 0.001) < 1
            expected = out[whole[k % 5]][0][kept]
            assert len(expected) == len(times[every])
            assert out[probe].shape == (1, kept.sum(), probe.size_in)
            assert np.array_equal(out[probe][0], expected)
            assert np.array_equal(data[probe].reshape(expected.shape), expected)
            assert np.array_equal(last[probe][0], out[whole[k % 5]][0][22:][kept[22:]])
    for probe in net.probes:
        assert np.array_equal(found["emulator"][probe], found["reference"][probe])


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_that_sample(seed):
    """The same network with and without: the samples are those steps."""
    nets = [random_network(seed), random_network(seed)]
    rng = np.random.RandomState(seed)
    every = [float(rng.choice([0.0015, 0.002, 0.004, 0.007])) for _ in nets[0].all_probes]
    for probe, period in zip(nets[1].all_probes, every, strict=True):
        probe.sample_every = period
    out = []
    for net in nets:
        with hardware.Simulator(net, "emulator") as sim:
            found = sim.predict({}, 20)
            out.append([found[p] for p in net.all_probes])
    for whole, part, period in zip(*out, every, strict=True):
        assert np.array_equal(part, whole[:, np.arange(1, 21) % (period / 0.001) < 1])


NO_SECONDS = [0, -0.001, float("nan"), float("inf"), -float("inf"), "1ms", None, True, 1j, [0.001]]


@pytest.mark.parametrize("dt", NO_SECONDS + [0.3, 50, 1e-12, 1e-30, 1e300])
@pytest.mark.parametrize("call", ["Simulator", "compile_network", "check", "partition", "quantization_error"])
def test_step_lengths_that_are_none(dt, call):
    if call == "Simulator":
        with pytest.raises(CotrainError):
            hardware.Simulator(wave(), "emulator", dt_s=dt)
    elif call == "check" and dt in (0.3, 50, 1e-12, 1e-30, 1e300):
        assert not hardware.check(wave(), dt_s=dt).fits
    elif dt in (1e-12, 1e-30) and call in ("partition", "quantization_error"):
        pytest.skip("cut without being rounded to integers: nothing to refuse")
    else:
        with pytest.raises(CotrainError):
            getattr(hardware, call)(wave(), dt_s=dt)


# --- a standard error that is closed, or full


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_nobody_to_tell(closed, tmp_path):
    """Progress, warnings and error lines that cannot be written change neither results nor exit status."""
    (tmp_path / "net.py").write_text(
        "import nengo\n"
        "def make():\n"
        "    with nengo.Network(seed=0) as net:\n"
        "        net.u = nengo.Node([0.5]); nengo.Connection(net.u, nengo.Ensemble(5, 1), synapse=0.1)\n"
        "    return net\n"
        "if __name__ == '__main__':\n"
        "    from cotrain import hardware\n"
        "    net = make()\n"
        "    with hardware.Simulator(net, 'emulator', progress=True) as sim:\n"
        "        sim.run_steps(3); sim.predict({}, 3)\n"
        "    print('fine')\n"
    )
    for command, status in (
        ("net.py", 0),
        ("-m cotrain.pipeline check net.py:make", 0),
        ("-m cotrain.pipeline check no.py:m", 2),
    ):
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            f"{sys.executable} {command} {closed}", shell=True, cwd=tmp_path, stdout=subprocess.PIPE, env=environ
        )
        assert done.returncode == status, command
        assert bool(done.stdout) == (status == 0) and b"Traceback" not in done.stdout


def test_what_is_closed_and_what_is_not_there():
    net = wave()
    stranger = nengo.Probe(net.u, add_to_container=False)
    with hardware.Simulator(net, "emulator") as sim:
        sim.run_steps(2)
        for key in (stranger, "spikes", None):
            with pytest.raises(InputError, match="data: "):
                sim.data[key]
    assert len(sim.data[net.probes[0]]) == 2  # stays
    for call in (lambda: sim.run(0.1), lambda: sim.run_steps(1), sim.step, sim.reset, lambda: sim.predict({}, 2)):
        with pytest.raises(InputError, match="closed"):
            call()
    with pytest.raises(nengo.exceptions.SimulatorClosed):
        sim.step()
    with pytest.raises(InputError):
        with sim:
            pass


@pytest.mark.parametrize("inputs", [None, [], "x", {"u": 1}, {None: 1}, {1: np.zeros((1, 1, 1))}])
def test_inputs_that_are_none(sim, inputs):
    with pytest.raises(InputError):
        sim.predict(inputs, 3)
