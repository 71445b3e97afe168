"""From what was counted of a network and where it lies on the chip to what `hardware.estimate` asks for."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.networks import NetworkSpec


def counts_of(row: dict[str, Any], spec: NetworkSpec, placement: dict[str, Any], n_steps: int) -> dict[str, Any]:
    """Counts of one inference.

    Parameters
    ----------
    row : dict
        Of metrics.json, with its layers.
    placement : dict
        `hardware.Report.to_json()` of the network.

    Returns
    -------
    dict
        Plain values. Layers on the host are the input: it sends their spikes at each step.
    """
    cores = placement["utilisation"]["cores"]
    kinds = {layer.name: {edge.kind for edge in layer.edges()} for layer in spec.layers}
    layers = [
        {
            "name": layer["name"],
            "neurons": layer["neurons"],
            "cores": max(1, sum(core["layer"] == layer["name"] for core in cores)),
            "synapse": "dense" if kinds[layer["name"]] == {"dense"} else "convolution",
            "spikes_per_inference": layer["spikes_per_inference"],
            "synops_per_inference": layer["synops_per_inference"],
        }
        for layer in row["layers"]
        if layer["on_chip"]
    ]
    return {
        "name": spec.name,
        "n_steps": n_steps,
        "chips": placement["chips"],
        "cores": placement["cores"],
        "input": "streamed",
        "input_spikes_per_inference": sum(
            layer["spikes_per_inference"] for layer in row["layers"] if not layer["on_chip"]
        ),
        "layers": layers,
    }
