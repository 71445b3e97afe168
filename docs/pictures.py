"""Draws the pictures of the documentation from the package's own neurons: python docs/pictures.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import nengo
import numpy as np
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.networks.builder import first_spike
from cotrain.pipeline.neurons.phases import spread

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "loihi-cotrain", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
HERE = Path(__file__).parent / "pictures"
DT = 0.001
REST = {"voltage": nengo.dists.Choice([0])}


def measured_rates(currents: np.ndarray, n_steps: int = 600) -> np.ndarray:
    """Rates in Hz of integrate-and-fire neurons with these input currents, on the emulator."""
    n = len(currents)
    with nengo.Network(seed=0) as net:
        kind = nengo.SpikingRectifiedLinear(initial_state=REST)
        neurons = nengo.Ensemble(n, 1, neuron_type=kind, gain=np.ones(n), bias=currents, label="neurons")
        probe = nengo.Probe(neurons.neurons)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        spikes = sim.predict({}, n_steps=n_steps)[probe][0]
    return (spikes > 0).sum(axis=0) / (n_steps * DT)


def rate() -> None:
    import matplotlib.pyplot as plt

    currents = np.linspace(0, 1000, 401)[1:]
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(currents, currents, "--", color="0.5", label="ideal: rate = current")
    axes.plot(currents, measured_rates(currents), color="#00805c", label="on the chip's integers")
    axes.set(xlabel="input current (spikes a second)", ylabel="firing rate (Hz)", xlim=(0, 1000), ylim=(0, 1020))
    axes.legend(frameon=False)
    save(figure, "rate")


def delay() -> None:
    import matplotlib.pyplot as plt

    depths = (1, 2, 4, 6, 8, 10)
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for synapse, color, mark in ((0.005, "#d99000", "s"), (0.002, "#0b69b5", "o"), (0.001, "#00805c", "D")):
        steps = [half_way(chain(depth, synapse)) for depth in depths]
        axes.plot(depths, steps, color=color, marker=mark, label=f"synapses of {synapse * 1e3:g} ms")
    axes.set(xlabel="layers", ylabel="steps until half the rate is there", xlim=(0.5, 10.5), ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, "delay")


def trace() -> None:
    """One neuron, step by step: voltage in units of the threshold, on the chip and as equations have it."""
    import matplotlib.pyplot as plt

    current, n_steps = 430.0, 24
    with nengo.Network(seed=0) as net:
        kind = nengo.SpikingRectifiedLinear(initial_state=REST)
        neuron = nengo.Ensemble(1, 1, neuron_type=kind, gain=[1.0], bias=[current], label="neuron")
        voltage, spikes = nengo.Probe(neuron.neurons, "voltage"), nengo.Probe(neuron.neurons)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        sim.run_steps(n_steps)
        chip, spiked = sim.data[voltage][:, 0], sim.data[spikes][:, 0] > 0
    steps = np.arange(1, n_steps + 1)
    ideal = np.cumsum(np.full(n_steps, current * DT))
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.axhline(1, color="0.6", lw=0.8)
    chip = chip / chip[0] * current * DT  # integers on the chip; the first step has the current alone
    # in the step of a spike the voltage is 0 again: what it would have been is one step's current more than before
    before = np.concatenate([[0], chip[:-1]])
    chip = np.where(spiked, before + current * DT, chip)
    axes.plot(steps, ideal % 1, color="0.5", ls="--", marker=".", label=f"what is left stays: {current:.0f} Hz")
    axes.plot(steps, chip, color="#00805c", marker="o", ms=4, label=f"chip: {spiked.mean() / DT:.0f} Hz")
    axes.plot(steps[spiked], np.full(spiked.sum(), 1.42), "|", color="#00805c", ms=10, mew=2)
    axes.set(xlabel="step (1 ms)", ylabel="voltage (thresholds)", ylim=(0, 1.9), xlim=(0.5, n_steps + 0.5))
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=8)
    save(figure, "trace")


def rounding() -> None:
    """Rates of neurons against their weight: alone on a core, and with one weight that is 30 times as large."""
    import matplotlib.pyplot as plt

    weights = np.linspace(0, 0.2, 201)
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for largest, color, label in ((0.2, "#00805c", "largest weight 0.2"), (6.0, "#d99000", "largest weight 6")):
        axes.plot(weights, rates_of(np.append(weights, largest))[:-1], color=color, label=label)
    axes.set(xlabel="weight", ylabel="firing rate (Hz)", xlim=(0, 0.2), ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, "rounding")


def start() -> None:
    """How fast a layer of slow neurons fires in each step, from voltages of 0 and from spread ones."""
    import matplotlib.pyplot as plt

    currents = np.random.default_rng(0).uniform(20, 60, 1000)
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    steps = np.arange(2, 61)
    axes.axhline(currents.mean(), color="0.6", lw=0.8, label="what its currents ask for")
    axes.plot(steps, started(currents, 0.0), color="#d99000", label='initial_voltage = "zero"')
    axes.plot(steps, started(currents, 1.0), color="#00805c", label='initial_voltage = "spread"')
    axes.set(xlabel="step (1 ms)", ylabel="mean rate of the layer (Hz)", xlim=(1, 60), ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, "start")


def started(currents: np.ndarray, lift: float, n_steps: int = 61) -> np.ndarray:
    """Rate in Hz of neurons with these currents, which one spike lifts in the second step: means of three steps."""
    n = len(currents)
    with nengo.Network(seed=0) as net:
        import_nengo_loihi().add_params(net)
        first = first_spike()
        net.config[first].on_chip = False
        kind = nengo.SpikingRectifiedLinear(initial_state=REST)
        layer = nengo.Ensemble(n, 1, neuron_type=kind, gain=np.ones(n), bias=currents, label="layer")
        weights = lift * spread(n)[:, None]  # 0: the same network without an effect
        nengo.Connection(first.neurons, layer.neurons, transform=weights, synapse=0.0001)
        probe = nengo.Probe(layer.neurons)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        spikes = sim.predict({}, n_steps=n_steps)[probe][0] > 0
    return np.convolve(spikes.mean(axis=1), np.full(3, 1 / 3), "valid") / DT


def rates_of(weights: np.ndarray, n_steps: int = 1000) -> np.ndarray:
    """Rates in Hz of neurons that hear one neuron of 500 Hz, each with its weight, all in one block."""
    n = len(weights)
    kind = nengo.SpikingRectifiedLinear(initial_state=REST)
    with nengo.Network(seed=0) as net:
        source = nengo.Ensemble(1, 1, neuron_type=kind, gain=[1.0], bias=[500.0], label="source")
        heard = nengo.Ensemble(n, 1, neuron_type=kind, gain=np.ones(n), bias=np.zeros(n), label="heard")
        nengo.Connection(source.neurons, heard.neurons, transform=weights[:, None], synapse=0.005)
        probe = nengo.Probe(heard.neurons)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        spikes = sim.predict({}, n_steps=n_steps)[probe][0]
    return (spikes > 0).sum(axis=0) / (n_steps * DT)


def half_way(rates: np.ndarray) -> int:
    """First step in which the mean of 10 steps has half of its final value."""
    smooth = np.convolve(rates, np.full(10, 0.1))[: len(rates)]
    return int(np.argmax(smooth >= rates[-100:].mean() / 2)) + 1


def chain(n_layers: int, synapse: float, n_steps: int = 300, n: int = 200) -> np.ndarray:
    """Mean rate in Hz, in each step, of the last of some layers that hand a rate of some 200 Hz on."""
    rng = np.random.default_rng(0)
    with nengo.Network(seed=0) as net:
        layers = []
        for i in range(n_layers):
            bias = rng.uniform(150, 250, n) if i == 0 else np.zeros(n)
            layers.append(
                nengo.Ensemble(
                    n, 1, neuron_type=nengo.SpikingRectifiedLinear(initial_state=REST), gain=np.ones(n), bias=bias,
                    label=f"layer{i}",
                )
            )  # fmt: skip
            if i:
                weights = rng.uniform(0, 2 / n, (n, n))
                nengo.Connection(layers[i - 1].neurons, layers[i].neurons, transform=weights, synapse=synapse)
        probe = nengo.Probe(layers[-1].neurons)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        spikes = sim.predict({}, n_steps=n_steps)[probe][0] > 0
    return spikes.mean(axis=1) / DT


def save(figure, name: str) -> None:
    HERE.mkdir(exist_ok=True)
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    rate()
    trace()
    delay()
    rounding()
    start()
