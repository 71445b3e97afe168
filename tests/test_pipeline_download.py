"""Downloading against an HTTP server of our own that breaks off, lies, and knows nothing of ranges."""

import gzip
import hashlib
import io
import re
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from cotrain.hardware.errors import BusyError, CorruptError, MissingError, OutputError
from cotrain.pipeline import datasets
from cotrain.pipeline.__main__ import main as cotrain
from cotrain.pipeline.commands import data as download
from cotrain.pipeline.commands import fetching
from cotrain.pipeline.datasets import synthetic
from cotrain.pipeline.runs import lock


class Server(ThreadingHTTPServer):
    """Serves `files`; each request may be spoilt by the next of `faults`.

    Faults: ("cut", n) closes after n bytes; ("status", code); "no range" answers 200 with the whole file; "all" and
    "beyond" answer 206 from byte 0 and from a byte not asked for; "no length" leaves the length out.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.ranges = {}, [], []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


NONSENSE = {
    "bad length": (200, {"Content-Length": "many"}),
    "negative length": (200, {"Content-Length": "-5"}),
    "huge length": (200, {"Content-Length": "999999999999"}),
    "bad range": (206, {"Content-Range": "bytes one-two/three"}),
    "range beyond": (416, {"Content-Range": "bytes */5"}),
    "round and round": (302, {"Location": "http://127.0.0.1:PORT/caltech-101.zip"}),
    "to a file": (302, {"Location": "file:///etc/passwd"}),
    "to nowhere": (302, {"Location": "http://"}),
}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802  (the base class's name)
        server = self.server
        fault = server.faults.pop(0) if server.faults else None
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        name = self.path.strip("/").partition("?")[0]
        if isinstance(fault, tuple) and fault[0] == "status":
            self.send_error(fault[1])
            return
        if name not in server.files:
            self.send_error(404)
            return
        data = server.files[name]
        if fault in NONSENSE:
            status, headers = NONSENSE[fault]
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value.replace("PORT", str(server.server_port)))
            self.end_headers()
            self.wfile.write(data[:10] if status < 300 else b"")
            self.close_connection = True
            return
        if fault == "crawl":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for k in range(20):
                self.wfile.write(data[k : k + 1])
                self.wfile.flush()
                time.sleep(0.05)
            self.close_connection = True
            return
        if fault == "slow headers":
            try:
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            except OSError:  # the client has gone
                pass
            self.close_connection = True
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fault != "no range" else 0
        start = {"all": 0, "beyond": start + 7}.get(fault, start)
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if asked and fault != "no range":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "drip":
            for k in range(20):
                self.wfile.write(body[k : k + 1])
                self.wfile.flush()
                time.sleep(0.05)
            body = b""
        if isinstance(fault, tuple):
            body = body[: fault[1]]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "RETRY_AFTER_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The two archives as published, with synthetic files in them and some that are not wanted."""
    root = tmp_path_factory.mktemp("made")
    planes = synthetic.ensure(root, "planes", 3, 0, synthetic.plane_files) / "caltech-101"
    tubes = synthetic.ensure(root, "hippocampus", 2, 0, synthetic.hippocampus_files) / "Task04_Hippocampus"

    def tar(folder, mode, extra):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as file:
            for name, data in extra.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
            file.add(folder, arcname=folder.name)
        return buffer.getvalue()

    evil = {"../../evil.jpg": b"x", "/tmp/101_ObjectCategories/airplanes/../../evil.jpg": b"x"}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        images = tar(
            planes / "101_ObjectCategories", "w:gz", {"101_ObjectCategories/ant/image_0001.jpg": b"ant", **evil}
        )
        file.writestr("caltech-101/101_ObjectCategories.tar.gz", images)
        file.writestr("caltech-101/Annotations.tar", tar(planes / "Annotations", "w", {"Annotations/.DS_Store": b"x"}))
        file.writestr("caltech-101/show_annotation.m", "% a script")
        file.writestr("__MACOSX/caltech-101/._Annotations.tar", "x")
    apple = {"Task04_Hippocampus/imagesTr/._hippocampus_001.nii.gz": b"x", "Task04_Hippocampus/dataset.json": b"{}"}
    return {
        "caltech-101.zip": zipped.getvalue(),
        "Task04_Hippocampus.tar": tar(tubes, "w", apple),
    }


