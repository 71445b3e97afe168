"""Workers: those of this machine, started by hand, of SLURM; what dies, and what is refused. No training here."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import slurm_stand_in
from cotrain.hardware.errors import InputError, MissingError, OutputError, UnsupportedError
from cotrain.pipeline.sweeps import workers
from cotrain.pipeline.sweeps.versions import versions
from cotrain.pipeline.sweeps.workers import pool
from fuzz.sweeps import cluster


def doubled(task):
    """Twice the number, and where it was done."""
    return {"value": 2 * task["x"], "pid": os.getpid(), "threads": os.environ["TF_NUM_INTRAOP_THREADS"]}


def dies_once(task):
    """The first process that has this task dies as one that has no memory does."""
    flag = Path(task["flag"])
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": task["x"]}


def fails(task):
    """As a disk that is full, or something that cannot be sent."""
    if task["x"] == 0:
        raise OutputError("no space left: free some")
    return {"value": (x for x in ())}


def sleeps(task):
    time.sleep(task["x"])
    return {}


HERE = str(Path(__file__).parent)  # where workers that were not started from here find this file


@pytest.fixture(scope="module")
def two():
    with pool(2, threads=3) as there:
        yield there


def test_every_task_comes_back_with_the_threads_it_may_use(two):
    found = dict(two.map(doubled, [{"x": x} for x in range(40)]))  # more than are in flight
    assert [found[i]["value"] for i in range(40)] == [2 * i for i in range(40)]
    assert {one["threads"] for one in found.values()} == {"3"} and os.getpid() not in {
        one["pid"] for one in found.values()
    }
    assert two.n_workers == 2


def test_a_worker_that_dies_takes_nothing_with_it(two, tmp_path):
    tasks = [{"x": x, "flag": str(tmp_path / "0")} for x in range(3)]
    found = dict(two.map(dies_once, tasks))
    assert {i: one["value"] for i, one in found.items()} == {0: 0, 1: 1, 2: 2}


def test_what_a_task_raises_comes_back_as_it_is(two):
    found = dict(two.map(fails, [{"x": 0}, {"x": 1}]))
    assert isinstance(found[0], OutputError) and str(found[0]) == "no space left: free some"
    assert isinstance(found[1], Exception)  # cannot be pickled


def test_workers_started_by_hand_and_a_scheduler_that_goes(monkeypatch):
    with cluster(1, PYTHONPATH=HERE) as (address, scheduler), pool(1, address, threads=2) as there:
        found = dict(there.map(doubled, [{"x": 1}]))
        assert found[0]["value"] == 2 and found[0]["threads"] == "2"
        monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.5)
        with pytest.raises(MissingError, match=f"the scheduler at {address} is gone; what is done is kept"):
            for i, _ in there.map(sleeps, [{"x": 0.0}, {"x": 600.0}]):
                assert i == 0
                scheduler.kill()


def test_a_worker_with_other_versions_is_refused_by_name(tmp_path):
    other = tmp_path / "numpy-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(tmp_path), HERE])
    with cluster(1, PYTHONPATH=path) as (address, _):
        with pytest.raises(UnsupportedError) as caught, pool(1, address):
            pass
    assert f"has numpy 0.0.1, here it is {versions()['numpy']}" in str(caught.value) and "\n" not in str(caught.value)


def test_workers_that_end_slowly_end_no_command(monkeypatch):
    """As on a machine with too much to do: Dask kills them after some seconds and raises, when all is done."""

    def slowly(*_, **__):
        raise TimeoutError

    client = SimpleNamespace(close=slowly, nthreads=dict, scheduler=SimpleNamespace(address="here"))
    monkeypatch.setattr("distributed.LocalCluster", lambda **_: SimpleNamespace(close=slowly))
    monkeypatch.setattr(workers, "_client", lambda *_: client)
    monkeypatch.setattr(workers, "_wait_for_one", lambda *_: None)
    monkeypatch.setattr(workers, "_same_versions", lambda *_: None)
    with pool(2) as there:
        assert there.address == "here"
    with pytest.raises(OutputError), pool(2):
        raise OutputError("what is inside is told")


@pytest.mark.parametrize("name", ["numpy", "source", "python"])
def test_one_that_comes_later_is_asked_again(name):
    terms = {"versions": {**versions(), name: "another"}, "threads": 1}
    with pytest.raises(UnsupportedError, match="source code" if name == "source" else f"has {name} "):
        workers.on_worker(doubled, {"x": 1}, terms)


def test_one_without_this_package_is_told_by_name():
    error = RuntimeError("Error during deserialization")
    error.__cause__ = ModuleNotFoundError("No module named 'cotrain'", name="cotrain")
    assert "the scheduler or a worker has no loihi-cotrain" in str(workers._named(error))
    assert workers._named(KeyError("x")).args == ("x",)


def test_jobs_of_a_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{slurm_stand_in.make(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", HERE)
    settings = {"queue": "cpu", "walltime": "00:10:00", "interface": "lo"}
    with pool(1, "slurm", threads=2, slurm=settings, logs=tmp_path / "logs") as there:
        found = dict(there.map(doubled, [{"x": x} for x in range(3)]))
    assert [found[i]["value"] for i in range(3)] == [0, 2, 4] and found[0]["threads"] == "2"
    with pytest.raises(InputError, match=r"\[slurm\]: .*queeu"), pool(1, "slurm", slurm={"queeu": "cpu"}):
        pass


def test_what_sbatch_says_is_told(tmp_path, monkeypatch):
    folder = slurm_stand_in.make(tmp_path / "bin")
    (folder / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: cup' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InputError) as caught, pool(1, "slurm", slurm={"queue": "cup", "interface": "lo"}):
        pass
    assert "sbatch refused: sbatch: error: invalid partition: cup" in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="no sbatch on the PATH"), pool(1, "slurm"):
        pass
