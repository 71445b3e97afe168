"""Every stage, killed at each of its changes of the disk, and at random moments; then the same command again.

A warm parent forks a child a kill; the child ends by SIGKILL in front of a rename, removal, new folder or new file, or
with half of a write on the disk (`killed`). The command that is run again then has to leave the same folder, byte by
byte and without a file more, as one that nobody killed. It replaces a result of another seed (``--force``), so that the
old result is there to be lost, too.

``python tests/fuzz/kills.py [--every N] [--random N] [--stages train,...]``: at every N-th change (1), and N times at
random moments. Trainings are those of a backend of this file, which costs nothing: what is proven here is what touches
the disk. ``--nengo-dl`` trains and compares with NengoDL. Counts go to ``reports/fuzz.json``.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from cotrain.pipeline.__main__ import main  # noqa: E402
from cotrain.pipeline.evaluation import row_states  # noqa: E402
from cotrain.pipeline.runs import artifacts, record  # noqa: E402
from cotrain.pipeline.stages.table import STAGES  # noqa: E402
from cotrain.pipeline.training import backend, loop  # noqa: E402
from fuzz.killed import Watch, forked  # noqa: E402

EXPERIMENT = "demo-locnet"
SETTINGS = (
    "data.height=8", "data.width=16", "data.n_groups=20", "network.filters=[2]", "network.dense=[4]", "train.epochs=2",
    "train.augment=false", "finetune.augment=false", "finetune.epochs=1", "finetune.n_steps=6",
    "finetune.readout_steps=3", "deploy.n_bootstrap=20", "submission.n_samples=2",
)  # fmt: skip
WITHOUT_NENGO_DL = 'deploy.models=["constant","loihi-converted","loihi-hybrid"]'
PATIENCE_S = 600


class Downhill:
    """A backend whose training is one subtraction a batch."""

    def __init__(self, job, params):
        self.job, self.now, self.n = job, {k: v.copy() for k, v in params.items()}, 0

    def train_step(self, images, targets, learning_rate):
        self.n += 1
        for value in self.now.values():
            value -= np.float32(learning_rate * images.mean())
        return backend.StepResult(1.0 / self.n, np.full(len(self.job.spec.layers), 10.0))

    def predict(self, images):
        first = next(iter(self.now.values())).ravel()[0]
        return np.full((len(images), self.job.spec.readout.n_neurons), images.mean() + first, np.float32)

    def params(self):
        return {k: v.copy() for k, v in self.now.items()}

    def state(self):
        return {**self.params(), "n": np.array(self.n)}

    def restore(self, state):
        self.now, self.n = {k: state[k].copy() for k in self.now}, int(state["n"])

    def close(self):
        pass


class NoLogs:
    """In place of TensorBoard's, which would need TensorFlow."""

    def __init__(self, folder):
        pass

    def write(self, entry):
        pass

    def close(self):
        pass


def warm(nengo_dl: bool) -> None:
    """Import what the stages import, and take the clock out of what they write."""
    for stage in STAGES:
        importlib.import_module(f"cotrain.pipeline.stages.{stage}")
    import cotrain.hardware.bundle.pack  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    from cotrain.pipeline import report, training  # noqa: F401

    if nengo_dl:
        from cotrain.pipeline.compat import import_nengo_dl

        import_nengo_dl()
    else:
        backend.BACKENDS["nengo-dl"] = (__name__, "Downhill")
        sys.modules[__name__] = sys.modules["__main__"] if __name__ == "__main__" else sys.modules[__name__]
        training.make_deterministic = lambda seed: None
        loop._TensorBoard = NoLogs
    record.git_revision()
    record.versions()
    time.perf_counter = lambda: 0.0
    row_states.EVERY_S = 0.0


def command(stage: str, root: Path, seed: int, settings) -> list[str]:
    """The words of one stage."""
    words = [stage, EXPERIMENT, "--force", "--runs", str(root / "runs"), "--set", f"seed={seed}"]
    for one in settings:
        words += ["--set", one]
    return words


def contents(root: Path) -> dict[str, bytes]:
    """Every file but TensorBoard's logs, which hold the time."""
    files = (p for p in sorted(root.rglob("*")) if p.is_file() or not p.is_dir())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if artifacts.TENSORBOARD not in p.parts}


def differences(root: Path, right: dict[str, bytes]) -> list[str]:
    """Files that are missing, too many, or of other bytes."""
    found = contents(root)
    return sorted(name for name in {*found, *right} if found.get(name) != right.get(name))


