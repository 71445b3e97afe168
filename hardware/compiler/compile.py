"""nengo.Network → Program: reads what nengo-loihi's builder leaves.

nengo-loihi builds the network, splits it into blocks and rounds it to integers (``builder/network.py``); what it leaves
in its objects is copied here into plain arrays. Nothing is computed anew, so a Program is exactly what the chip would
be given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.builder.names import LayerNames, without_address
from cotrain.hardware.compiler.program import PROBE_KEYS, Program, ProgramProbe
from cotrain.hardware.errors import UnsupportedError
from cotrain.hardware.placement.cores import DT_S, Network, as_lowered

REFERENCE = "use target='reference'"


def compile_network(net: Network, dt_s: float = DT_S, remove_passthrough: bool = True) -> Program:
    """Compile a network for Loihi 1.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
        Block shapes, ``pop_type`` and ``on_chip`` are read from ``net.config`` as nengo-loihi does.
    dt_s : float
        Step length in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`; of a lowered network, what it was lowered with.

    Returns
    -------
    Program

    Raises
    ------
    UnsupportedError
        The network learns on the chip, or has what nengo-loihi lacks.
    MisfitError
        A block is larger than a core, or has no integer form.
    InputError
        A value or function of the network is wrong.
    """
    return program_from_model(as_lowered(net, dt_s, remove_passthrough, look=False).integers())


def program_from_model(model: Any) -> Program:
    """Copy a built and discretised `nengo_loihi.builder.Model` into a Program."""
    blocks, inputs = list(model.blocks), list(model.inputs)
    names = LayerNames(model)
    for block in blocks:
        _refuse(block, names.block(block))
    layers, block_layer = names.layers(model)
    neuron, order = _neurons(model, names)

    arrays = _compartments(blocks)
    arrays["neuron"], arrays["order"] = neuron, order
    arrays["block_layer"] = block_layer
    arrays["input_size"] = [i.n_neurons for i in inputs]
    arrays.update(_scheduled(inputs))
    synapse_index, synapse_arrays = _synapses(blocks)
    arrays.update(synapse_arrays)
    arrays.update(_routes(blocks, inputs, synapse_index))

    start = dict(zip(blocks, np.asarray(arrays["block_start"])))
    return Program(
        dt_s=float(model.dt),
        layers=tuple(layers),
        blocks=tuple(without_address(b.label) for b in blocks),
        inputs=tuple(without_address(i.label) for i in inputs),
        arrays={name: np.asarray(a) for name, a in arrays.items()},
        probes=tuple(_probe(p, start) for p in model.probes),
    )


def _refuse(block, name) -> None:
    if block.compartment.vth.dtype != np.int32:
        raise UnsupportedError(
            f"layer {name!r}: the model is not discretised (target 'simreal'); the emulator runs integers only"
        )
    for synapse in block.synapses:
        if synapse.learning:
            raise UnsupportedError(f"layer {name!r}: on-chip learning (PES) is not in the emulator; {REFERENCE}")


def _neurons(model, names):
    """Neuron of every compartment, and its place pixel by pixel within its layer."""
    channels_first = _channels_first_shapes(model)
    neuron, order = [], []
    for block in model.blocks:
        ids = np.asarray(list(model.block_comp_map.get(block, range(block.n_neurons))), dtype=np.int64)
        neuron.append(ids)
        ensemble = names.ensemble(block)
        if ensemble in channels_first:
            n_channels, n_pixels = channels_first[ensemble]
            ids = (ids % n_pixels) * n_channels + ids // n_pixels
        order.append(ids)
    return np.concatenate(neuron), np.concatenate(order)


def _channels_first_shapes(model):
    """{ensemble: (n_channels, n_pixels)} of ensembles that a channels-first convolution ends in."""
    shapes = {}
    for conn in model.params:
        shape = getattr(getattr(conn, "transform", None), "output_shape", None)
        if shape is not None and not shape.channels_last:
            shapes[getattr(conn.post_obj, "ensemble", None)] = (shape.n_channels, int(np.prod(shape.spatial_shape)))
    return shapes


def _compartments(blocks):
    comps = [b.compartment for b in blocks]
    sizes = [b.n_neurons for b in blocks]

    def per_compartment(name):
        return np.concatenate([np.broadcast_to(np.asarray(getattr(c, name)), n) for c, n in zip(comps, sizes)])

    return {
        "block_start": np.concatenate([[0], np.cumsum(sizes)]),
        "decay_u": per_compartment("decay_u"),
        "decay_v": per_compartment("decay_v"),
        "bias": per_compartment("bias"),
        "vth": per_compartment("vth"),
        # the reference keeps these as 32-bit integers
        "vmin": per_compartment("vmin").astype(np.int32),
        "vmax": per_compartment("vmax").astype(np.int32),
        "refractory": per_compartment("refract_delay"),
        "noise_on": per_compartment("enable_noise").astype(bool),
        "noise_exp": per_compartment("noise_exp").astype(np.int32),
        "noise_offset": per_compartment("noise_offset").astype(np.int32),
        "noise_at_membrane": per_compartment("noise_at_membrane").astype(bool),
    }


def _scheduled(inputs):
    rows = []
    for k, spike_input in enumerate(inputs):
        for step in sorted(spike_input.permanent):
            rows.extend((k, step, int(i)) for i in spike_input.spikes[step])
    table = np.asarray(rows, dtype=np.int32).reshape(-1, 3)
    return {"scheduled_input": table[:, 0], "scheduled_step": table[:, 1], "scheduled_index": table[:, 2]}


def _synapses(blocks):
    """Weight memory. Entries are kept as nengo-loihi shares them: per synapse group."""
    index, block_of, pop_type = {}, [], []
    axon_start, bases, axon_entry = [0], [], []
    weights, indices, entry_atoms = [], [], []
    entry_size, index_size = [0], [0]
    for b, block in enumerate(blocks):
        for synapse in block.synapses:
            index[synapse] = len(index)
            block_of.append(b)
            pop_type.append(synapse.pop_type)
            n = synapse.n_axons
            axon_start.append(axon_start[-1] + n)
            base = synapse.axon_compartment_bases
            bases.append(np.zeros(n, np.int32) if base is None else np.maximum(np.asarray(base), -1))
            entry = np.arange(n) if synapse.axon_to_weight_map is None else np.asarray(synapse.axon_to_weight_map)
            axon_entry.append(entry + len(entry_atoms))
            rows = [i if len(i) == 1 or (i != i[:1]).any() else i[:1] for i in synapse.indices]
            weights += [w.ravel() for w in synapse.weights]
            indices += [row.ravel() for row in rows]
            entry_atoms += [len(w) for w in synapse.weights]
            entry_size += [w.size for w in synapse.weights]
            index_size += [row.size for row in rows]
    return index, {
        "synapse_block": block_of,
        "synapse_axon_start": axon_start,
        "synapse_pop_type": pop_type,
        "axon_base": _joined(bases),
        "axon_entry": _joined(axon_entry),
        "entry_start": np.cumsum(entry_size),
        "entry_atoms": entry_atoms,
        "entry_index_start": np.cumsum(index_size),
        "weights": _joined(weights),
        "indices": _joined(indices),
    }


def _routes(blocks, inputs, synapse_index):
    source, synapse, size, axons, atoms = [], [], [0], [], []
    sources = [(k, b.n_neurons, b.axons) for k, b in enumerate(blocks)]
    sources += [(-1 - k, i.n_neurons, i.axons) for k, i in enumerate(inputs)]
    for number, n, out_axons in sources:
        everyone = np.arange(n)
        for axon in out_axons:
            source.append(number)
            synapse.append(synapse_index[axon.target])
            axons.append(np.maximum(np.asarray(axon.map_axon(everyone)), -1))
            atoms.append(np.asarray(axon.map_atoms(everyone)))
            size.append(n)
    return {
        "route_source": source,
        "route_synapse": synapse,
        "route_start": np.cumsum(size),
        "route_axon": _joined(axons),
        "route_atom": _joined(atoms),
    }


def _joined(parts):
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


def _probe(probe, start) -> ProgramProbe:
    if probe.key not in PROBE_KEYS:
        raise UnsupportedError(f"probe of {probe.key!r}: the emulator reads {', '.join(PROBE_KEYS)}; {REFERENCE}")
    compartments = tuple(
        (start[block] + np.arange(block.n_neurons)[chosen]).astype(np.int32)
        for block, chosen in zip(probe.target, probe.slice)
    )
    return ProgramProbe(
        label="+".join(without_address(block.label) for block in probe.target),
        key=probe.key,
        compartments=compartments,
        weights=tuple(None if w is None else np.array(w) for w in probe.weights),
        reindexing=None if probe.reindexing is None else np.asarray(probe.reindexing),
    )
