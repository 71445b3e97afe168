"""One NIfTI file as an array: what it claims is held against its bytes, its checksum is verified, its axes become RAS.

A volume is stored along the scanner's axes in any order and direction; the header's affine says which. Here the first
axis always runs from left to right, the second from posterior to anterior, the third from inferior to superior (RAS+).
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .base import DamagedFile, Unusable, one_line

ENDINGS = (".nii.gz", ".nii")
MAX_BYTES = 1 << 30  # of the voxels of one volume, as the file stores them
_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_TRAILING_BYTES = 1 << 16  # that may follow the voxels
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Volume:
    """A volume in RAS.

    Attributes
    ----------
    array : (x, y, z) or (x, y, z, channels)
        In the file's own units and type.
    affine : (4, 4) float64
        From voxel to millimetre.
    spacing_mm : (3,) float64
    oriented : bool
        Whether the header says how the volume lies; else its axes were taken as they are stored.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: np.ndarray
    oriented: bool


def read_volume(path: Path, what: str = "image") -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file.

    Raises
    ------
    Unusable
        The file is missing, damaged, shorter than it claims, or claims more than `MAX_BYTES`.
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    try:
        header, data = _read(path)
        array = np.asanyarray(header.data_from_fileobj(io.BytesIO(data)))
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        oriented = bool(header["qform_code"] > 0 or header["sform_code"] > 0)
        if array.dtype.kind not in "uif":
            raise Unusable(f"the {what} holds {array.dtype}: expected plain numbers")
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        if oriented and array.ndim >= 3:
            if not np.isfinite(affine).all():
                raise Unusable(f"the {what}'s affine holds NaN or infinity")
            turn = io_orientation(affine)
            if not np.isfinite(turn).all():
                raise Unusable(f"the {what}'s affine leaves an axis without direction")
            affine = affine @ inv_ornt_aff(turn, array.shape[:3])
            array = apply_orientation(array, turn)
    except Unusable:
        raise
    except FileNotFoundError:
        raise Unusable(f"the {what} is missing") from None
    except Exception as error:  # noqa: BLE001  (header, scaling and buffer errors share no base class)
        raise Unusable(f"the {what} cannot be read: {one_line(error)}") from None
    return Volume(array, affine, np.linalg.norm(affine[:3, :3], axis=0), oriented)


def _read(path: Path):
    """Header and all bytes of a file, no more of them than the header claims."""
    with open(path, "rb") as file:
        packed = path.name.lower().endswith(".gz")
        source = Gzip(file) if packed else file
        start = source.read(_HEADER_BYTES)
        header = _header(start)
        claimed = _claimed_bytes(header)
        size = file.seek(0, 2) if not packed else None
        if size is not None:
            file.seek(len(start))
            if size < claimed:
                raise DamagedFile(f"the file has {size:,} bytes, its header claims {claimed:,}")
        body = bytearray(start)
        while len(body) < claimed:
            chunk = source.read(min(_CHUNK, claimed - len(body)))
            if not chunk:
                raise DamagedFile(f"the file ends after {len(body):,} bytes, its header claims {claimed:,}")
            body += chunk
        # To the end: a gzip stream carries the checksum of its contents there.
        if len(source.read(_TRAILING_BYTES + 1)) > _TRAILING_BYTES:
            raise DamagedFile("the file goes on far behind its voxels")
    return header, bytes(body)


class Gzip:
    """The contents of a gzip file: one or several members, each checksum compared, nothing behind them but zeros."""

    def __init__(self, file: BinaryIO):
        self.file, self.rest, self.done = file, b"", False
        self.stream: Any = None  # zlib's, within a member

    def read(self, n: int) -> bytes:
        out = bytearray()
        while len(out) < n and not self.done:
            if not self.rest:
                self.rest = self.file.read(_CHUNK)
                if not self.rest:
                    if self.stream is not None:
                        raise DamagedFile("the gzip stream ends early: the file is cut off")
                    self.done = True
                    break
            if self.stream is None:
                if not self.rest.strip(b"\0"):  # padding
                    self.rest = b""
                    continue
                self.stream = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with header and checksum of gzip
            try:
                out += self.stream.decompress(self.rest, n - len(out))
            except zlib.error as error:
                raise DamagedFile(f"the gzip stream is damaged ({error})") from None
            if self.stream.eof:
                self.rest, self.stream = self.stream.unused_data, None
            else:
                self.rest = self.stream.unconsumed_tail
        return bytes(out)


def _header(start: bytes):
    import nibabel

    kinds = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    size = {int.from_bytes(start[:4], order) for order in ("little", "big")} & set(kinds)
    if not size or len(start) < min(size):
        raise DamagedFile("the file is no NIfTI file")
    number = size.pop()
    # NIfTI's own checks: a data type, sizes and offsets that make sense. What nibabel would mend in silence is refused,
    # but for the sign of an axis that old writers left at 0 (level 20).
    logger = nibabel.imageglobals.logger
    disabled, logger.disabled = logger.disabled, True  # its lines say what the error says too
    try:
        with nibabel.imageglobals.ErrorLevel(30):
            header = kinds[number](start[:number], check=True)
    finally:
        logger.disabled = disabled
    if bytes(header["magic"].tobytes()[:3]) not in (b"n+1", b"n+2"):
        raise DamagedFile("the file is no single-file NIfTI; expected .nii or .nii.gz")
    return header


def _claimed_bytes(header) -> int:
    """Where the voxels end; Python's integers, which do not wrap."""
    count = 1
    shape = header.get_data_shape()
    if not shape or min(shape) < 1:
        raise DamagedFile(f"the header claims the shape {tuple(int(n) for n in shape)}")
    for n in shape:
        count *= int(n)
    voxels = count * int(header.get_data_dtype().itemsize)
    if voxels > MAX_BYTES:
        size = " x ".join(str(int(n)) for n in shape)
        raise DamagedFile(f"the header claims {size} voxels, {voxels:,} bytes; at most {MAX_BYTES:,} are read")
    offset = int(header.get_data_offset())
    if not 0 <= offset <= MAX_BYTES:
        raise DamagedFile(f"the header claims that the voxels start at byte {offset:,}")
    return offset + voxels
