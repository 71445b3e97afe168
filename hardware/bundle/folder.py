"""What lies in an unpacked bundle: names, formats, and the network made again from them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

import numpy as np
from cotrain.hardware import files
from cotrain.hardware.builder import door
from cotrain.hardware.errors import CorruptError, InputError

DESCRIPTION = "network.json"  # what the builder needs, how the network is placed, how it is run
PARAMS = "params.npz"
INPUTS = "inputs.npz"  # "images" (n_samples, size) float32 and "names"
EXPECTED = "expected"  # a sample's record each, and SUMMARY
SUMMARY = "summary.json"
RESULTS = "results.json"
DESCRIBED = {
    "experiment": str, "builder": str, "network": dict, "layers": list, "placement": dict, "dt_s": float, "seed": int,
    "n_steps": int, "readout_steps": int,
}  # fmt: skip
MOST_STEPS = 10**6
MOST_BYTES = 2**28

Record = Dict[str, np.ndarray]


def sample_file(index: int) -> str:
    """File name of the record of one sample."""
    return f"sample-{index:04d}.npz"


def npz_bytes(arrays: Dict[str, np.ndarray]) -> bytes:
    """`files.npz_bytes`, as small as it gets: a bundle travels by mail."""
    return files.npz_bytes(arrays, level=9)


def read_placement(net: Any) -> Dict[str, Any]:
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


def cut_as(net: Any, placement: Dict[str, Any]) -> None:
    """Cut a network as `read_placement` read it."""
    for ensemble in net.all_ensembles:
        if ensemble.label in placement["block_shapes"]:
            shape, whole = placement["block_shapes"][ensemble.label]
            net.config[ensemble].block_shape = door.BlockShape(tuple(shape), tuple(whole))
    for connection in net.all_connections:
        if connection.label in placement["pop_types"]:
            net.config[connection].pop_type = placement["pop_types"][connection.label]


def as_record(arrays: Record, layers: Sequence[str], name: object) -> Record:
    """`arrays`, if they are a record as `targets` describes it; layers that were not counted may be missing.

    Raises
    ------
    CorruptError
        They are none.
    """
    kinds = {"output": "<f8", "output_steps": "<u8"}
    kinds.update({f"spikes/{layer}": "<u2" for layer in layers if f"spikes/{layer}" in arrays})
    for key, kind in kinds.items():
        if key not in arrays or arrays[key].dtype != np.dtype(kind) or arrays[key].ndim != 1:
            raise CorruptError(f"{name} is no record of a sample: {key} is missing, or not one row of {kind}")
    return arrays


class Folder:
    """An unpacked bundle whose files have been checked.

    Parameters
    ----------
    path : Path
    digest : str
        Of the manifest: which bundle this is.
    contents : mapping of {str: bytes}, optional
        The files, where they do not lie in `path`.

    Raises
    ------
    CorruptError
        A file is not what `pack` writes.
    """

    def __init__(self, path: Path, digest: str, contents: Optional[Mapping[str, bytes]] = None):
        self.path, self.digest, self._contents = Path(path), digest, contents
        self.description = files.entries(
            files.parse_json(self._read(DESCRIPTION), self.path / DESCRIPTION), DESCRIBED, self.path / DESCRIPTION
        )
        inputs = files.entries(self._npz(INPUTS), {"images": np.ndarray, "names": np.ndarray}, self.path / INPUTS)
        self.images, self.names = inputs["images"], [str(name) for name in inputs["names"]]
        good = self.images.ndim == 2 and self.images.dtype == np.float32 and len(self.images) == len(self.names)
        good = good and all(isinstance(layer, str) for layer in self.layers)
        if not good or not 1 <= self.readout_steps <= self.n_steps <= MOST_STEPS:
            raise CorruptError(f"{self.path}: {INPUTS} and {DESCRIPTION} do not go together; unpack the archive again")

    def _read(self, name: str) -> bytes:
        if self._contents is not None:
            if name not in self._contents:
                raise CorruptError(f"{self.path / name} is missing; unpack the archive again")
            return self._contents[name]
        return files.read_bytes(self.path / name, MOST_BYTES)

    def _npz(self, name: str) -> Record:
        return files.parse_npz(self._read(name), self.path / name)

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

    def build(self, builder: Optional[Callable] = None) -> Any:
        """The network, cut into blocks, made by the function that the description names ("module:function").

        Parameters
        ----------
        builder : callable, optional
            Takes the place of that function, so that nothing which the bundle names is imported.

        Returns
        -------
        object
            With `net`, `image` (input node), `layers` {name: ensemble} and `output` (probe).

        Raises
        ------
        InputError
            No such function.
        """
        if builder is None:
            module, _, function = self.description["builder"].partition(":")
            try:
                builder = getattr(importlib.import_module(module), function)
            except (ImportError, AttributeError) as error:
                raise InputError(f"the builder {self.description['builder']} cannot be imported ({error})") from None
        built = builder(self.description["network"], self._npz(PARAMS))
        cut_as(built.net, self.description["placement"])
        return built

    def expected(self, index: int) -> Record:
        """What the emulator gave for a sample when the bundle was packed."""
        name = f"{EXPECTED}/{sample_file(index)}"
        return as_record(self._npz(name), self.layers, self.path / name)
