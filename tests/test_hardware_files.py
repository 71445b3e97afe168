"""Files: whole or not at all; devices stay devices; no bytes make a reader take memory or raise what is not ours."""

import io
import json
import os
import random
import resource
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, MissingError, OutputError

RNG = np.random.default_rng(0)
ARRAYS = {
    "a/kernel": RNG.standard_normal((3, 4)).astype(np.float32),
    "by_columns": np.asfortranarray(RNG.integers(0, 9, (5, 6))),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3.5),
    "names": np.array(["a", "bc"]),
    "nothing": np.array(""),
    "flags": np.array([True, False]),
}


# --- writing


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "x [1].json"
    code = (
        "import os, signal, sys\nfrom cotrain.hardware import files\n"
        "with files.writing(sys.argv[1]) as temporary:\n    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert [p.suffix for p in tmp_path.iterdir()] == [".tmp"]
    with files.writing(path) as mine:  # a second one in between: what is alive stays
        mine.write_bytes(b"{}")
        files.write_json(path, {"value": 1})
        assert mine.is_file() and len(list(tmp_path.iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"value": 1})
    with pytest.raises(ValueError):
        files.write_json(path, {"value": float("nan")})
    with pytest.raises(KeyboardInterrupt), files.writing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "kept").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "kept" / "file")
    files.write_bytes(link, b"new")
    assert link.is_symlink() and (tmp_path / "kept" / "file").read_bytes() == b"new"


def test_the_longest_name_can_be_written(tmp_path):
    files.write_bytes(tmp_path / ("n" * 255), b"x")
    files.write_bytes(tmp_path / ("ü" * 127), b"x")
    with pytest.raises(OutputError, match="cannot write.*name too long"):
        files.write_bytes(tmp_path / ("n" * 256), b"x")


