"""The compiled network: integers only, immutable, one file.

A `Program` is what nengo-loihi would write into the chip's registers, with names in place of addresses. Words
are Loihi's: a *compartment* is a neuron; a *block* is the compartments of one core; a *layer* is the blocks that
one ensemble was cut into. A spike leaves its compartment over *routes*; a route names a *synapse* group of a block,
an input *axon* of that group, and an *atom* (the population index: for a convolution, the channel). The axon has a
base compartment and an *entry* of weight memory: rows of weights, one per atom, and the compartments (relative to
the base) that they add to. Entries are shared, so a convolution is stored once however large its image is.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from typing import Dict, Optional, Tuple

import numpy as np
from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, InputError

SCHEMA = 1
PROBE_KEYS = ("spiked", "voltage", "current")

# name → dtype of every integer array of a Program; the order is that of the digest
ARRAYS = {
    # per compartment, blocks in order
    "decay_u": "int32",  # current decay, 12 bits
    "decay_v": "int32",  # voltage decay, 12 bits
    "bias": "int32",
    "vth": "int32",  # spike where the voltage exceeds it
    "vmin": "int32",
    "vmax": "int32",
    "refractory": "int32",  # steps
    "noise_on": "bool",
    "noise_exp": "int32",  # noise is (uniform(-127, 127) + offset) * 2**(exp - 7)
    "noise_offset": "int32",
    "noise_at_membrane": "bool",  # added to the membrane input rather than to the synaptic input
    "neuron": "int32",  # index within the ensemble
    "order": "int32",  # place within the layer, pixel by pixel with the channels together
    # per block
    "block_start": "int64",  # (n_blocks + 1,) first compartment
    "block_layer": "int32",
    # per host input (spikes that enter the chip)
    "input_size": "int32",
    "scheduled_input": "int32",  # spikes known when the network is compiled: which input,
    "scheduled_step": "int32",  # in which step, counted from 1,
    "scheduled_index": "int32",  # which of its lines
    # per synapse group
    "synapse_block": "int32",
    "synapse_axon_start": "int64",  # (n_synapses + 1,) first input axon
    "synapse_pop_type": "int32",  # 0, 16 or 32
    # per input axon
    "axon_base": "int32",  # first compartment, relative to the block; -1: the axon is not used
    "axon_entry": "int32",
    # per entry of weight memory
    "entry_start": "int64",  # (n_entries + 1,) into weights, (atoms, targets) row by row
    "entry_atoms": "int32",
    "entry_index_start": "int64",  # (n_entries + 1,) into indices: one row for all atoms, or a row per atom
    "weights": "int32",
    "indices": "int32",
    # per route
    "route_source": "int32",  # a block, or -1 - input
    "route_synapse": "int32",
    "route_start": "int64",  # (n_routes + 1,) into the next two, one value per compartment of the source
    "route_axon": "int32",  # -1: this compartment does not use the route
    "route_atom": "int32",
}


@dataclass(frozen=True)
class ProgramProbe:
    """What is read from the chip, and how it becomes numbers (nengo_loihi.probe.LoihiProbe).

    Attributes
    ----------
    key : str
        "spiked", "voltage" or "current", read after the step's update.
    compartments : tuple of (n_k,) int32 arrays
        Compartments read, one array per block.
    weights : tuple of (float array or None)
        Decoder per block: None, a scalar, or (n_k, size_out); products with a matrix are summed over blocks,
        everything else is concatenated.
    reindexing : (size_out,) int64 array or None
        Order in which concatenated values are returned.
    """

    label: str
    key: str
    compartments: Tuple[np.ndarray, ...]
    weights: Tuple[Optional[np.ndarray], ...]
    reindexing: Optional[np.ndarray] = None


@dataclass(frozen=True)
class Program:
    """A network compiled to Loihi's integers. Arrays are read-only; see ``ARRAYS`` for what each holds.

    Attributes
    ----------
    dt_s : float
        Step length in seconds.
    layers, blocks, inputs : tuple of str
        Labels; layers carry the label of the nengo ensemble.
    arrays : dict of {str: ndarray}
        Also available as attributes (``program.weights``).
    probes : tuple of ProgramProbe
    """

    dt_s: float
    layers: Tuple[str, ...]
    blocks: Tuple[str, ...]
    inputs: Tuple[str, ...]
    arrays: Dict[str, np.ndarray] = field(repr=False)
    probes: Tuple[ProgramProbe, ...] = field(repr=False)
    digest: str = field(init=False, default="", compare=False)

    def __post_init__(self):
        if set(self.arrays) != set(ARRAYS):
            odd = sorted(set(self.arrays) ^ set(ARRAYS))
            raise InputError(f"program: arrays {', '.join(odd)} are missing or unknown")
        arrays = {name: _frozen(self.arrays[name], name, dtype) for name, dtype in ARRAYS.items()}
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "digest", _digest(self))

    def __getattr__(self, name: str):
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        raise AttributeError(f"Program has no attribute {name!r}")

    @property
    def n_compartments(self) -> int:
        return int(self.block_start[-1])

    @property
    def n_synapses(self) -> int:
        """Weights held in synapse memory (shared ones counted once)."""
        return int(self.weights.size)

    def save(self, path: files.PathLike) -> None:
        """Write the program to ``path`` (.npz), whole or not at all."""
        files.write_npz(path, _as_npz(self))

    @classmethod
    def load(cls, path: files.PathLike) -> Program:
        """Read a program and check its digest.

        Raises
        ------
        MissingError
            There is no such file.
        CorruptError
            It is no program, was changed after it was written, or has a newer schema.
        """
        path, again = os.fspath(path), "make it again (cotrain quantize)"
        data = files.read_npz(path, missing="compile the network (cotrain quantize) first", damaged=again)
        if "meta" not in data:
            raise CorruptError(f"{path}: not a program: 'meta' is missing; {again}")
        meta = files.parse_json(data.pop("meta").tobytes(), path, again)
        schema = files.entries(meta, {"schema": int, "digest": str}, path, again)["schema"]
        if schema != SCHEMA:
            raise CorruptError(f"{path}: schema {schema}, but this version reads {SCHEMA}; {again}")
        try:
            program = _from_npz(meta, data)
        except (InputError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise CorruptError(f"{path}: contents do not fit together ({error}); {again}") from error
        if program.digest != meta["digest"]:
            raise CorruptError(f"{path}: contents do not match their digest, the file was changed; {again}")
        return program


def _frozen(array, name: str, dtype: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 1 or (array.size and not np.can_cast(array.dtype, dtype, "same_kind")):
        raise InputError(f"program: {name} must be a vector of {dtype}, got {array.dtype} of shape {array.shape}")
    cast = array.astype(dtype, order="C", copy=True)
    if array.size and dtype != "bool" and not np.array_equal(cast, array):
        raise InputError(f"program: {name} holds values that {dtype} cannot hold")
    cast.setflags(write=False)
    return cast


def _meta(program: Program) -> dict:
    return {
        "schema": SCHEMA,
        "dt_s": program.dt_s,
        "layers": list(program.layers),
        "blocks": list(program.blocks),
        "inputs": list(program.inputs),
        "probes": [{"label": p.label, "key": p.key, "n_blocks": len(p.compartments)} for p in program.probes],
    }


def _as_npz(program: Program) -> Dict[str, np.ndarray]:
    meta = dict(_meta(program), digest=program.digest)
    data = {"meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **program.arrays}
    data.update(_probe_arrays(program))
    return data


def _probe_arrays(program: Program) -> Dict[str, np.ndarray]:
    data = {}
    for i, probe in enumerate(program.probes):
        for k, (compartments, weights) in enumerate(zip(probe.compartments, probe.weights)):
            data[f"probe{i}.compartments{k}"] = compartments
            if weights is not None:
                data[f"probe{i}.weights{k}"] = weights
        if probe.reindexing is not None:
            data[f"probe{i}.reindexing"] = probe.reindexing
    return data


def _from_npz(meta: dict, data: Dict[str, np.ndarray]) -> Program:
    probes = []
    for i, probe in enumerate(meta["probes"]):
        blocks = range(probe["n_blocks"])
        probes.append(
            ProgramProbe(
                label=probe["label"],
                key=probe["key"],
                compartments=tuple(data[f"probe{i}.compartments{k}"] for k in blocks),
                weights=tuple(data.get(f"probe{i}.weights{k}") for k in blocks),
                reindexing=data.get(f"probe{i}.reindexing"),
            )
        )
    labels = {name: tuple(meta[name]) for name in ("layers", "blocks", "inputs")}
    arrays = {name: data[name] for name in ARRAYS}
    return Program(dt_s=meta["dt_s"], arrays=arrays, probes=tuple(probes), **labels)


def _digest(program: Program) -> str:
    sha = hashlib.sha256(json.dumps(_meta(program), sort_keys=True).encode())
    for name, array in {**program.arrays, **_probe_arrays(program)}.items():
        sha.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data if array.size else b"")
    return sha.hexdigest()


assert {f.name for f in fields(Program)}.isdisjoint(ARRAYS)
