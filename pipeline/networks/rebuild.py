"""The network of an experiment as plain values, and made again from them on a host without the rest of the package."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict

from cotrain.pipeline.networks import BuiltNetwork, NetworkSpec, Params, build, neurons_for

BUILDER = "cotrain.pipeline.networks.rebuild:rebuild"  # what a bundle calls `rebuild`


def describe(spec: NetworkSpec, neurons: Any, synapse_s: float, seed: int, lift: float = 0.0) -> Dict[str, Any]:
    """JSON values from which `rebuild` makes the network that goes to the chip.

    Parameters
    ----------
    neurons : pipeline.experiment.NeuronSettings
    synapse_s : float
        Time constant of the Lowpass between layers.
    seed : int
        Of the network.
    lift : float
        See `build`.
    """
    settings = dict(vars(neurons))
    return {"spec": spec.to_dict(), "neurons": settings, "synapse_s": synapse_s, "lift": lift, "seed": seed}


def rebuild(description: Dict[str, Any], params: Params) -> BuiltNetwork:
    """The network for the chip, not yet cut into blocks; see `describe`."""
    neurons = neurons_for(SimpleNamespace(**description["neurons"]), "loihi")
    spec = NetworkSpec.from_dict(description["spec"])
    lift = description.get("lift", 0.0)
    return build(spec, neurons, params, description["synapse_s"], loihi=True, lift=lift, seed=description["seed"])