@pytest.fixture
def sources(server, archives):
    """The two sources, from our server."""
    server.files.update(archives)
    made = []
    for name, n_files in (("caltech101-airplanes", 6), ("hippocampus", 4)):
        source = download.SOURCES[name]
        (archive,) = source.archives
        data = archives[archive.name]
        checksums = tuple((kind, hashlib.new(kind, data).hexdigest()) for kind, _ in archive.checksums)
        archive = replace(archive, url=server.url(archive.name), checksums=checksums)
        made.append(replace(source, archives=(archive,), n_files=n_files))
    return tuple(made)


def with_archive(source, **changes):
    return replace(source, archives=(replace(source.archives[0], **changes),))


def run(folder, sources):
    lines = []
    download.main(folder, sources, lines.append)
    return lines


def test_both_sets_are_fetched_and_the_loaders_read_them(tmp_path, sources, server):
    lines = run(tmp_path / "data", sources)
    assert len(datasets.load("caltech101-airplanes", tmp_path / "data")) == 3
    assert len(datasets.load("hippocampus", tmp_path / "data")) == 2 * 40
    assert any("CC BY 4.0" in line for line in lines) and any("CC BY-SA 4.0" in line for line in lines)
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["Task04_Hippocampus", "caltech-101"]
    names = {p.name for p in (tmp_path / "data").rglob("*")}
    assert not {"evil.jpg", "ant", ".DS_Store", "._hippocampus_001.nii.gz"} & names
    assert not list(tmp_path.rglob("evil.jpg"))
    # The second time nothing is asked for.
    server.ranges.clear()
    again = run(tmp_path / "data", sources)
    assert " ".join(again).count("there and verified") == 2 and "nothing to download" in " ".join(again)
    assert server.ranges == []


def test_an_interrupted_download_goes_on_where_it_ended(tmp_path, sources, server, archives):
    size = len(archives["caltech-101.zip"])
    server.faults = [("cut", 1000), ("cut", 500), ("cut", 0)]
    run(tmp_path, sources[:1])
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"] and size > 1500


def test_it_gives_up_keeps_what_arrived_and_goes_on_the_next_time(tmp_path, sources, server):
    server.faults = [("cut", 1000), *[("status", 503)] * 2]
    with pytest.raises(MissingError, match=r"503.*0\.0 MB are kept, run `make data` again") as raised:
        run(tmp_path, sources[:1])
    assert "\n" not in str(raised.value)
    assert (tmp_path / ".download" / "caltech-101.zip.part").stat().st_size == 1000
    assert not (tmp_path / "caltech-101").exists()
    server.ranges.clear()
    lines = run(tmp_path, sources[:1])
    assert "going on" in lines[0] and server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("fault", ["no range", "all", "beyond"])
def test_a_server_that_ignores_ranges_sends_it_all_again(tmp_path, sources, server, fault):
    server.faults = [("cut", 1000), fault]
    run(tmp_path, sources[:1])
    assert datasets.load("caltech101-airplanes", tmp_path).names.size == 3


def test_a_server_that_does_not_tell_the_length(tmp_path, sources, server):
    server.faults = ["no length"]
    run(tmp_path, sources[1:])
    assert datasets.load("hippocampus", tmp_path).rejected == ()


def test_a_download_killed_just_before_its_end_is_whole(tmp_path, sources, server, archives):
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / "caltech-101.zip.part").write_bytes(archives["caltech-101.zip"])
    run(tmp_path, sources[:1])
    assert server.ranges == [f"bytes={len(archives['caltech-101.zip'])}-"]  # answered with 416


def test_the_part_of_another_file_is_replaced(tmp_path, sources, server):
    (tmp_path / ".download").mkdir()
    for old in (b"other" * 100, b"other" * 1000000):
        (tmp_path / ".download").mkdir(exist_ok=True)
        (tmp_path / ".download" / "Task04_Hippocampus.tar.part").write_bytes(old)
        run(tmp_path, sources[1:])
        (tmp_path / "Task04_Hippocampus" / download.COMPLETE).write_text("{")


