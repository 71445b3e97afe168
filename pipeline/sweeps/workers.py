"""Who runs the trials: this process, processes of this machine, or those of a Dask or SLURM cluster."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError, MissingError, UnsupportedError
from cotrain.pipeline.sweeps.versions import differing, versions

WAIT_S = 15  # for a scheduler to answer
WAIT_FOR_WORKERS_S = 600  # a queue may be long
LOOK_EVERY_S = 15  # whether there is a worker left
DEATHS = 2  # of workers under a task, before it is given up
WORKERS_A_CORE = 8  # of this machine, at most
JOBS_MOST = 10_000
IN_FLIGHT = 4  # tasks a worker that are handed out at once

THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)  # fmt: skip

Result = tuple[int, Any]  # index of the task, what came of it or the exception


class Pool:
    """Runs a function on tasks; `map` gives results as they come."""

    n_workers = 1

    def map(self, function: Callable[[dict], Any], tasks: list[dict]) -> Iterator[Result]:
        """Of each task its index and what `function` returned, or the exception that it ended with."""
        for i, task in enumerate(tasks):
            try:
                yield i, function(task)
            except Exception as error:
                yield i, error


class DaskPool(Pool):
    """The same on Dask's workers, which stay warm."""

    def __init__(self, client: Any, address: str, threads: int, say: Callable[[str], None] = terminal.say):
        self.client, self.address, self.threads, self.say = client, address, threads, say
        self.n_workers = max(len(client.nthreads()), 1)

    def map(self, function: Callable[[dict], Any], tasks: list[dict]) -> Iterator[Result]:
        """As `Pool.map`.

        Raises
        ------
        MissingError
            The scheduler is gone.
        UnsupportedError
            A worker that came later has other versions than this process.
        """
        terms = {"versions": versions(), "threads": self.threads}
        left = list(enumerate(tasks))[::-1]
        waiting: dict[Any, Any] = {}
        try:
            while left or waiting:
                while left and len(waiting) < max(IN_FLIGHT * self.n_workers, 16):
                    i, task = left.pop()
                    waiting[self.client.submit(on_worker, function, task, terms, pure=False)] = i
                for future in self._some(list(waiting)):
                    yield waiting.pop(future), _outcome(future)
                    future.release()
        except CancelledError:  # what Dask says where the scheduler went away
            raise MissingError(
                f"the scheduler at {self.address} is gone; what is done is kept: start `dask scheduler` and its "
                "workers again, then the same command"
            ) from None
        finally:
            with suppress(Exception):
                self.client.cancel(list(waiting))

    def _some(self, futures: list) -> list:
        """Those that are done, one at least; says so while there is nobody to do them."""
        from distributed import wait

        while True:
            try:
                return sorted(wait(futures, timeout=LOOK_EVERY_S, return_when="FIRST_COMPLETED").done, key=id)
            except TimeoutError:
                with suppress(Exception):
                    n = len(self.client.nthreads())
                    if n == 0 and self.n_workers:
                        self.say(f"  no worker is left at {self.address}; waiting for one (`dask worker ADDRESS`)")
                    self.n_workers = n


_ALONE = threading.Lock()  # TensorFlow's state is one a process, whatever threads a worker has
_threads_begun = 0


def on_worker(function: Callable[[dict], Any], task: dict, terms: dict[str, Any]) -> Any:
    """``function(task)`` in a worker whose versions and threads are those of the driver.

    Raises
    ------
    UnsupportedError
        They are not.
    """
    with _ALONE:
        name = differing(terms["versions"], versions())
        if name:
            raise UnsupportedError(_other_version(f"process {os.getpid()} on {os.uname().nodename}", name, terms))
        _limit_threads(terms["threads"])
        return function(task)


def _limit_threads(n: int) -> None:
    """Have this process use `n` threads: sums of floats depend on how they are cut into threads."""
    global _threads_begun
    if _threads_begun and _threads_begun != n and "tensorflow" in sys.modules:
        raise UnsupportedError(f"a worker has begun with {_threads_begun} threads, asked for are {n}; start it anew")
    _threads_begun = n
    os.environ.update({name: str(n) for name in THREADS})  # read when TensorFlow starts


def _outcome(future) -> Any:
    """What a task returned, or the exception that it, or the sending of its result, ended with."""
    try:
        return future.result()
    except CancelledError:
        raise
    except Exception as error:
        return _named(error)


