"""Evil bundles through ``cotrain verify``: nothing of them runs, leaves its folder, or takes the memory.

Each is verified in a child under a limit of its address space, in which starting programs and unpickling are noticed,
and in a folder of which every file is compared afterwards. ``python tests/fuzz/archives.py`` counts them.
"""

from __future__ import annotations

import collections
import gzip
import io
import os
import pickle
import resource
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from bundle_of import tiny_bundle  # noqa: E402
from cotrain.hardware.bundle import archive, verify  # noqa: E402
from cotrain.hardware.bundle.folder import npz_bytes  # noqa: E402
from cotrain.hardware.errors import CotrainError  # noqa: E402
from cotrain.hardware.files import parse_npz  # noqa: E402
from cotrain.pipeline.networks.rebuild import BUILDER, rebuild  # noqa: E402
from test_hardware_bundle_strangers import BOMBS, described, forged, kind, tar_of  # noqa: E402

MEMORY_BYTES, SECONDS = 4 * 2**30, 60
RAN, WROTE, REFUSED, UNEQUAL, EQUAL, RAW = 40, 41, 2, 1, 0, 70  # exit statuses of a child

NAMES = (
    "../evil", "x/../../evil", "/tmp/evil", "..", "../..", ".", "x/..", "x/.", "x//evil", "./x/evil", "x/a\\..\\b",
    "x/c:evil", "\\\\host\\share\\evil", "x/\x01evil", "x/evil\n", "x/" + "a" * 300, "x/" + "d/" * 200 + "e", "~/evil",
    "x", "", "x/\u202eevil", "../x/evil",
)  # fmt: skip
TYPES = (
    (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.SYMTYPE, "../../x"), (tarfile.LNKTYPE, "/etc/passwd"),
    (tarfile.LNKTYPE, "../../x"), (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""), (tarfile.FIFOTYPE, ""),
    (tarfile.DIRTYPE, ""), (tarfile.CONTTYPE, ""), (tarfile.GNUTYPE_SPARSE, ""), (b"9", ""),
)  # fmt: skip


class Runs:
    """What unpickling would run."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return (open, (str(self.flag), "w"))


def evil(files: dict[str, bytes], top: str, flag: Path) -> dict[str, bytes]:
    """{what it is: archive}."""
    code = f"open({str(flag)!r}, 'w').close()\nraise SystemExit(0)\n".encode()
    out = {f"name {ascii(name)[:30]}": tar_of((named(name), b"")) for name in NAMES}
    out |= {f"type {type_!r} {target}": tar_of((kind("x/evil", type_, target), b"")) for type_, target in TYPES}
    out |= {f"bomb {name}": make(files) for name, make in BOMBS.items()}

    def with_files(**add):
        return archive.archive_bytes(forged(files, add=add), top)

    sources = {name: code for name in files if name.endswith(".py")}
    out["every source is another"] = with_files(**sources)
    out["its own run.py and nothing else"] = tar_of(("x/run.py", code), ("x/manifest.json", b"{}"))
    for more in ("sitecustomize.py", "usercustomize.py", "nengo.py", "numpy/__init__.py", "conftest.py", "setup.py"):
        out[f"a module {more}"] = with_files(**{more: code})
    out["requirements that lead elsewhere"] = with_files(**{"requirements.txt": b"evil @ file:///tmp/evil\n"})
    for builder in ("os:system", "builtins:exec", "run:main", "evil:build", "subprocess:run", "pickle:loads"):
        out[f"built by {builder}"] = with_files(**described(files, builder=builder))
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([Runs(flag)], dtype=object))
    out["pickled arrays"] = with_files(**{"params.npz": pickled.getvalue()})
    out["a pickle for arrays"] = with_files(**{"inputs.npz": pickle.dumps(Runs(flag))})
    expected = parse_npz(files["expected/sample-0000.npz"], "expected")
    expected["spikes/conv1"] = expected["spikes/conv1"] + np.uint16(1)
    out["expects other spikes"] = with_files(**{"expected/sample-0000.npz": npz_bytes(expected)})
    out["the same file twice"] = tar_of(("x/a", b"1"), ("x/a", b"2"))
    out["two folders"] = tar_of(("x/a", b"1"), ("y/a", b"2"))
    out["a PAX name that leads out"] = pax({"path": "../../evil"})
    out["a PAX size without end"] = pax({"size": "9" * 18})
    out["a GNU name that leads out"] = tar_of((named("../" * 60 + "evil"), b""))
    good = archive.archive_bytes(forged(files), top)
    out["two streams"] = good + good
    out["something behind its end"] = good + b"\0" * 512
    out["half of it"] = good[: len(good) // 2]
    out["a bomb within a stream"] = gzip.compress(gzip.compress(b"\0" * 2**27))
    out["huge layers"] = with_files(**described(files, network=lambda tree: huge(tree)))
    return out


def huge(tree):
    """The description of a network with layers of 10^9 neurons."""
    if isinstance(tree, dict):
        return {key: huge(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [huge(value) for value in tree]
    return 10**9 if isinstance(tree, int) and not isinstance(tree, bool) and tree > 3 else tree


def named(name: str) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    return item


def pax(headers: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        item = tarfile.TarInfo("x/a")
        item.pax_headers = headers
        tar.addfile(item)
    return gzip.compress(buffer.getvalue())


def child(path: Path) -> int:
    """Verify one; the exit status."""
    ran = []

    def hear(event, arguments):
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "os.fork"):
            ran.append(event)

    sys.addaudithook(hear)
    try:
        code = EQUAL if verify.verify(path, None, lambda line: None, {BUILDER: rebuild}).equal else UNEQUAL
    except CotrainError as error:
        code = REFUSED if str(error).isprintable() else RAW
    except BaseException:
        code = RAW
    return RAN if ran else code


def verified(path: Path, folder: Path) -> tuple[int, int]:
    """(exit status of a child that verifies it, most memory in bytes)."""
    pid = os.fork()
    if pid == 0:
        code = RAW
        try:
            os.chdir(folder)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS,) * 2)
            signal.alarm(10 * SECONDS)
            code = child(path)
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024


def contents(folder: Path) -> dict[str, object]:
    """All that lies below a folder."""
    return {str(p): p.read_bytes() if p.is_file() else p.is_dir() for p in folder.rglob("*")}


def main() -> int:
    counts, bad, most = collections.Counter(), [], 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        flag, place, scratch = root / "executed", root / "a" / "b" / "c", root / "tmp"
        place.mkdir(parents=True)
        scratch.mkdir()
        tempfile.tempdir = str(scratch)
        top, files, _ = archive.read_archive(tiny_bundle(root / "good", n_samples=1))
        for what, data in evil(files, top, flag).items():
            path = place / "evil.tar.gz"
            path.write_bytes(data)
            before = contents(root)
            code, memory = verified(path, place)
            most = max(most, memory)
            said = {REFUSED: "refused", UNEQUAL: "not as expected", EQUAL: "as expected, its code unread"}.get(code)
            counts[said or "wrong"] += 1
            if said is None or (code == EQUAL and not what.startswith(("every source", "a module", "requirements"))):
                bad.append(f"{what}: exit status {code}")
            if contents(root) != before or Path("/tmp/evil").exists() or memory > 2**30:
                bad.append(f"{what}: files changed outside, or {memory / 1e6:.0f} MB")
        tempfile.tempdir = None
    found = {"archives": sum(counts.values()), **counts, "wrong": len(bad), "peak_MB": most // 10**6}
    print(found, *bad, sep="\n")
    if "--dry" not in sys.argv:
        from fuzz.counts import write

        write("evil archives", found)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
