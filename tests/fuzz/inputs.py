"""Spoilt files, for every reader of bytes that come from elsewhere: read, or one line that is ours.

Each is read in a child with a bound on its memory (address space) and time. ``python tests/fuzz/inputs.py [--scale F]
[--only pictures,...] [--first N]`` writes the counts by reader to ``reports/fuzz.json``; ``--keep DIR`` keeps what went
wrong. A short version is ``tests/test_pipeline_fuzz.py``.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cotrain.hardware.errors import CotrainError  # noqa: E402
from cotrain.pipeline.datasets.base import Unusable  # noqa: E402
from fuzz import readers  # noqa: E402

MEMORY_BYTES = 3 * 2**30  # on top of what the child has when it starts: an .npz may unpack to 1 GB
SECONDS = 30  # of processor time, for one input
BATCH = 200  # inputs a child


class TooLong(BaseException):
    """An input takes more than `SECONDS`."""


def spoilt(reader: readers.Reader, seeds, number: int) -> tuple[str, bytes]:
    """Name and bytes of input `number`."""
    draw = random.Random(f"{reader.name}/{number}")
    name, data = seeds[number % len(seeds)]
    return name, reader.spoil(data, draw)


def outcome(reader: readers.Reader, path: Path) -> str:
    """ "read", "refused", or what is wrong."""

    def late(number, frame):
        raise TooLong

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
        return "read"
    except (CotrainError, Unusable) as error:
        text = str(error)
        if not text or "\n" in text:
            return f"not one line: {text[:300]!r}"
        return "refused"
    except (Exception, TooLong) as error:
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-3:]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' '.join(where)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def child(reader: readers.Reader, seeds, numbers, folder: Path, report: Path, keep: Path | None) -> None:
    """Read a batch; one line of JSON an input in `report`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and libpng talk
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(report, "w", buffering=1) as lines:
        for number in numbers:
            name, data = spoilt(reader, seeds, number)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            lines.write(json.dumps({"begun": number}) + "\n")
            began = time.process_time()
            found = outcome(reader, path)
            took = time.process_time() - began
            lines.write(json.dumps({"number": number, "outcome": found, "seconds": took}) + "\n")
            if keep and found not in ("read", "refused"):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{reader.name}-{number}-{Path(name).name}").write_bytes(data)


def examine(reader: readers.Reader, n: int, first: int, keep: Path | None = None) -> tuple[dict, dict[int, str]]:
    """(counts, {number: what is wrong}) of `n` inputs."""
    counts: collections.Counter = collections.Counter({"inputs": 0, "read": 0, "refused": 0, "wrong": 0})
    bad, slowest, peak = {}, 0.0, 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        folder = Path(name)
        reader.prepare(folder / "with")
        seeds = reader.seeds(folder / "with")
        for start in range(first, first + n, BATCH):
            numbers = range(start, min(start + BATCH, first + n))
            while numbers:
                report = folder / "report.jsonl"
                pid = os.fork()
                if pid == 0:
                    try:
                        child(reader, seeds, numbers, folder / "with", report, keep)
                    finally:
                        os._exit(0)
                _, status, used = os.wait4(pid, 0)
                peak = max(peak, used.ru_maxrss)
                lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
                done = [line for line in lines if "number" in line]
                for line in done:
                    counts["inputs"] += 1
                    slowest = max(slowest, line["seconds"])
                    if line["outcome"] in ("read", "refused"):
                        counts[line["outcome"]] += 1
                    else:
                        bad[line["number"]] = line["outcome"]
                numbers = numbers[len(done) :]
                if numbers:  # the child ended within this one
                    counts["inputs"] += 1
                    bad[numbers[0]] = f"the process ended ({os.waitstatus_to_exitcode(status)})"
                    numbers = numbers[1:]
    counts["wrong"] = len(bad)
    return {**counts, "slowest_s": round(slowest, 2), "peak_MB": peak // 1024}, bad


def main(argv) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of inputs")
    parser.add_argument("--only", default=",".join(readers.READERS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--dry", action="store_true", help="leave reports/ as it is")
    arguments = parser.parse_args(argv)
    table, all_bad = {}, 0
    for name in arguments.only.split(","):
        reader = readers.READERS[name]
        table[name], bad = examine(reader, max(1, round(reader.n * arguments.scale)), arguments.first, arguments.keep)
        all_bad += len(bad)
        print(f"{name:<12} {table[name]}", flush=True)
        for text, times in collections.Counter(bad.values()).most_common(8):
            number = next(k for k, v in bad.items() if v == text)
            print(f"    {times} x {text} (first: {number})", flush=True)
    total = {key: sum(row[key] for row in table.values()) for key in ("inputs", "read", "refused", "wrong")}
    print(total)
    if not arguments.dry:
        from fuzz.counts import write

        write("inputs", {"total": total, "readers": table})
    return 1 if all_bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
