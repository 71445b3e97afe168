"""cotrain verify reads a stranger's file: nothing of it runs, nothing leaves its place, nothing takes the memory."""

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import pytest
from bundle_of import tiny_bundle
from cotrain.hardware.bundle import archive, run, verify
from cotrain.hardware.bundle.folder import npz_bytes
from cotrain.hardware.errors import CorruptError, CotrainError, UnsupportedError
from cotrain.hardware.files import parse_npz
from cotrain.pipeline.networks.rebuild import BUILDER, rebuild

OURS = {BUILDER: rebuild}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Name of the top folder and files of a bundle."""
    made = tiny_bundle(tmp_path_factory.mktemp("strangers"), n_samples=1)
    top, files, _ = archive.read_archive(getattr(made, "path", made))
    return top, files


def forged(files, **changes):
    """The files with changes, under a manifest that is right about them."""
    files = {name: data for name, data in files.items() if name != run.MANIFEST}
    files.update(changes.pop("add", {}))
    files[run.MANIFEST], _ = archive.manifest_bytes(files, {"experiment": "tiny", "version": "0"})
    return files


def described(files, **changes):
    tree = json.loads(files["network.json"])
    for key, value in changes.items():
        tree[key] = value(tree[key]) if callable(value) else value
    return {"network.json": json.dumps(tree).encode()}


def checked(path, data):
    path.write_bytes(data)
    with pytest.raises(CotrainError) as caught:
        verify.verify(path, None, lambda text: None, OURS)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value), caught.value
    return caught.value


def tar_of(*members):
    """A .tar.gz of (TarInfo or name, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for item, data in members:
            if isinstance(item, str):
                item = tarfile.TarInfo(item)
                item.size = len(data)
            tar.addfile(item, io.BytesIO(data))
    return gzip.compress(buffer.getvalue())


def kind(name, type, target=""):
    item = tarfile.TarInfo(name)
    item.type, item.linkname = type, target
    return item


def test_the_good_one_passes(good, tmp_path):
    top, files = good
    path = tmp_path / "good.tar.gz"
    path.write_bytes(archive.archive_bytes(forged(files), top))
    assert verify.verify(path, None, lambda text: None, OURS).equal


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "x/../../evil.py", "/tmp/evil.py", "x/./evil.py", "x//evil.py", "x/a\\..\\b.py", "x/c:b.py", "x"],
)  # fmt: skip
def test_names_that_lead_out(tmp_path, name):
    error = checked(tmp_path / "evil.tar.gz", tar_of((name, b"x")))
    assert "leads out" in str(error)
    assert {path.name for path in tmp_path.iterdir()} == {"evil.tar.gz"}


@pytest.mark.parametrize("name", ["../evil.py", "a/../../evil.py", "/etc/passwd", "a\\..\\b", "", "a//b", "c:x"])
def test_names_in_the_manifest_that_lead_out(good, tmp_path, name):
    top, files = good
    folder = tmp_path / "unpacked"
    archive.unpack(files, folder)
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    (folder / run.MANIFEST).write_bytes(forged(files, add={name: b"x"})[run.MANIFEST])
    with pytest.raises(CorruptError, match=f"{run.MANIFEST} is damaged"):
        verify.verify(folder, None, lambda text: None, OURS)


@pytest.mark.parametrize(
    "item",
    [
        kind("x/link", tarfile.SYMTYPE, "/etc/passwd"), kind("x/link", tarfile.LNKTYPE, "../../etc/passwd"),
        kind("x/device", tarfile.CHRTYPE), kind("x/pipe", tarfile.FIFOTYPE), kind("x/folder", tarfile.DIRTYPE),
        kind("x/sparse", tarfile.GNUTYPE_SPARSE),
    ],
    ids=lambda item: item.name,
)  # fmt: skip
def test_only_plain_files(tmp_path, item):
    assert "cannot be unpacked" in str(checked(tmp_path / "evil.tar.gz", tar_of((item, b""))))


def test_links_in_a_folder_do_not_lead_out(good, tmp_path):
    _, files = good
    folder, secret = tmp_path / "unpacked", tmp_path / "secret.txt"
    archive.unpack(files, folder)
    secret.write_bytes(files["README.md"])
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    with pytest.raises(CorruptError, match="is a link that leads out"):
        verify.verify(folder, None, lambda text: None, OURS)


