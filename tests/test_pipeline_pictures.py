"""Pictures and MATLAB files: the right value of every pixel and number, or a reason why not; never another error."""

import io
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from cotrain.pipeline.datasets.base import DamagedFile, Unusable
from cotrain.pipeline.datasets.matfile import parse_mat, read_mat
from cotrain.pipeline.datasets.pictures import read_labels, read_picture
from PIL import Image

GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], np.full_like(GREY, 128)], axis=2)


def saved(tmp_path, picture, name="a.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


def luma(rgb):
    """ITU-R 601-2."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114] / 255


EXACT = {
    "8-bit grey": (lambda: Image.fromarray(GREY), GREY / 255, 0),
    "1-bit": (lambda: Image.fromarray(GREY > 100), (GREY > 100) * 1.0, 0),
    "16-bit grey": (lambda: Image.fromarray(GREY.astype(np.uint16) * 257), GREY / 255, 1e-7),
    "16-bit grey, dark": (lambda: Image.fromarray(GREY.astype(np.uint16)), GREY / 65535, 1e-7),
    "colour": (lambda: Image.fromarray(COLOUR), luma(COLOUR), 0.5 / 255),
    "opaque alpha": (lambda: Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 255)])), luma(COLOUR), 0.5 / 255),
    "palette": (lambda: Image.fromarray(GREY).convert("P"), GREY / 255, 1 / 255),
}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_pixels_have_the_right_value(tmp_path, kind, ending):
    make, expected, tolerance = EXACT[kind]
    path = saved(tmp_path, make(), f"a.{ending}")
    found = read_picture(path, (2, 3))
    np.testing.assert_allclose(found.image[..., 0], expected, atol=tolerance + 1e-7)
    assert found.image.dtype == np.float32 and found.size == (2, 3)
    three = read_picture(path, (2, 3), channels=3, invert=True).image
    assert three.shape == (2, 3, 3)
    if "colour" in kind or "alpha" in kind:
        np.testing.assert_allclose(three, 1 - COLOUR / 255, atol=1e-7)
    else:
        np.testing.assert_allclose(three, np.repeat(1 - np.asarray(expected)[..., None], 3, 2), atol=tolerance + 1e-7)


def test_floats_are_read_where_their_range_is_known(tmp_path):
    values = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    path = saved(tmp_path, Image.fromarray(values), "a.tif")
    np.testing.assert_array_equal(read_picture(path, None).image[..., 0], values)
    for wrong, text in (
        (values * 255, "floats from 0 to 255"),
        (values * np.nan, "NaN"),
        (values - 1, "floats from -1"),
    ):
        with pytest.raises(Unusable, match=text):
            read_picture(saved(tmp_path, Image.fromarray(wrong.astype(np.float32)), "b.tif"), None)


def test_sixteen_bit_grey_shrinks_as_eight_bit_grey_does(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    eight = read_picture(saved(tmp_path, Image.fromarray(large), "a.png"), (10, 20)).image
    sixteen = read_picture(saved(tmp_path, Image.fromarray(large.astype(np.uint16) * 257), "b.png"), (10, 20)).image
    np.testing.assert_allclose(
        sixteen, eight, atol=1.01 / 255
    )  # the first is rounded to whole levels, after each of two axes


def test_sixteen_bits_a_colour_are_read_and_told(tmp_path):
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in COLOUR)
    data = png(3, 2, 16, 2, zlib.compress(rows))
    (tmp_path / "a.png").write_bytes(data)
    found = read_picture(tmp_path / "a.png", None, channels=3)
    assert found.coarse
    np.testing.assert_allclose(found.image, COLOUR / 255, atol=1 / 255)
    assert not read_picture(saved(tmp_path, Image.fromarray(COLOUR), "b.png"), None).coarse


def png(width, height, depth, kind, packed):
    def chunk(name, body):
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, kind, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed(tmp_path, orientation):
    upright = np.zeros((40, 64), np.uint8)
    upright[:16, :16] = 200  # top left
    turns = {  # how a camera stores an upright picture under this tag: the inverse of what the tag asks for
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    found = read_picture(saved(tmp_path, stored, "a.jpg", exif=exif, quality=100), None)
    assert found.size == (40, 64) and found.turned == (orientation > 4)
    np.testing.assert_allclose(found.image[..., 0], upright / 255, atol=0.05)


def transparent():
    alpha = np.full_like(GREY, 255)
    alpha[0, 0] = 10
    return Image.fromarray(np.dstack([COLOUR, alpha]))


def animated(tmp_path, name):
    frames = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in (0, 99)]
    return saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])


REFUSED = {
    "transparent": (lambda p: saved(p, transparent()), "transparent pixels .16.7 % of it"),
    "transparent palette": (lambda p: saved(p, Image.fromarray(GREY).convert("P"), transparency=0), "transparent"),
    "CMYK": (lambda p: saved(p, Image.fromarray(COLOUR).convert("CMYK"), "a.jpg"), "CMYK.*save it as RGB"),
    "32-bit": (lambda p: saved(p, Image.fromarray(GREY.astype(np.int32)), "a.tif"), "32-bit integers"),
    "several pages": (lambda p: animated(p, "a.tif"), "holds 2 pictures"),
    "GIF": (lambda p: animated(p, "a.gif").rename(p / "a.png"), "cannot identify it as one of JPEG, PNG"),
    "missing": (lambda p: p / "a.png", "the image is missing"),
    "empty": (lambda p: write(p, b""), "cannot be read"),
    "EPS": (lambda p: write(p, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "cannot identify"),
    "bomb": (lambda p: write(p, png(12000, 12000, 8, 0, zlib.compress(b""))), "too large: 12,000 x 12,000 pixels"),
    "larger bomb": (lambda p: write(p, png(2**31 - 1, 2**31 - 1, 8, 0, b"")), "too large"),
    "text bomb": (lambda p: write(p, text_bomb()), "cannot be read"),
}


def write(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    return tmp_path / "a.png"


def text_bomb():
    body = b"comment\0\0" + zlib.compress(bytes(1 << 27))
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body + zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    whole = png(3, 2, 8, 0, zlib.compress(bytes(8)))
    return whole[:33] + chunk + whole[33:]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_right_value_is_refused_by_name(tmp_path, kind):
    make, text = REFUSED[kind]
    with pytest.raises(Unusable, match=text) as raised:
        read_picture(make(tmp_path), (2, 3))
    assert "\n" not in str(raised.value)


def test_damaged_pictures_give_a_reason_or_pixels(tmp_path):
    """Every kind of file, cut and with flipped bytes: no other exception, whatever the decoder meets."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
    n_read = 0
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        picture.save(buffer, format=kind)
        data = buffer.getvalue()
        for k in range(60):
            bad = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                bad[place] ^= 1 << int(rng.integers(8))
            path = write(tmp_path, bytes(bad) if k % 3 else data[: int(rng.integers(len(data)))])
            for read in (lambda p: read_picture(p, (4, 4), channels=3).image, read_labels):
                try:
                    values = read(path)
                except Unusable as reason:
                    assert "\n" not in str(reason)
                else:
                    n_read += 1
                    assert np.isfinite(values).all()
    assert n_read > 50  # some flips only change pixels


def test_label_images_keep_their_numbers(tmp_path):
    labels = np.array([[0, 1, 2], [255, 7, 1]], np.uint8)
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    for picture in (palette, Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16))):
        np.testing.assert_array_equal(read_labels(saved(tmp_path, picture)), labels)
    with pytest.raises(Unusable, match="colours"):
        read_labels(saved(tmp_path, Image.fromarray(COLOUR)))
    with pytest.raises(Unusable, match="fractions"):
        read_labels(saved(tmp_path, Image.fromarray(labels.astype(np.float32) / 2), "b.tif"))


