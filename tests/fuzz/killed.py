"""Watch what a process changes on the disk, and kill it for real in front of one of these changes, or in the middle.

For children that are forked for this: what is installed here stays until the process ends. Seen are new and truncated
files, every write (of which half arrives), renames, removals and new folders, wherever in the code they come from.
`fsync` is not among them: a kill there leaves what one at the next change leaves.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import sys
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")


class Watch:
    """Count changes below `root`; end the process by SIGKILL at the one with the number `kill_at`, from 1.

    Parameters
    ----------
    log : int, optional
        A file descriptor that gets a line for each.
    """

    def __init__(self, root: Path, kill_at: int = 0, log: int | None = None):
        self.root, self.kill_at, self.log, self.n = f"{os.path.realpath(root)}/", kill_at, log, 0

    def install(self) -> None:
        """From here on."""
        plain, watch, pwrite = io.open, self, os.pwrite

        class Torn(io.FileIO):
            def write(self, data):
                half = memoryview(data).cast("B")[: len(data) // 2]
                watch.change("write", self.name, lambda: io.FileIO.write(self, half))
                return io.FileIO.write(self, data)

        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            if not set(mode) & set("wax+") or not watch.below(file):
                return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = Torn(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if "b" in mode and buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        def torn_pwrite(handle, data, offset):
            watch.change("write", handle, lambda: pwrite(handle, data[: len(data) // 2], offset))
            return pwrite(handle, data, offset)

        builtins.open = io.open = opened
        os.pwrite = torn_pwrite
        sys.addaudithook(self._heard)

    def below(self, file) -> bool:
        """Whether a path, or what a descriptor leads to, lies below the root."""
        return self._path(file).startswith(self.root)

    def change(self, what: str, file, tear=None) -> None:
        """Count one; `tear` does half of it."""
        path = self._path(file)
        if not path.startswith(self.root):
            return
        self.n += 1
        if self.log is not None:
            os.write(self.log, f"{self.n} {what} {path[len(self.root) :]}\n".encode())
        if self.n == self.kill_at:
            if tear:
                tear()
            os.kill(os.getpid(), signal.SIGKILL)

    def _heard(self, event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & (os.O_CREAT | os.O_TRUNC) and not isinstance(path, int):
                self.change("open", path)
        elif event in CHANGES:
            folder = args[1] if event in ("os.remove", "os.rmdir") else args[2] if event == "os.mkdir" else -1
            path = self._path(args[0], folder)
            if os.path.lexists(path) != (event == "os.mkdir"):  # what fails changes nothing
                self.change(event[3:], path)

    def _path(self, file, folder: int = -1) -> str:
        if isinstance(file, int):
            return os.readlink(f"/proc/self/fd/{file}")
        if not isinstance(file, (str, bytes, os.PathLike)):
            return ""
        path = os.fsdecode(file)
        if folder not in (-1, None):
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        return os.path.abspath(path)


def forked(work, watch: Watch | None = None, out: str = os.devnull, kill_after_s: float = 0.0) -> int:
    """Run ``work() -> exit status`` in a child, under `watch`; its exit status, -9 if it was killed.

    Parameters
    ----------
    out : str
        File that gets what it prints.
    kill_after_s : float
        Kill it after so long, wherever it is; 0: do not.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            if kill_after_s:
                signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                signal.setitimer(signal.ITIMER_REAL, kill_after_s)
            if watch:
                watch.install()
            code = work()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