def test_a_full_device_stays_a_device():
    before = os.stat("/dev/full")
    with pytest.raises(OutputError, match="cannot write /dev/full: the disk is full"):
        files.write_json("/dev/full", {})
    assert os.stat("/dev/full").st_rdev == before.st_rdev
    files.write_json("/dev/null", {})
    assert os.stat("/dev/null").st_rdev == os.makedev(1, 3)


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    files.write_bytes(path, b"x" * 200_000)
    reader.join(10)
    assert got == [b"x" * 200_000] and [p.name for p in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("to_file", [True, False], ids=["file", "pipe"])
def test_standard_output_keeps_what_was_printed(tmp_path, to_file):
    source = "from cotrain.hardware import files; print('before'); files.write_json('/dev/stdout', {}); print('after')"
    if to_file:
        with open(tmp_path / "out", "wb") as out:
            subprocess.run([sys.executable, "-c", source], stdout=out, check=True)
        said = (tmp_path / "out").read_bytes()
    else:
        said = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout
    assert said == b"before\n{}\nafter\n"


def test_folders_are_made_unless_they_are_the_users_to_name(tmp_path):
    files.write_bytes(tmp_path / "a" / "b" / "x", b"x")
    with pytest.raises(OutputError, match="cannot write .*the folder .*absent does not exist"):
        files.write_bytes(tmp_path / "absent" / "x", b"x", parents=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["folder", "file/x"])
def test_what_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*; do that"):
        files.write_bytes(tmp_path / name, b"", "do that")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


# --- npz


@pytest.mark.parametrize("level", [0, 6, 9])
def test_arrays_come_back_as_they_were(tmp_path, level):
    files.write_npz(tmp_path / "x.npz", ARRAYS, level)
    back = files.read_npz(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as theirs:
        assert set(back) == set(ARRAYS) == set(theirs.files)
        for name, array in ARRAYS.items():
            for other in (back[name], theirs[name]):
                np.testing.assert_array_equal(other, array, strict=True)
            assert back[name].flags.writeable and back[name].flags.f_contiguous == theirs[name].flags.f_contiguous


def test_what_numpy_writes_is_read(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", **{name.replace("/", "_"): array for name, array in ARRAYS.items()})
    assert len(files.read_npz(tmp_path / "x.npz")) == len(ARRAYS)


def _npy(shape="(3,)", descr="'<f8'", held=24, extra=""):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {extra}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * held


def _npz(*members, kind=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for k, member in enumerate(members):
            archive.writestr(f"x{k}.npy", member)
    return buffer.getvalue()


def test_the_header_that_the_next_test_edits_is_right():
    np.testing.assert_array_equal(files.parse_npz(_npz(_npy()), "x")["x0"], np.zeros(3))


EVIL = {
    "an array of 8 GB": _npz(_npy("(1000000000,)")),
    "a shape beyond 64 bits": _npz(_npy("(4294967296, 4294967296, 3)")),
    "a negative shape": _npz(_npy("(-3,)")),
    "two negative sides": _npz(_npy("(-1, -3)")),
    "a shape of text": _npz(_npy("('a',)")),
    "objects": _npz(_npy(descr="'|O'")),
    "no type": _npz(_npy(descr="'nonsense'")),
    "a nested header": _npz(_npy("(" * 3000 + ")" * 3000)),
    "an open header": _npz(_npy("(3,")),
    "code": _npz(_npy("__import__('os').getpid()")),
    "too short": _npz(_npy(held=23)),
    "too long": _npz(_npy(held=25)),
    "a bomb": _npz(b"\0" * 2**28, b"\0" * 2**28, b"\0" * 2**28, b"\0" * 2**28, b"\0" * 2**28),
    "another packing": _npz(_npy(), kind=zipfile.ZIP_BZIP2),
    "nothing": b"",
    "a head": b"PK\x03\x04rubbish",
    "text": b"not a zip",
}


@pytest.mark.parametrize("data", EVIL.values(), ids=EVIL)
def test_evil_arrays_are_refused_within_little_memory(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptError, match=r"x\.npz cannot be read .*; make it again"):
        files.read_npz(tmp_path / "x.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_members_of_one_name_and_the_limit_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.npy", _npy())
            archive.writestr("x.npy", _npy())
    with pytest.raises(CorruptError, match="different names"):
        files.parse_npz(buffer.getvalue(), "x")
    with pytest.raises(CorruptError, match="at most 10 are read"):
        files.parse_npz(_npz(_npy()), "x", max_bytes=10)


@pytest.mark.parametrize("level", [0, 6])
def test_every_flipped_bit_is_found_or_changes_nothing(level):
    data, rng, found = files.npz_bytes(ARRAYS, level), random.Random(0), 0
    for _ in range(1500):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            back = files.parse_npz(bytes(changed), "x")
        except CorruptError as error:
            assert "\n" not in str(error)
            found += 1
            continue
        # a zip has times and versions that nothing depends on; a name is no content that a checksum covers
        for name in set(back) & set(ARRAYS):
            np.testing.assert_array_equal(back[name], ARRAYS[name], strict=True)
    assert found > 500


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_file_that_ends_early_is_refused(cut):
    data = files.npz_bytes(ARRAYS)
    with pytest.raises(CorruptError):
        files.parse_npz(data[: len(data) * cut // 100], "x")


# --- JSON

BAD_JSON = {
    "nothing": b"", "open": b"{", "NaN": b'{"x": NaN}', "infinite": b"[-Infinity]", "large": b"[1e999]",
    "no text": b'"\xff"', "half a pair": b'["\\ud800"]', "half a pair as key": b'{"\\ud800": 1}',
    "deep": b"[" * 3000 + b"]" * 3000, "deeper than allowed": b'{"a":' * 101 + b"1" + b"}" * 101,
    "deep and open": b"[" * 10**6, "digits": b"1" * 10**5,
}  # fmt: skip


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_one_line_that_names_the_file(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(CorruptError, match=r"x\.json is .*; make it again") as caught:
        files.read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_json_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "x.json").write_bytes(b"[]" + b" " * 99)
    assert files.read_json(tmp_path / "x.json", max_bytes=101) == []
    with pytest.raises(CorruptError, match="larger than the 100 bytes"):
        files.read_json(tmp_path / "x.json", max_bytes=100)
    with pytest.raises(CorruptError, match="larger than the 100 bytes"):
        files.read_json("/dev/zero", max_bytes=100)


def test_entries_are_held_to_their_types():
    good = {"a": 1, "b": 2, "c": "x", "d": None}
    assert files.entries(good, {"a": int, "b": float, "c": str, "d": (str, type(None))}, "f") is good
    for kinds, match in [
        ({"e": int}, "f: 'e' is missing"),
        ({"c": int}, "f: 'c' is a text, expected a whole number"),
        ({"a": (list, str)}, "f: 'a' is a whole number, expected a list or a text"),
        ({"d": dict}, "f: 'd' is null, expected an object"),
    ]:
        with pytest.raises(CorruptError, match=match):
            files.entries(good, kinds, "f")
    with pytest.raises(CorruptError, match="true or false, expected a whole number"):
        files.entries({"a": True}, {"a": int}, "f")
    with pytest.raises(CorruptError, match="an object is expected, not a list"):
        files.entries([], {}, "f")


def test_what_is_not_there_or_closed(tmp_path):
    for read in (files.read_npz, files.read_json, files.file_sha256):
        with pytest.raises(MissingError, match="x does not exist; make that"):
            read(tmp_path / "x", missing="make that")
        with pytest.raises(MissingError, match="cannot be read: Is a directory"):
            read(tmp_path)


def test_digests():
    assert files.sha256(b"abc").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B
    assert files.json_digest({"a": 1, "b": 2}) == files.json_digest({"b": 2, "a": 1})
    changed = {**ARRAYS, "scalar": np.array(3.25)}
    assert files.arrays_digest(ARRAYS) == files.arrays_digest(dict(reversed(ARRAYS.items())))
    assert files.arrays_digest(ARRAYS) != files.arrays_digest(changed)


def test_the_digest_of_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.file_sha256(tmp_path / "x") == files.sha256(b"abc")


def test_no_flipped_bit_of_an_npz_hides_an_array(tmp_path):
    """Every bit of its directory: an entry's comment may swallow the entry behind it."""
    path = tmp_path / "a.npz"
    files.write_npz(path, {"a": np.arange(3.0), "b": np.arange(2), "c": np.array(["x"])})
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    for at in range(start, len(whole), 3):
        for bit in (0, 1, 5):
            changed = whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
            try:
                found = files.parse_npz(changed, "a.npz")
            except CorruptError:
                continue
            assert set(found) == {"a", "b", "c"}, (at - start, bit)