def test_wrong_checksum_removes_the_file_and_unpacks_nothing(tmp_path, sources, server):
    server.files["caltech-101.zip"] += b"x"
    with pytest.raises(CorruptError, match=f"sha256 [0-9a-f]{{64}}, expected {sources[0].archives[0].checksums[0][1]}"):
        run(tmp_path, sources[:1])
    assert list(tmp_path.rglob("*")) == []
    assert server.ranges == [None]


def test_missing_file_and_unreachable_server(tmp_path, sources, server):
    server.files.clear()
    with pytest.raises(MissingError, match="404.*by hand.*sha256"):
        run(tmp_path, sources[:1])
    nowhere = with_archive(sources[0], url="http://127.0.0.1:9/caltech-101.zip")  # the discard port: nobody listens
    with pytest.raises(MissingError, match="cannot download .*refused"):
        run(tmp_path, (nowhere,))


def test_an_archive_fetched_by_hand_is_used(tmp_path, sources, server, archives):
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / "caltech-101.zip").write_bytes(archives["caltech-101.zip"])
    run(tmp_path, sources[:1])
    assert server.ranges == [] and datasets.load("caltech101-airplanes", tmp_path).names.size == 3


def test_a_changed_file_is_fetched_again(tmp_path, sources, server):
    run(tmp_path, sources[1:])
    label = tmp_path / "Task04_Hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    before = label.read_bytes()
    label.write_bytes(before[:-1])
    run(tmp_path, sources[1:])
    assert label.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["Task04_Hippocampus"]


def test_a_folder_of_the_user_is_left_alone(tmp_path, sources, server):
    (tmp_path / "caltech-101").mkdir()
    lines = run(tmp_path, sources[:1])
    assert "left as it is" in " ".join(line.strip() for line in lines) and server.ranges == []


def test_an_archive_with_another_layout_is_refused(tmp_path, sources):
    with pytest.raises(CorruptError, match="holds 6 of the wanted files, expected 1600"):
        run(tmp_path, (replace(sources[0], n_files=1600),))
    assert not (tmp_path / "caltech-101").exists()


def test_an_archive_that_is_none_is_refused(tmp_path, sources, server):
    server.files["Task04_Hippocampus.tar"] = b"<html>"
    source = with_archive(sources[1], checksums=(("md5", hashlib.md5(b"<html>").hexdigest()),))
    with pytest.raises(CorruptError, match="cannot be unpacked"):
        run(tmp_path, (source,))


def test_a_folder_that_cannot_be_written(tmp_path, sources):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write below"):
        run(tmp_path / "file", sources)


def test_the_verb_prints_one_line_for_an_error(tmp_path, monkeypatch, capsys, sources, server):
    server.files.clear()
    monkeypatch.setattr(download, "SOURCES", dict(zip("ab", sources, strict=True)))
    assert cotrain(["data", "--data", str(tmp_path)]) == 2
    assert re.fullmatch(r"cotrain: .*404.*\n", capsys.readouterr().err)


def test_published_addresses_and_checksums_are_as_documented():
    """As in the data sets' records; a digest has the length of its algorithm."""
    for source in download.SOURCES.values():
        for archive in source.archives:
            assert archive.url.startswith("https://")
            for algorithm, digest in archive.checksums:
                assert len(digest) == hashlib.new(algorithm).digest_size * 2


