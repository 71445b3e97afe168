"""Downloading against an HTTP server of our own that breaks off, lies, and knows nothing of ranges."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cotrain.hardware.errors import CorruptError, MissingError, OutputError
from cotrain.pipeline import datasets
from cotrain.pipeline.__main__ import main as cotrain
from cotrain.pipeline.commands import data as download
from cotrain.pipeline.datasets import synthetic


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
        if isinstance(fault, tuple):
            body = body[: fault[1]]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRY_AFTER_S", (0.0, 0.0))
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
    return tuple(
        replace(
            source,
            url=server.url(source.archive),
            checksum=(source.checksum[0], hashlib.new(source.checksum[0], archives[source.archive]).hexdigest()),
            n_files=n_files,
        )
        for source, n_files in zip(download.SOURCES, (6, 4), strict=True)
    )


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
    assert all("there and verified" in line for line in run(tmp_path / "data", sources))
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
    with pytest.raises(CorruptError, match=f"sha256 [0-9a-f]{{64}}, expected {sources[0].checksum[1]}"):
        run(tmp_path, sources[:1])
    assert [p.name for p in tmp_path.rglob("*")] == [".download"]
    assert server.ranges == [None]


def test_missing_file_and_unreachable_server(tmp_path, sources, server):
    server.files.clear()
    with pytest.raises(MissingError, match="404.*by hand.*sha256"):
        run(tmp_path, sources[:1])
    nowhere = replace(sources[0], url="http://127.0.0.1:9/caltech-101.zip")  # the discard port: nobody listens
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
    (line,) = run(tmp_path, sources[:1])
    assert "left as it is" in line and server.ranges == []


def test_an_archive_with_another_layout_is_refused(tmp_path, sources):
    with pytest.raises(CorruptError, match="holds 6 of the wanted files, expected 1600"):
        run(tmp_path, (replace(sources[0], n_files=1600),))
    assert not (tmp_path / "caltech-101").exists()


def test_an_archive_that_is_none_is_refused(tmp_path, sources, server):
    server.files["Task04_Hippocampus.tar"] = b"<html>"
    source = replace(sources[1], checksum=("md5", hashlib.md5(b"<html>").hexdigest()))
    with pytest.raises(CorruptError, match="cannot be unpacked"):
        run(tmp_path, (source,))


def test_a_folder_that_cannot_be_written(tmp_path, sources):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write below"):
        run(tmp_path / "file", sources)


def test_the_verb_prints_one_line_for_an_error(tmp_path, monkeypatch, capsys, sources, server):
    server.files.clear()
    monkeypatch.setattr(download, "SOURCES", sources)
    assert cotrain(["data", "--data", str(tmp_path)]) == 2
    assert re.fullmatch(r"cotrain: .*404.*\n", capsys.readouterr().err)


def test_published_addresses_and_checksums_are_as_documented():
    """As in the data sets' records; a digest has the length of its algorithm."""
    for source in download.SOURCES:
        assert source.url.startswith("https://")
        assert len(source.checksum[1]) == hashlib.new(source.checksum[0]).digest_size * 2
