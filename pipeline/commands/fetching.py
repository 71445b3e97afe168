"""Download one file: resumable, checked, patient with servers that break off and impatient with those that crawl."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cotrain.hardware import terminal
from cotrain.hardware.errors import CorruptError, MissingError
from cotrain.hardware.progress import Progress

CHUNK_BYTES = 1 << 18
MEGABYTE = 10**6
TIMEOUT_S = 60.0  # of one connection or read, and of all headers together
RETRY_AFTER_S = (1.0, 3.0, 10.0)  # pauses between attempts that bring nothing
MOST_RESTARTS = 3  # times that what has arrived is thrown away because the server does not go on from it
SLOW_S, SLOW_BYTES = 60.0, 60_000  # a connection that brings less in that time is given up: under 1 kB/s
MOST_CRAWLS = 3  # connections that are given up for that, in one call


@dataclass(frozen=True)
class Archive:
    """A file as its publisher distributes it.

    Attributes
    ----------
    url : str
    name : str
        Of the file behind the URL.
    checksums : tuple of (str, str)
        Algorithm of hashlib and hexadecimal digest, all of which must hold; the strongest first.
    max_bytes : int
        More is not downloaded.
    """

    url: str
    name: str
    checksums: tuple[tuple[str, str], ...]
    max_bytes: int = 10**9


class Crawl(ConnectionError):
    """A connection that brings next to nothing."""


class _Plain(http.client.HTTPConnection):
    """A connection whose headers arrive in time, all together: a timeout of a socket is that of one byte."""

    def getresponse(self) -> http.client.HTTPResponse:
        late = threading.Timer(TIMEOUT_S, self._end)
        self.is_late = False
        late.start()
        try:
            response = super().getresponse()
        finally:
            late.cancel()
        if self.is_late:  # its headers seem to end where they were cut off
            raise TimeoutError(f"its headers did not arrive in {TIMEOUT_S:g} s")
        return response

    def _end(self) -> None:
        self.is_late = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):  # it has ended
            pass


class _Secure(_Plain, http.client.HTTPSConnection):
    pass


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_Plain, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_Secure, request)


def _opener() -> urllib.request.OpenerDirector:
    """What follows redirections to http and https alone: no files, no FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, _PlainHandler, _SecureHandler, urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def fetch(archive: Archive, folder: Path, say: Callable[[str], None] = terminal.say) -> Path:
    """Download a file, going on from what an earlier call has left.

    Returns
    -------
    Path
        The file, its checksums verified.

    Raises
    ------
    MissingError
        The server cannot be reached, does not have the file, or does not send it. What has arrived is kept.
    CorruptError
        The file that arrived is not the published one; it is removed.
    """
    path, part = folder / archive.name, folder / f"{archive.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and not wrong_digest(path, archive.checksums):
        return path
    # A part of another version of the file shows only in the checksum: then once more, from the start.
    for resumed in (part.exists() and part.stat().st_size > 0, False):
        say(f"{archive.url}{' (going on)' if resumed else ''}")
        _download(archive, part, say)
        wrong = wrong_digest(part, archive.checksums)
        if not wrong:
            os.replace(part, path)
            return path
        part.unlink()
        if not resumed:
            break
    raise CorruptError(
        f"{archive.url} gave a file with {wrong}; it was removed. "
        "Run `make data` again; if that does not help, the publisher has changed the file"
    )


def wrong_digest(path: Path, checksums: tuple[tuple[str, str], ...]) -> str:
    """What is wrong with a file, or nothing: ``sha256 0123..., expected 4567...``."""
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm, _ in checksums}
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            for digest in digests.values():
                digest.update(chunk)
    for algorithm, expected in checksums:
        found = digests[algorithm].hexdigest()
        if found != expected:
            return f"{algorithm} {found}, expected {expected}"
    return ""


def _download(archive: Archive, part: Path, say) -> None:
    """Append to `part` until it is as long as the server says, through broken connections."""
    pauses, most, n_restarts, n_crawls = iter(RETRY_AFTER_S), _size(part), 0, 0
    while True:
        before = _size(part)
        try:
            if _download_once(archive, part):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            problem = f"HTTP status {error.code} {_one_line(error.reason)}"
            if error.code < 500 and error.code not in (408, 429):
                algorithm, digest = archive.checksums[0]
                raise MissingError(
                    f"{archive.url}: {problem}; fetch {archive.name} by hand, check its {algorithm} ({digest}) "
                    f"and put it into {part.parent}"
                ) from None
        # http.client and urllib raise ValueError for headers and addresses that are none.
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
            problem = _one_line(getattr(error, "reason", error)) or type(error).__name__
            n_crawls += isinstance(error, Crawl)  # however much they bring together
        arrived = _size(part)
        n_restarts += arrived < before
        if arrived > most:  # more than ever: as many attempts again
            most, pauses = arrived, iter(RETRY_AFTER_S)
        pause = next(pauses, None)
        if pause is None or n_restarts > MOST_RESTARTS or n_crawls >= MOST_CRAWLS:
            raise MissingError(
                f"cannot download {archive.url}: {problem}; {arrived / MEGABYTE:.1f} MB are kept, "
                "run `make data` again to go on from there"
            )
        say(f"  {problem}; trying again in {pause:g} s")
        time.sleep(pause)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]


def _download_once(archive: Archive, part: Path) -> bool:
    """One request; whether the file is now whole."""
    have = _size(part)
    headers = {"User-Agent": "loihi-cotrain", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        response = _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # the range starts at or beyond the end
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink()
        return False
    with response:
        start = 0
        if response.status == 206:
            match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
            if not 0 <= start <= have:  # it would leave a gap
                part.unlink(missing_ok=True)
                return False
        total = _total(response.headers.get("Content-Length"), start)
        if total is not None and total > archive.max_bytes:
            raise ValueError(f"the server announces {total:,} bytes, at most {archive.max_bytes:,} are expected")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            _copy(response, file, archive, total)
            arrived = file.tell()
    return total is None or arrived >= total


def _total(length: str | None, start: int) -> int | None:
    """How long the whole file is to be, if the server says so."""
    if length is None:
        return None
    if not re.fullmatch(r"\d{1,18}", length.strip()):
        raise ValueError(f"the server announces a length of {length[:40]!r}")
    return start + int(length)


def _copy(response, file: BinaryIO, archive: Archive, total: int | None) -> None:
    n_expected = (total or 0) - file.tell()
    since, n_since = time.monotonic(), 0
    with Progress(f"{archive.name}, MB", max(round(n_expected / MEGABYTE), 1)) as progress:
        n_arrived = 0
        while True:
            try:
                chunk = response.read1(CHUNK_BYTES)  # what is there: read() would wait until it is that much
            except TimeoutError as error:
                raise Crawl(str(error)) from None
            except OSError as error:  # TLS errors among them; what is raised below is about the disk
                raise ConnectionError(str(error)) from None
            if not chunk:
                return
            if file.tell() + len(chunk) > archive.max_bytes:
                raise ValueError(f"the server sends more than the {archive.max_bytes:,} bytes that are expected")
            file.write(chunk)
            n_arrived, n_since = n_arrived + len(chunk), n_since + len(chunk)
            if time.monotonic() - since > SLOW_S:
                if n_since < SLOW_BYTES:
                    raise Crawl(f"{n_since:,} bytes arrived in {SLOW_S:g} s")
                since, n_since = time.monotonic(), 0
            if n_arrived // MEGABYTE > progress.done and n_expected > 0:
                progress.advance(n_arrived // MEGABYTE - progress.done)
