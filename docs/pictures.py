"""Draws the pictures of the documentation from the package's own neurons: python docs/pictures.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import nengo
import numpy as np
from cotrain import hardware

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
    delay()
