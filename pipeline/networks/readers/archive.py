"""The bytes of .keras and .h5 files: their configuration and their weights, read without running or trusting anything.

A .keras file is a zip of ``config.json`` and ``model.weights.h5``; a .h5 file holds the configuration in an attribute.
Nothing is unpacked to disk, links and external storage are not followed, and what a file claims is bounded.
"""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError, MissingError
from cotrain.hardware.files import parse_json

FILE_BYTES = 2**31
CONFIG_BYTES = 2**26
WEIGHTS_BYTES = 2**31  # of all weights that are read
AGAIN = "save the model again"
HDF5_START = b"\x89HDF\r\n\x1a\n"
SECONDS = 10  # of processor time that the C library gets, and one more for each 10 MB
# All that is done with a file below, in a process of its own: on damaged bytes the C library may loop for ever.
_TRIAL = """
import io, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import h5py
def tried(function):
    try:
        return function()
    except Exception:
        return None
def walk(file):
    tried(lambda: [file.attrs.get(key) for key in ("model_config", "keras_version")])
    todo, seen = [(file, 0)], 0
    while todo:
        group, depth = todo.pop()
        for key in group:
            seen += 1
            if seen > 100_000 or depth > 50:
                return
            if not isinstance(tried(lambda: group.get(key, getlink=True)), h5py.HardLink):
                continue
            found = tried(lambda: group[key])
            if isinstance(found, h5py.Group):
                todo.append((found, depth + 1))
            elif isinstance(found, h5py.Dataset):
                tried(lambda: found[()] if found.dtype.kind in "fiu" and found.size < 2**28 else None)
tried(lambda: walk(h5py.File(io.BytesIO(sys.stdin.buffer.read()), "r")))
"""