def _named(error: Exception) -> Exception:
    """A scheduler or worker that has not this package says so by failing to load what it is sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and str(cause.name).startswith("cotrain"):
            return UnsupportedError(
                f"the scheduler or a worker has no loihi-cotrain ({cause}); install what is here, with the lock"
            )
        cause = cause.__cause__
    return error


@contextmanager
def pool(
    workers: int = 1,
    cluster: str = "",
    threads: int = 1,
    slurm: dict[str, Any] | None = None,
    logs: Path | None = None,
    say: Callable[[str], None] = terminal.say,
) -> Iterator[Pool]:
    """The workers that are asked for.

    Parameters
    ----------
    workers : int
        Processes of this machine; with cluster "slurm" jobs. 1 without a cluster is this process.
    cluster : str
        "", "tcp://HOST:PORT" of a Dask scheduler, or "slurm".
    threads : int
        That each may use, in this process too.
    slurm : dict, optional
        Arguments of dask_jobqueue.SLURMCluster: queue, cores, memory, walltime, ...
    logs : Path, optional
        Folder of what SLURM's jobs print.

    Raises
    ------
    InputError
        The scheduler does not answer or has no workers, more workers than make sense, settings that SLURM refuses.
    UnsupportedError
        Other versions there than here.
    MissingError
        Dask or SLURM is not installed.
    """
    check(workers, cluster)
    if not cluster and workers == 1:
        os.environ.update({name: str(threads) for name in THREADS})
        yield Pool()
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise MissingError("workers need Dask: run `make setup`, or pip install 'loihi-cotrain[sweep]'") from None
    dask.config.set({"distributed.logging.distributed": "critical", "distributed.admin.log-length": 0,
                     "distributed.scheduler.allowed-failures": DEATHS,
                     # a worker is silent while TensorFlow compiles
                     "distributed.comm.timeouts.tcp": "300s"})  # fmt: skip
    limits = {name: str(threads) for name in THREADS}
    if cluster == "slurm":
        from cotrain.pipeline.sweeps.slurm import start

        made = start(slurm or {}, workers, limits, logs)
    elif cluster:
        made = None
    else:
        made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
                            host="127.0.0.1", env=limits, silence_logs="CRITICAL")  # fmt: skip
    where = cluster or "here"
    try:
        client = _client(Client, made if made is not None else cluster, where)
        try:
            _wait_for_one(client, where, WAIT_FOR_WORKERS_S if cluster == "slurm" else 4 * WAIT_S)
            _same_versions(client, where)
            yield DaskPool(client, client.scheduler.address, threads, say)
        finally:
            with suppress(Exception):
                client.close()
    finally:
        # What is done is done: on a busy machine Dask gives a worker seconds to end, kills it, and raises.
        with suppress(Exception):
            if made is not None:
                made.close()


def check(workers: int, cluster: str) -> None:
    """Refuse what cannot be meant, before anything is started.

    Raises
    ------
    InputError
    """
    cores = os.cpu_count() or 1
    most = JOBS_MOST if cluster else WORKERS_A_CORE * cores
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected 1 or more")
    if workers > most:
        why = "" if cluster else f": this machine has {cores} cores"
        raise InputError(f"--workers is {workers:,}; expected at most {most:,}{why}")
    if cluster and cluster != "slurm" and not cluster.startswith(("tcp://", "tls://")):
        raise InputError(f"--cluster is {cluster!r}; expected tcp://HOST:PORT of a Dask scheduler, or slurm")


def _client(kind, where, name: str):
    try:
        return kind(where, timeout=WAIT_S)
    except Exception as error:  # of many classes, with every kind of address that is none
        reason = " ".join(str(error).split())
        raise InputError(
            f"--cluster {name}: no scheduler answers in {WAIT_S} s ({reason}); start one with `dask scheduler`"
        ) from None


def _wait_for_one(client, where: str, seconds: float) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        advice = "see `squeue`, and what its jobs print" if where == "slurm" else "start one with `dask worker ADDRESS`"
        raise InputError(f"--cluster {where}: the scheduler has no worker after {seconds:g} s; {advice}") from None


def _same_versions(client, where: str) -> None:
    ours = versions()
    try:
        theirs = client.run(versions)
    except Exception as error:
        raise UnsupportedError(
            f"--cluster {where}: a worker cannot run this package ({' '.join(str(error).split())}); install "
            f"loihi-cotrain {ours.get('loihi-cotrain')} there, with the lock file"
        ) from None
    for worker, found in theirs.items():
        name = differing(ours, found)
        if name:
            raise UnsupportedError(f"--cluster {where}: {_other_version(worker, name, {'versions': ours}, found)}")


def _other_version(worker: str, name: str, terms: dict[str, Any], found: dict[str, str] | None = None) -> str:
    found = versions() if found is None else found
    if name == "source":
        what = "other source code of loihi-cotrain than is here"
    else:
        what = f"{name} {found.get(name, 'not installed')}, here it is {terms['versions'].get(name, 'not installed')}"
    return f"worker {worker} has {what}; results would differ: install what is here, with the lock file, there too"