# ----------------------------------------------------------------------------------------------
# MATLAB files


def mat(compress=False, **variables):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compress)
    return buffer.getvalue()


@pytest.mark.parametrize("compress", [False, True])
def test_matlab_arrays_are_those_of_scipy(tmp_path, compress):
    rng = np.random.default_rng(0)
    variables = {
        name: rng.integers(0, 100, shape).astype(kind)
        for name, shape, kind in [
            ("a", (1, 4), "u2"), ("b", (2, 37), "f8"), ("c", (3, 2, 4), "i1"), ("d", (1, 1), "f4"), ("e", (0, 3), "i4"),
            ("f", (5, 5), "u8"), ("g", (2, 2), "?"),
        ]
    }  # fmt: skip
    variables["s"] = scipy.sparse.random(6, 5, 0.4, "csc", random_state=0)
    (tmp_path / "a.mat").write_bytes(mat(compress, **variables, text="abc", struct={"x": 1.0}))
    found, theirs = read_mat(tmp_path / "a.mat"), scipy.io.loadmat(tmp_path / "a.mat")
    for name in variables:
        expected = theirs[name].toarray() if name == "s" else theirs[name]
        np.testing.assert_array_equal(found[name], expected)
    assert found["text"] == "text" and found["struct"] == "struct"


def test_damaged_matlab_files_give_a_reason_and_end():
    """SciPy's reader crashes the process on some of these."""
    rng = np.random.default_rng(0)
    n_read = 0
    for compress in (False, True):
        data = mat(compress, box_coord=scipy.sparse.csc_matrix(np.eye(4)), obj_contour=rng.random((2, 9)))
        for k in range(600):
            bad = bytearray(data)
            for place in rng.integers(0, len(data), 1 + k % 3):
                bad[place] = int(rng.integers(256))
            try:
                parse_mat(bytes(bad) if k % 4 else data[: int(rng.integers(len(data)))])
                n_read += 1
            except DamagedFile as reason:
                assert "\n" not in str(reason)
    assert n_read > 20  # numbers alone were changed


def test_a_matlab_file_that_unpacks_to_too_much_is_refused():
    bomb = zlib.compress(bytes(1 << 27))
    data = mat(a=1.0)[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    with pytest.raises(DamagedFile, match="too many bytes"):
        parse_mat(data)
