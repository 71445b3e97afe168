"""What lies in an unpacked bundle: names, formats, and the network made again from them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Dict

import numpy as np
from cotrain.hardware import files
from cotrain.hardware.builder import door
from cotrain.hardware.errors import InputError
from cotrain.hardware.files import read_json, read_npz

DESCRIPTION = "network.json"  # what the builder needs, how the network is placed, how it is run
PARAMS = "params.npz"
INPUTS = "inputs.npz"  # "images" (n_samples, size) float32 and "names"
EXPECTED = "expected"  # a sample's record each, and SUMMARY
SUMMARY = "summary.json"
RESULTS = "results.json"

Record = Dict[str, np.ndarray]


def sample_file(index: int) -> str:
    """File name of the record of one sample."""
    return f"sample-{index:04d}.npz"


def npz_bytes(arrays: Dict[str, np.ndarray]) -> bytes:
    """`files.npz_bytes`, as small as it gets: a bundle travels by mail."""
    return files.npz_bytes(arrays, level=9)


def read_placement(net) -> Dict[str, Any]:
    """How `hardware.partition` cut a network without subnetworks.

    Returns
    -------
    dict
        "block_shapes" {label of an ensemble: [shape of a block, shape of the ensemble]} and "pop_types" {label of a
        connection: 16}.
    """
    cuts, narrow = {}, {}
    for ensemble in net.all_ensembles:
        cut = net.config[ensemble].block_shape
        if cut is not None:
            cuts[ensemble.label] = [[int(n) for n in cut.shape], [int(n) for n in cut.ensemble_shape]]
    for connection in net.all_connections:
        if net.config[connection].pop_type != 32:  # nengo_loihi's default
            narrow[connection.label] = int(net.config[connection].pop_type)
    return {"block_shapes": cuts, "pop_types": narrow}


def place(net, placement: Dict[str, Any]) -> None:
    """Cut a network as `read_placement` read it."""
    for ensemble in net.all_ensembles:
        if ensemble.label in placement["block_shapes"]:
            shape, whole = placement["block_shapes"][ensemble.label]
            net.config[ensemble].block_shape = door.BlockShape(tuple(shape), tuple(whole))
    for connection in net.all_connections:
        if connection.label in placement["pop_types"]:
            net.config[connection].pop_type = placement["pop_types"][connection.label]


class Folder:
    """An unpacked bundle whose files have been checked.

    Parameters
    ----------
    path : Path
    digest : str
        Of the manifest: which bundle this is.
    """

    def __init__(self, path: Path, digest: str):
        self.path, self.digest = Path(path), digest
        self.description = read_json(self.path / DESCRIPTION)
        inputs = read_npz(self.path / INPUTS)
        self.images, self.names = inputs["images"], [str(name) for name in inputs["names"]]

    @property
    def n_steps(self) -> int:
        return self.description["n_steps"]

    @property
    def readout_steps(self) -> int:
        return self.description["readout_steps"]

    @property
    def layers(self) -> list:
        """Names of the layers in order of depth; the first one runs on the host."""
        return self.description["layers"]

    def build(self):
        """The network, cut into blocks, made by the function that the description names ("module:function").

        Returns
        -------
        object
            With `net`, `image` (input node), `layers` {name: ensemble} and `output` (probe).

        Raises
        ------
        InputError
            No such function.
        """
        module, _, function = self.description["builder"].partition(":")
        try:
            builder = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the builder {self.description['builder']} cannot be imported ({error})") from None
        built = builder(self.description["network"], read_npz(self.path / PARAMS))
        place(built.net, self.description["placement"])
        return built

    def expected(self, index: int) -> Record:
        """What the emulator gave for a sample when the bundle was packed."""
        return read_npz(self.path / EXPECTED / sample_file(index))
