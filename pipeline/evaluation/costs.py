"""From what was counted of a network and where it lies on the chip to what `hardware.estimate` asks for."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.networks import Edge, NetworkSpec

MESSAGES_ASSUMPTION = (
    "A spike becomes one message for each input axon that waits for it (mean over the layer); a spike of the last "
    "layer one, to the host."
)
X86_ASSUMPTION = "One x86 core a chip carries the spikes in and out (NengoLoihi's SNIPs)."


def counts_of(
    row: dict[str, Any], spec: NetworkSpec, placement: dict[str, Any], n_steps: int, input: str = "streamed"
) -> dict[str, Any]:
    """Counts of one inference.

    Parameters
    ----------
    row : dict
        Of metrics.json, with its layers.
    placement : dict
        `hardware.Report.to_json()` of the network; empty where it was not placed: then cores are not known.
    input : {"streamed", "once", "on-chip"}
        How the spikes of the layers on the host reach the chip.

    Returns
    -------
    dict
        Plain values, without layers where none is on the chip.
    """
    n_start = row.get("start_spikes", 0)
    places = by_layer(placement, spec, n_start)
    kinds = {layer.name: {edge.kind for edge in layer.edges()} for layer in spec.layers}
    layers, arriving = [], float(n_start)
    for layer in row["layers"]:
        spikes, place = layer["spikes_per_inference"], places.get(layer["name"], {})
        if not layer.get("on_chip", True):
            arriving += spikes
            continue
        per_spike = place.get("messages_per_spike")
        layers.append({
            "name": layer["name"],
            "neurons": layer["neurons"],
            "cores": place.get("cores"),
            "synapse": "dense" if kinds.get(layer["name"]) == {"dense"} else "convolution",
            "spikes_per_inference": spikes,
            "synops_per_inference": layer.get("synops_per_inference"),
            "messages_per_inference": None if per_spike is None else spikes * per_spike,
        })  # fmt: skip
    chips = placement.get("chips")
    return {
        "name": row.get("model") or spec.name,
        "n_steps": n_steps,
        "chips": chips,
        "cores": placement.get("cores"),
        "x86_in_use": chips,
        "input": input,
        "input_spikes_per_inference": arriving,
        "layers": layers,
    }


def by_layer(placement: dict[str, Any], spec: NetworkSpec, n_start: int = 0) -> dict[str, dict[str, Any]]:
    """{layer: {"cores", "messages_per_spike"}}; empty without a placement.

    The channels of a pixel share their axons on the way into a convolution (NengoLoihi's population spikes); into a
    dense layer every neuron has its own. The axons of a layer that listens to several are spread over them evenly.
    `n_start` axons of each core are no layer's: they spread the voltages in the beginning.
    """
    cores = placement.get("utilisation", {}).get("cores", [])
    found = {}
    axons: dict[str, int] = {}  # that wait on the cores of a layer
    for core in cores:
        axons[core["layer"]] = axons.get(core["layer"], 0) + core["input_axons"] - n_start
    for layer in spec.layers:
        mine = [core for core in cores if core["layer"] == layer.name]
        entry: dict[str, Any] = {"cores": max(1, len(mine))}
        waiting = [edge.target for edge in spec.edges_from(layer.name) if edge.target.name in axons]
        if waiting:
            entry["messages_per_spike"] = sum(
                axons[target.name] / sum(_axons_of_source(edge) for edge in target.edges()) for target in waiting
            )
        if mine or waiting:
            found[layer.name] = entry
    return found


def _axons_of_source(edge: Edge) -> int:
    """Axons that an edge takes at least: one a pixel of a convolution's source, one a neuron of a dense map's."""
    return edge.n_inputs if edge.kind == "dense" else edge.n_inputs // edge.input_shape[-1]
