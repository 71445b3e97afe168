"""Pictures as arrays, exactly: the right value of every pixel, or a reason why not.

Only the decoders of `FORMATS` are opened, whatever a file is called: no interpreter (EPS, WMF), no document. What a
picture claims to be large is looked at before it is decoded.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .base import Unusable, one_line

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MAX_PIXELS = 100_000_000  # of one picture: 100 megapixels, 400 MB while it is read
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
# What PIL.ImageOps.exif_transpose does, by the value of the tag (Exif 2.3, table 4, "Orientation").
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_SWAPPED = (5, 6, 7, 8)
_REFUSED = {
    "CMYK": "is in CMYK, whose colours need a printer's profile; save it as RGB",
    "LAB": "is in Lab colours; save it as RGB",
    "HSV": "is in HSV colours; save it as RGB",
}


@dataclass(frozen=True)
class Picture:
    """A picture at the size of the network's input.

    Attributes
    ----------
    image : (height, width, channels) float32
        In [0, 1].
    size : (int, int)
        Height and width of the file's picture, in pixels, upright.
    turned : bool
        The file stores it lying: its EXIF orientation swaps height and width.
    coarse : bool
        The file has 16 bits a colour, of which the upper 8 were read.
    """

    image: np.ndarray
    size: tuple[int, int]
    turned: bool = False
    coarse: bool = False


def read_picture(path: Path, shape: tuple[int, int] | None, channels: int = 1, invert: bool = False) -> Picture:
    """Read a picture and resize it, without regard to its aspect ratio.

    Grey is the luma of ITU-R 601, as Pillow's; sizes change bilinearly, antialiased where it shrinks. The EXIF
    orientation is followed. Palettes are looked up; 16-bit grey is divided by 65535; floats must lie in [0, 1].

    Parameters
    ----------
    path : Path
    shape : (height, width), optional
        The file's own by default.
    channels : {1, 3}
    invert : bool
        1 - pixel.

    Raises
    ------
    Unusable
        The file is missing, damaged, of another format, too large, holds several pictures, transparent pixels, or
        values of no known range.
    """
    from PIL import Image

    picture, turned = _open(path, "image")
    coarse = picture.info.get("cotrain_coarse", False)
    size = (picture.height, picture.width)
    if picture.mode in _SIXTEEN_BITS or (picture.mode == "I" and picture.info.get("cotrain_format") == "PNG"):
        grey = np.asarray(picture).astype(np.float32) / 65535
    elif picture.mode == "F":
        grey = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(grey).all():
            raise Unusable("the image holds NaN or infinity")
        if grey.min() < 0 or grey.max() > 1:
            raise Unusable(f"the image has floats from {grey.min():g} to {grey.max():g}; expected 0 to 1")
    elif picture.mode == "I":
        raise Unusable("the image has 32-bit integers, whose range nobody knows; save it with 8 or 16 bits")
    elif picture.mode in _REFUSED:
        raise Unusable(f"the image {_REFUSED[picture.mode]}")
    else:
        eight = _opaque(picture).convert("L" if channels == 1 else "RGB")
        if shape is not None and shape != size:
            eight = eight.resize(shape[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(eight, dtype=np.float32) / 255
        pixels = 1 - pixels if invert else pixels
        return Picture(pixels if channels == 3 else pixels[..., np.newaxis], size, turned, coarse)
    if shape is not None and shape != size:
        grey = np.asarray(Image.fromarray(grey).resize(shape[::-1], Image.Resampling.BILINEAR))
        grey = np.clip(grey, 0, 1)  # of rounding
    grey = 1 - grey if invert else grey
    return Picture(np.repeat(grey[..., np.newaxis], channels, axis=2), size, turned, coarse)


def read_labels(path: Path) -> np.ndarray:
    """Read a label image: the numbers that the file stores, of a palette its indices.

    Returns
    -------
    (height, width) int32

    Raises
    ------
    Unusable
        As `read_picture`; also where a pixel is a colour and not a number.
    """
    picture, _ = _open(path, "mask")
    if picture.mode in ("P", "L", "1") or picture.mode in _SIXTEEN_BITS or picture.mode == "I":
        return np.asarray(picture).astype(np.int32)
    if picture.mode == "F":
        values = np.asarray(picture)
        if np.isfinite(values).all() and (values == np.rint(values)).all() and np.abs(values).max(initial=0) < 2**31:
            return values.astype(np.int32)
        raise Unusable("the mask holds fractions or NaN; expected whole numbers, a class each")
    raise Unusable(f"the mask has colours ({picture.mode}); expected one number a pixel: a grey or palette image")


def check_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, from its header alone, upright."""
    with _opened(path, "image") as file:
        width, height = file.size
        return (width, height) if _orientation(file) in _SWAPPED else (height, width)