def test_digits_and_small_pictures_are_fetched_and_read(tmp_path, server):
    rng = np.random.default_rng(0)
    made = []
    for part, n in (("train", 20), ("t10k", 10)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            head = bytes([0, 0, 8, len(shape)]) + b"".join(k.to_bytes(4, "big") for k in shape)
            server.files[f"{part}-{kind}-ubyte.gz"] = gzip.compress(
                head + rng.integers(0, 10, shape).astype(np.uint8).tobytes()
            )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name in [
            *(f"data_batch_{k}.bin" for k in range(1, 6)),
            "test_batch.bin",
            "readme.html",
            "../data_batch_9.exe",
        ]:
            data = b"".join(bytes([k]) + rng.bytes(3072) for k in range(10))
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    server.files["cifar-10-binary.tar.gz"] = buffer.getvalue()
    for name in ("mnist", "cifar10"):
        source = download.SOURCES[name]
        archives = []
        for archive in source.archives:
            data = server.files[archive.name]
            archives.append(
                replace(
                    archive, url=server.url(archive.name), checksums=(("sha256", hashlib.sha256(data).hexdigest()),)
                )
            )
        made.append(replace(source, archives=tuple(archives)))
    run(tmp_path, tuple(made))
    assert len(datasets.load("mnist", tmp_path)) == 30 and len(datasets.load("cifar10", tmp_path)) == 60
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar-10-batches-bin", "mnist"]


def test_data_sets_are_named(tmp_path, capsys):
    assert cotrain(["data", "mnits", "--data", str(tmp_path)]) == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault, text",
    [
        ("bad length", "announces a length of 'many'"),
        ("negative length", "announces a length of '-5'"),
        ("huge length", "announces 999,999,999,999 bytes, at most"),
        ("bad range", "ended early"),
        ("range beyond", "HTTP status 416"),
        ("round and round", "redirect"),
        ("to a file", "redirect|not allowed|unknown url"),
        ("to nowhere", "redirect|unknown url|no host|302"),
    ],
)
def test_a_server_that_talks_nonsense_is_given_up(tmp_path, sources, server, fault, text):
    server.faults = [("cut", 1000), *[fault] * 40]
    with pytest.raises(MissingError, match=text) as raised:
        run(tmp_path, sources[:1])
    assert "\n" not in str(raised.value) and len(server.faults) > 20


def test_a_server_that_crawls_is_given_up(tmp_path, sources, server, monkeypatch):
    monkeypatch.setattr(fetching, "SLOW_S", 0.2)
    server.faults = ["crawl"] * 9
    with pytest.raises(MissingError, match=r"bytes arrived in 0.2 s"):
        run(tmp_path, sources[:1])


def test_a_server_that_drips_is_given_up_though_every_attempt_brings_something(tmp_path, sources, server, monkeypatch):
    monkeypatch.setattr(fetching, "SLOW_S", 0.2)
    server.faults = ["drip"] * 50
    with pytest.raises(MissingError, match=r"bytes arrived in 0.2 s"):
        run(tmp_path, sources[:1])
    assert len(server.ranges) == fetching.MOST_CRAWLS
    assert (tmp_path / ".download" / "caltech-101.zip.part").stat().st_size > 0


def test_headers_that_drip_are_given_up(tmp_path, sources, server, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.3)  # of a byte, which comes every 0.05 s, and of all headers
    server.faults = ["slow headers"] * 50
    started = time.perf_counter()
    with pytest.raises(MissingError, match="headers did not arrive in 0.3 s"):
        run(tmp_path, sources[:1])
    assert len(server.ranges) == 1 + len(fetching.RETRY_AFTER_S) and time.perf_counter() - started < 60


def test_a_redirection_to_ftp_is_not_followed(tmp_path, sources, server, monkeypatch):
    monkeypatch.setitem(NONSENSE, "to ftp", (302, {"Location": "ftp://127.0.0.1:9/x"}))
    server.faults = ["to ftp"] * 9
    with pytest.raises(MissingError, match="unknown url type: ftp"):
        run(tmp_path, sources[:1])


def test_a_server_that_never_ends_is_given_up(tmp_path, sources, server, archives):
    small = with_archive(sources[0], max_bytes=1000)
    server.faults = ["no length"] * 9
    with pytest.raises(MissingError, match="sends more than the 1,000 bytes"):
        run(tmp_path, (small,))
    assert (tmp_path / ".download/caltech-101.zip.part").stat().st_size < 10**6


def test_two_at_once_do_not_collide(tmp_path, sources, server):
    with lock.locked(tmp_path / download.ARCHIVES), pytest.raises(BusyError):
        run(tmp_path, sources[:1])
    run(tmp_path, sources[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["caltech-101"]


def test_a_member_that_claims_gigabytes_is_not_unpacked(tmp_path, sources, server):
    info = tarfile.TarInfo("Task04_Hippocampus/imagesTr/hippocampus_001.nii.gz")
    info.size = 8 * 10**9
    server.files["Task04_Hippocampus.tar"] = data = info.tobuf() + bytes(2048)
    source = with_archive(sources[1], checksums=(("md5", hashlib.md5(data).hexdigest()),))
    with pytest.raises(CorruptError, match="claims 8,000,000,000 bytes"):
        run(tmp_path, (source,))