class Weights:
    """Arrays of an HDF5 file, by layer.

    Parameters
    ----------
    data : bytes
        The HDF5 file.
    name : str
        Of the model's file, for errors.
    legacy : bool
        A .h5 file, whose groups carry the layers' names and whose arrays carry those of weights; else groups are
        numbered by class and arrays by order.
    """

    def __init__(self, data: bytes, name: str, legacy: bool):
        import h5py

        self.name, self.legacy, self._left = name, legacy, WEIGHTS_BYTES
        _try(data, name)
        try:
            self._file = h5py.File(io.BytesIO(data), "r")
        except Exception as error:  # h5py raises what the C library says
            raise CorruptError(f"{name}: its weights are no HDF5 file ({_line(error)}); {AGAIN}") from None
        self._named: Dict[str, Dict[Tuple[str, str], Any]] = {}
        if legacy:
            self._root = self._group(self._file, "model_weights") or self._file

    def attribute(self, key: str) -> Any:
        """A text that belongs to the file itself, or None."""
        try:
            value = self._file.attrs.get(key)
        except Exception as error:
            raise CorruptError(f"{self.name}: its attribute {key} cannot be read ({_line(error)}); {AGAIN}") from None
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value

    def of_layer(self, path: Tuple[str, ...], group: str, layer: str, kinds: List[Tuple[str, ...]]) -> List[np.ndarray]:
        """Weights of one layer, float64.

        Parameters
        ----------
        path : tuple of str
            Of a new file: the groups of the models that it lies in. Of a legacy one: the name of the outermost.
        group : str
            Its group in a new file, as "conv2d_1".
        layer : str
            Its name.
        kinds : list of tuple of str
            What each weight may be called, in order.
        """
        if self.legacy:
            return self._of_legacy(path[0] if path else layer, layer, kinds)
        found = self._file
        for part in (*(p for outer in path for p in ("layers", outer)), "layers", group, "vars"):
            found = self._group(found, part)
            if found is None:
                raise CorruptError(f"{self.name}: no weights of layer {layer} ({group}); {AGAIN}")
        return [self._array(found, str(i), layer) for i in range(len(kinds))]

    def _of_legacy(self, outer: str, layer: str, kinds) -> List[np.ndarray]:
        if outer not in self._named:
            self._named[outer] = {}
            group = self._group(self._root, outer)
            if group is not None:
                self._collect(group, outer)
        arrays = []
        for names in kinds:
            found = [self._named[outer][layer, name] for name in names if (layer, name) in self._named[outer]]
            if not found:
                raise CorruptError(f"{self.name}: no {names[0]} of layer {layer}; {AGAIN}")
            arrays.append(self._array(*found[0], layer))
        return arrays

    def _collect(self, group, outer: str) -> None:
        """Arrays of a layer's group and below, by the last two parts of their names."""
        try:
            self._collect_below(group, outer)
        except CorruptError:
            raise
        except Exception as error:  # of the C library and what lies between, for a damaged index
            raise CorruptError(
                f"{self.name}: the weights of {outer} cannot be read ({_line(error)}); {AGAIN}"
            ) from None

    def _collect_below(self, group, outer: str) -> None:
        todo, seen = [(group, outer, 0)], 0
        while todo:
            here, owner, depth = todo.pop()
            for key in here:
                seen += 1
                if seen > 100_000 or depth > 50:
                    raise CorruptError(f"{self.name}: its weights are nested without end; {AGAIN}")
                below = self._group(here, key)
                if below is not None:
                    todo.append((below, key, depth + 1))
                else:
                    self._named[outer][owner, re.sub(r":\d+$", "", key)] = (here, key)

    def _group(self, parent, key: str):
        """A group below `parent`, or None; links to elsewhere are refused."""
        import h5py

        try:
            link = parent.get(key, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise CorruptError(f"{self.name}: {key} is a link to another place, which is not followed; {AGAIN}")
            found = parent[key]
        except CorruptError:
            raise
        except Exception as error:  # h5py raises what the C library says, and OverflowError
            raise CorruptError(f"{self.name}: {key} cannot be read ({_line(error)}); {AGAIN}") from None
        return found if isinstance(found, h5py.Group) else None

    def _array(self, group, key: str, layer: str) -> np.ndarray:
        import h5py

        where = f"{self.name}: weight {key} of layer {layer}"
        try:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise CorruptError(f"{where} is {'missing' if link is None else 'a link and not followed'}; {AGAIN}")
            data = group[key]
            if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu":
                raise CorruptError(f"{where} is no array of numbers; {AGAIN}")
            if data.external or data.is_virtual:
                raise CorruptError(f"{where} lies in another file, which is not read; {AGAIN}")
            self._left -= math.prod(data.shape) * 8
            if self._left < 0:
                raise CorruptError(f"{self.name}: more than {WEIGHTS_BYTES:,} bytes of weights; {AGAIN}")
            values = np.asarray(data[()], np.float64)
        except CorruptError:
            raise
        except Exception as error:  # h5py raises what the C library says
            raise CorruptError(f"{where} cannot be read ({_line(error)}); {AGAIN}") from None
        if not np.isfinite(values).all():
            raise CorruptError(f"{where} holds NaN or infinity; train the model again, with a lower learning rate")
        return values


def _try(data: bytes, name: str) -> None:
    """Raise CorruptError where the C library does not come to an end with a file, or ends its process."""
    seconds = SECONDS + len(data) // 10**7
    done = subprocess.run(
        [sys.executable, "-c", _TRIAL, str(seconds)], input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if done.returncode < 0:
        raise CorruptError(f"{name}: reading its weights does not end; it is damaged; {AGAIN}")


def open_keras(path: Path) -> Tuple[Dict[str, Any], Weights]:
    """Configuration and weights of a .keras file, or of a .h5 file.

    Raises
    ------
    MissingError
        There is no such file.
    CorruptError
        It is no such file, is damaged, or holds NaN.
    """
    data = _bytes(path)
    if data.startswith(HDF5_START):
        weights = Weights(data, path.name, legacy=True)
        config = weights.attribute("model_config")
        if not isinstance(config, bytes):
            raise CorruptError(
                f"{path.name} holds weights alone; save the whole model, with model.save and not save_weights"
            )
        return _config(config, path.name), weights
    if not data.startswith(b"PK"):
        raise CorruptError(
            f"{path.name} is neither a Keras archive (zip) nor HDF5; save the model with model.save('mine.keras')"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            config = _member(archive, "config.json", CONFIG_BYTES)
            weights = _member(archive, "model.weights.h5", WEIGHTS_BYTES)
    except CorruptError as error:
        raise CorruptError(f"{path.name}: {error}; {AGAIN}") from None
    except Exception as error:  # zipfile and zlib raise ten different classes for damaged bytes
        raise CorruptError(f"{path.name} cannot be unpacked ({_line(error)}); {AGAIN}") from None
    return _config(config, path.name), Weights(weights, path.name, legacy=False)


def keras_version(path: Path) -> int:
    """The major version of the Keras that saved a file; 2 where it does not say."""
    data = _bytes(path)
    if data.startswith(HDF5_START):
        found = Weights(data, path.name, legacy=True).attribute("keras_version")
        text = found.decode("ascii", "replace") if isinstance(found, bytes) else ""
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            told = parse_json(_member(archive, "metadata.json", CONFIG_BYTES), f"{path.name}: metadata.json", AGAIN)
        text = str(told.get("keras_version", "")) if isinstance(told, dict) else ""
    return int(text[0]) if text[:1].isdigit() else 2


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise CorruptError(f"{path.name} has more than {FILE_BYTES:,} bytes, which are not read; {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MissingError(f"{path} {what}; give the path of a .keras, .h5 or .onnx file") from None


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if archive.namelist().count(name) != 1:
        raise CorruptError(f"it has no {name}")
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise CorruptError(f"{name} has more than {most:,} bytes")
    return data


def _config(data: bytes, name: str) -> Dict[str, Any]:
    config = parse_json(data, f"{name}: its configuration", AGAIN)
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise CorruptError(f"{name}: its configuration describes no model; {AGAIN}")
    return config


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
