"""Sweeps that are killed: driver, worker and scheduler with -9 at random moments, and called again until they end.

``make fuzz-sweeps``: the table of each has to be that of an undisturbed sweep in one process. Prints and keeps the
counts (``reports/fuzz.json``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SWEEP = """base = "demo-locnet"
trials = {trials}
batch = 4
sampler = "tpe"
[set]
"train.epochs" = 2
"train.backend" = "tensorflow"
"data.n_groups" = 40
"data.height" = 16
"data.width" = 32
"network.filters" = [4]
"finetune.readout_steps" = 4
"quantize.board" = "kapoho_bay"
"deploy.n_bootstrap" = 20
[space]
"train.learning_rate" = {{low = 1e-4, high = 1e-2, log = true}}
"finetune.n_steps" = [8, 12]
"network.dense" = [[8], [16], [52000]]
[objectives]
"loihi-converted.value" = "maximize"
"loihi-converted.spikes_per_inference" = "minimize"
"cores" = "minimize"
"""
WAIT_S = 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--kills", type=int, default=5, help="of the driver; of workers and the scheduler one each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="do not keep the counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.trials, arguments.kills, random.Random(arguments.seed))
    print(json.dumps(found, indent=1))
    if not arguments.dry:
        from fuzz.counts import write

        write("sweeps", found)
    return found["other tables"]


def run(folder: Path, trials: int, kills: int, draw: random.Random) -> dict[str, int]:
    """Counts of what was killed, and of tables that were and were not those of the undisturbed sweep."""
    (folder / "killed.toml").write_text(SWEEP.format(trials=trials))
    one = Sweep(folder, "one")
    one.start()
    assert one.job.wait(WAIT_S) == 0, one.said()
    found = {"trials": trials, "driver killed": 0, "worker killed": 0, "scheduler killed": 0, "same tables": 0}
    found["other tables"] = 0
    local = Sweep(folder, "local", "--workers", "2")
    for kind in [*["driver killed"] * kills, "worker killed", ""]:
        local.start()
        if kind and local.alive_after(draw):
            local.kill(kind, draw)
            found[kind] += 1
    assert local.job.wait(WAIT_S) == 0, local.said()
    remote = Sweep(folder, "remote")
    with cluster() as address:
        remote.start("--cluster", address[0])
        if remote.alive_after(draw):
            address[1].kill()
            found["scheduler killed"] += 1
            assert remote.job.wait(WAIT_S) == 2 and "scheduler at" in remote.said(), remote.said()
    with cluster() as address:
        remote.start("--cluster", address[0])
        assert remote.job.wait(WAIT_S) == 0, remote.said()
    for sweep in (local, remote):
        found["same tables" if sweep.table() == one.table() else "other tables"] += 1
    return found


class Sweep:
    """The same sweep in a folder of its own, which can be called again."""

    def __init__(self, folder: Path, name: str, *arguments: str):
        self.arguments = arguments
        self.toml, self.runs, self.json = folder / "killed.toml", folder / name, folder / f"{name}.json"
        self.log = folder / f"{name}.txt"

    def start(self, *more: str) -> None:
        """Call it, unless it goes on still."""
        if hasattr(self, "job") and self.job.poll() is None:
            return
        command = [sys.executable, "-m", "cotrain.pipeline", "sweep", self.toml, "--runs", self.runs, "--json",
                   self.json, *self.arguments, *more]  # fmt: skip
        with self.log.open("a") as log:
            self.job = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)

    def said(self) -> str:
        return self.log.read_text()[-2000:]

    def progress(self) -> int:
        """Changes with every line that a trial prints."""
        return sum(path.stat().st_size for path in self.runs.glob("sweeps/*/trials/*/log.txt"))

    def alive_after(self, draw: random.Random) -> bool:
        """Wait for a random moment after work has begun anew; whether it still goes on."""
        before, deadline = self.progress(), time.monotonic() + WAIT_S
        while self.progress() == before and self.job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        lines = draw.randrange(12)  # about two trials
        for _ in range(lines):
            before = self.progress()
            while self.progress() == before and self.job.poll() is None and time.monotonic() < deadline:
                time.sleep(draw.random())
        return self.job.poll() is None

    def kill(self, kind: str, draw: random.Random) -> None:
        """-9 for the driver, whose workers have to find out by themselves, or for one of its workers."""
        if kind == "driver killed":
            self.job.send_signal(signal.SIGKILL)
            self.job.wait()
        else:
            children = psutil.Process(self.job.pid).children()
            workers = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
            draw.choice(workers).kill()

    def table(self) -> list:
        """What the sweep came to, without times."""
        whole = json.loads(self.json.read_text())
        keys = ("number", "state", "params", "values")
        return [[{key: t[key] for key in keys} for t in whole["trials"]], whole["pareto"], whole["test"]]


@contextmanager
def cluster(n_workers: int = 2, **variables: str):
    """(address, process) of a Dask scheduler with workers, all started by hand on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        file, env = Path(folder) / "scheduler.json", {**os.environ, **variables}

        def start(kind: str, *more: str) -> subprocess.Popen:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *more, "--host", "127.0.0.1"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
            return subprocess.Popen(command, env=env, **quiet)

        jobs = [start("scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")]
        try:
            while not (file.exists() and file.stat().st_size):
                time.sleep(0.1)
            address = json.loads(file.read_text())["address"]
            jobs += [start("worker", address, "--nthreads", "1", "--no-dashboard") for _ in range(n_workers)]
            yield address, jobs[0]
        finally:
            for job in jobs[::-1]:
                job.terminate()
            for job in jobs:
                job.wait()


if __name__ == "__main__":
    sys.exit(main())