def _opened(path: Path, what: str):
    """Pillow's lazy image, after its header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes: ours is the limit; of EXIF: what is unreadable is not followed
            file = Image.open(path, formats=FORMATS)
    except FileNotFoundError:
        raise Unusable(f"the {what} is missing") from None
    except UnidentifiedImageError:
        raise Unusable(f"the {what} cannot be read: cannot identify it as one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise Unusable(f"the {what} is too large: {one_line(error)}") from None
    except Exception as error:  # noqa: BLE001  (Pillow's readers of headers share no base class)
        raise Unusable(f"the {what} cannot be read: {one_line(error)}") from None
    width, height = file.size
    if width * height > MAX_PIXELS:
        file.close()
        raise Unusable(
            f"the {what} is too large: {height:,} x {width:,} pixels, at most {MAX_PIXELS:,} are read; shrink it first"
        )
    return file


def _open(path: Path, what: str):
    """A decoded picture, upright, and whether its orientation swapped height and width."""
    try:
        with _opened(path, what) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = file.format
            # A photograph with a preview beside it (MPO) is one picture; an animation is not.
            if kind not in ("JPEG", "MPO") and getattr(file, "n_frames", 1) > 1:
                raise Unusable(f"the {what} holds {file.n_frames} pictures; expected one")
            coarse = _has_coarse_colours(file)
            file.load()
            orientation = _orientation(file)
            picture = file.transpose(_TURNS[orientation]) if orientation in _TURNS else file.copy()
    except Unusable:
        raise
    except Exception as error:  # noqa: BLE001  (damaged files make Pillow raise nearly anything)
        raise Unusable(f"the {what} cannot be read: {one_line(error)}") from None
    picture.info["cotrain_format"], picture.info["cotrain_coarse"] = kind, coarse
    return picture, orientation in _SWAPPED


def _orientation(file) -> int:
    """The EXIF tag that says how to turn the picture; 1 where there is none."""
    if file.format in ("JPEG", "MPO", "WEBP") and "exif" not in file.info:
        return 1  # without looking for it in other places, which takes longer than decoding a small picture
    return file.getexif().get(0x0112, 1)


def _has_coarse_colours(file) -> bool:
    """Whether the file has 16 bits a colour, which Pillow reads with 8."""
    tiles = getattr(file, "tile", None) or []
    modes = [str(tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]) for tile in tiles[:1]]
    return file.mode in ("RGB", "RGBA", "LA") and any(";16" in mode for mode in modes)


def _opaque(picture):
    """The picture without its alpha channel, or `Unusable` where that would show."""
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        picture = picture.convert("RGBA")
        low, _ = picture.getchannel("A").getextrema()
        if low < 255:
            share = 1 - np.count_nonzero(np.asarray(picture.getchannel("A")) == 255) / (picture.width * picture.height)
            raise Unusable(
                f"the image has transparent pixels ({100 * share:.3g} % of it), whose colour nobody knows; "
                "flatten it onto a background first"
            )
    return picture.convert("RGB") if picture.mode in ("P", "YCbCr", "RGBA") else picture