class Bench:
    """Folders to start from and to compare with, and the counts."""

    def __init__(self, folder: Path, settings):
        self.folder, self.settings = folder, settings
        self.counts: collections.Counter = collections.Counter()
        self.bad: list[str] = []

    def run(self, stage: str, root: Path, seed: int, watch: Watch | None = None, kill_after_s: float = 0.0) -> int:
        """One stage in a child; its exit status."""
        words = command(stage, root, seed, self.settings)
        return forked(lambda: main(words), watch, str(self.folder / "printed.txt"), kill_after_s)

    def need(self, stage: str, root: Path, seed: int) -> None:
        """A run that has to succeed."""
        if self.run(stage, root, seed):
            sys.exit(f"{stage} fails:\n{(self.folder / 'printed.txt').read_text()}")

    def examine(self, stage: str, start: Path, every: int, n_random: int, say) -> Path:
        """Kill `stage`, which begins with a copy of `start`; the folder of one that nobody killed."""
        work = self.folder / "work" / "root"  # one name for all: names of folders are part of what is written
        done, log = self.folder / f"{stage}-done", self.folder / "changes.txt"

        def fresh() -> Path:
            shutil.rmtree(work.parent, ignore_errors=True)
            shutil.copytree(start, work, symlinks=True)
            return work

        fresh()
        with open(log, "wb") as file:
            began = time.monotonic()
            watch = Watch(work, 0, file.fileno())
            if self.run(stage, work, 1, watch):
                sys.exit(f"{stage} fails:\n{(self.folder / 'printed.txt').read_text()}")
            took = time.monotonic() - began
        changes = log.read_text().splitlines()
        right = contents(work)
        shutil.copytree(work, done, symlinks=True)
        draw = random.Random(len(changes))
        trials = [(k, 0.0) for k in range(1, len(changes) + 1, every)]
        trials += [(0, draw.uniform(0.0, took)) for _ in range(n_random)]
        n_killed = 0
        for k, after_s in trials:
            fresh()
            code = self.run(stage, work, 1, Watch(work, k) if k else None, after_s)
            what = changes[k - 1] if k else f"{after_s:.2f} s"
            if k and code != -9:
                self.bad.append(f"{stage} was to be killed at {what}, exit status {code}")
            n_killed += code == -9
            if not k:
                self.counts["killed at random" if code == -9 else "over before the kill"] += 1
            lost = [s for s in STAGES if (start / "runs" / EXPERIMENT / s).exists() and not self.whole(work, s)]
            if lost:
                self.bad.append(f"{stage} killed at {what}: lost {lost}")
            code = self.run(stage, work, 1)
            wrong = differences(work, right)
            if code or wrong:
                printed = (self.folder / "printed.txt").read_text()[-300:] if code else ""
                self.bad.append(f"{stage} killed at {what}: exit status {code}, other bytes in {wrong[:5]} {printed}")
        self.counts["killed at a change"] += len([1 for k, _ in trials if k])
        say(f"{stage}: {len(changes)} changes of the disk, killed {n_killed} times, {len(self.bad)} wrong so far")
        self.counts[f"changes of {stage}"] = len(changes)
        return done

    def whole(self, root: Path, stage: str) -> bool:
        """Whether a stage has a result, after what the next command does first."""
        from cotrain.pipeline.runs.folder import RunFolder

        copy = self.folder / "looked-at"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root / "runs" / EXPERIMENT, copy, symlinks=True)
        folder = RunFolder(copy / stage, stage)
        folder.settle()
        return folder.finished() and bool(folder.verify())


def examine_all(stages, every: int, n_random: int, nengo_dl: bool, say=print) -> tuple[dict, list[str]]:
    """(counts, what is wrong)."""
    warm(nengo_dl)
    settings = [*SETTINGS, *([] if nengo_dl else [WITHOUT_NENGO_DL])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder, settings)
        start = folder / "start"
        start.mkdir()
        for stage in STAGES:  # the old results, of another seed
            bench.need(stage, start, 0)
        for stage in STAGES:
            if stage in stages:
                start = bench.examine(stage, start, every, n_random, say)
            else:
                bench.need(stage, start, 1)
    return dict(bench.counts), bench.bad


def run(argv) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--random", type=int, default=0, help="a stage")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--nengo-dl", action="store_true")
    parser.add_argument("--json", help="write the counts here, and not into the report")
    arguments = parser.parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)
    counts, bad = examine_all(arguments.stages.split(","), arguments.every, arguments.random, arguments.nengo_dl)
    for line in bad:
        print(line)
    counts["wrong"] = len(bad)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({**counts, "bad": bad}))
    else:
        from fuzz.counts import write

        write("kills with NengoDL" if arguments.nengo_dl else "kills", counts)
    print(counts)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