def sparse_tar():
    """A file of 8 GB that takes 2 kB: PAX's sparse format 1.0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        item = tarfile.TarInfo("x/GNUSparseFile.0/big")
        data = b"1\n8000000000\n1\n".ljust(512, b"\0") + b"x"
        item.size = len(data)
        item.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x/big",
                            "GNU.sparse.realsize": "8000000001"}  # fmt: skip
        tar.addfile(item, io.BytesIO(data))
    return gzip.compress(buffer.getvalue())


def claimed_tar():
    header = tarfile.TarInfo("x/big")
    header.size = 8 * 10**9
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)


def zeros(n_bytes):
    """A gzip stream that unpacks to that many: after a full flush the same bytes come again. Its checksum is wrong."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), b"\0" * 2**24
    first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (n_bytes // 2**24 - 1) + packer.flush()


def npz_bomb():
    """An .npz of 1 MB whose array claims 1 GB of zeros."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file, file.open("images.npy", "w") as item:
        np.lib.format.write_array_header_1_0(item, {"descr": "<f4", "fortran_order": False, "shape": (1, 2**28)})
        for _ in range(2**10):
            item.write(b"\0" * 2**20)
    return buffer.getvalue()


BOMBS = {
    "sparse": lambda files: sparse_tar(),
    "claimed": lambda files: claimed_tar(),
    "gzip": lambda files: zeros(2**31),
    "many": lambda files: tar_of(*((f"x/{i}", b"") for i in range(30_000))),
    "npz": lambda files: archive.archive_bytes(forged(files, add={"inputs.npz": npz_bomb()}), "x"),
    "deep": lambda files: archive.archive_bytes(forged(files, add={"network.json": b"[" * 10**6}), "x"),
    "steps": lambda files: archive.archive_bytes(forged(files, add=described(files, n_steps=10**12)), "x"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_neither_memory_nor_time(good, tmp_path, name):
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(BOMBS[name](good[1]))
    code = (
        "import sys\nfrom cotrain.hardware.bundle import verify\nfrom cotrain.hardware.errors import CotrainError\n"
        "from cotrain.pipeline.networks.rebuild import BUILDER, rebuild\n"
        "try: verify.verify(sys.argv[1], None, print, {BUILDER: rebuild})\n"
        "except CotrainError as error: sys.exit(f'refused: {error}')\n"
    )

    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60,) * 2)

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, preexec_fn=limits, cwd=tmp_path,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert done.returncode == 1 and done.stderr.startswith("refused: "), done.stderr[-2000:]
    assert "\n" not in done.stderr.strip() and used < 3.5


def test_its_code_is_not_run(good, tmp_path):
    """run.py and the source in a bundle may say what they like; what counts is what our code gives."""
    _, files = good
    flag = tmp_path / "executed"
    evil = f"open({str(flag)!r}, 'w')\nimport sys\nsys.exit(0)\n".encode()
    sources = {name: evil for name in files if name.endswith(".py")}
    expected = parse_npz(files["expected/sample-0000.npz"], "expected")
    expected["spikes/conv1"] = expected["spikes/conv1"] + np.uint16(1)
    sources["expected/sample-0000.npz"] = npz_bytes(expected)
    path = tmp_path / "evil.tar.gz"
    path.write_bytes(archive.archive_bytes(forged(files, add=sources), "x"))
    found = verify.verify(path, None, lambda text: None, OURS)
    assert not found.equal and not flag.exists() and "layer conv1" in found.emulated["first_difference"]


def test_code_runs_only_where_it_is_asked_for(good, tmp_path):
    top, files = good
    path = tmp_path / "good.tar.gz"
    path.write_bytes(archive.archive_bytes(forged(files), top))
    said = []
    assert verify.verify(path, None, said.append, OURS, execute=True).equal
    assert any("executing run.py" in line for line in said)


@pytest.mark.parametrize("builder", ["os:system", "evil:build", "", ":", "subprocess:run"])
def test_a_builder_of_its_own_is_refused(good, tmp_path, builder):
    path = tmp_path / "evil.tar.gz"
    path.write_bytes(archive.archive_bytes(forged(good[1], add=described(good[1], builder=builder)), "x"))
    with pytest.raises(UnsupportedError, match="--execute runs the bundle's own code"):
        verify.verify(path, None, lambda text: None, OURS)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_steps": 0}, {"n_steps": "many"}, {"readout_steps": 99}, {"dt_s": -1.0}, {"dt_s": 1e300}, {"seed": -1},
        {"layers": ["conv1", 3]}, {"layers": ["nothing"]}, {"placement": {}}, {"network": {}},
        {"network": lambda tree: {**tree, "spec": []}}, {"network": lambda tree: {**tree, "synapse_s": "x"}},
        {"placement": {"block_shapes": {"conv1": [[0, 0, 0], [1]]}, "pop_types": {}}},
    ],
    ids=lambda changes: next(iter(changes)),  # text of a function would hold its address
)  # fmt: skip
def test_nonsense_in_the_description(good, tmp_path, changes):
    data = archive.archive_bytes(forged(good[1], add=described(good[1], **changes)), "x")
    checked(tmp_path / "nonsense.tar.gz", data)


@pytest.mark.parametrize("name", ["params.npz", "inputs.npz", "expected/sample-0000.npz"])
def test_arrays_of_another_kind(good, tmp_path, name):
    arrays = parse_npz(good[1][name], name)
    for key in list(arrays):
        changed = {**arrays, key: np.zeros((2, 3, 5), np.float64)}
        data = archive.archive_bytes(forged(good[1], add={name: npz_bytes(changed)}), "x")
        checked(tmp_path / "other.tar.gz", data)
