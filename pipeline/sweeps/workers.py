"""Who runs the trials: this process, processes of this machine, or those of a Dask or SLURM cluster."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cotrain.hardware.errors import InputError, MissingError, UnsupportedError

WAIT_S = 15  # for a scheduler to answer
WAIT_FOR_WORKERS_S = 600  # a queue may be long
RETRIES = 2  # of a task whose worker died

Result = tuple[int, Any]  # index of the task, what came of it or the exception


class Pool:
    """Runs a function on tasks; `map` gives results as they come."""

    def map(self, function: Callable[[dict], Any], tasks: list[dict]) -> Iterator[Result]:
        """Of each task its index and what `function` returned, or the exception that it ended with."""
        for i, task in enumerate(tasks):
            try:
                yield i, function(task)
            except Exception as error:
                yield i, error


class DaskPool(Pool):
    """The same on Dask's workers, which stay warm."""

    def __init__(self, client: Any):
        self.client = client

    def map(self, function: Callable[[dict], Any], tasks: list[dict]) -> Iterator[Result]:
        from distributed import as_completed

        futures = {self.client.submit(function, task, pure=False, retries=RETRIES): i for i, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                error = future.exception()
                yield futures[future], error if error is not None else future.result()
                future.release()
        finally:
            self.client.cancel(list(futures))


@contextmanager
def pool(workers: int = 1, cluster: str = "", threads: int = 1, slurm: dict[str, Any] | None = None) -> Iterator[Pool]:
    """The workers that are asked for.

    Parameters
    ----------
    workers : int
        Processes of this machine; with cluster "slurm" jobs. 1 without a cluster is this process.
    cluster : str
        "", "tcp://HOST:PORT" of a Dask scheduler, or "slurm".
    threads : int
        That each may use, in this process too: sums of floats depend on how they are cut into threads.
    slurm : dict, optional
        Arguments of dask_jobqueue.SLURMCluster: queue, cores, memory, walltime, ...

    Raises
    ------
    InputError
        The scheduler does not answer.
    UnsupportedError
        Other versions there than here.
    MissingError
        Dask is not installed.
    """
    limits = {name: str(threads) for name in (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    )}  # fmt: skip
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected 1 or more")
    if not cluster and workers == 1:
        os.environ.update(limits)
        yield Pool()
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise MissingError("workers need Dask: run `make setup`, or pip install 'loihi-cotrain[sweep]'") from None
    dask.config.set({"distributed.logging.distributed": "error", "distributed.admin.log-length": 0,
                     "distributed.scheduler.allowed-failures": RETRIES,
                     # a worker is silent while TensorFlow compiles
                     "distributed.comm.timeouts.tcp": "300s"})  # fmt: skip
    if cluster == "slurm":
        made = _slurm(slurm or {}, workers, limits)
    elif cluster:
        made = None
        if not cluster.startswith(("tcp://", "tls://")):
            raise InputError(f"--cluster is {cluster!r}; expected tcp://HOST:PORT of a Dask scheduler, or slurm")
    else:
        made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
                            host="127.0.0.1", env=limits, silence_logs="CRITICAL")  # fmt: skip
    try:
        try:
            client = Client(made if made is not None else cluster, timeout=WAIT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"--cluster {cluster}: no scheduler answers in {WAIT_S} s ({error}); start one with `dask scheduler`"
            ) from None
        try:
            try:
                client.wait_for_workers(1, timeout=WAIT_FOR_WORKERS_S if cluster == "slurm" else 4 * WAIT_S)
            except TimeoutError:
                raise InputError(
                    f"--cluster {cluster or 'here'}: the scheduler has no worker; start one with `dask worker ADDRESS`"
                ) from None
            _same_versions(client, cluster)
            yield DaskPool(client)
        finally:
            client.close()
    finally:
        if made is not None:
            made.close()


def _slurm(settings: dict[str, Any], workers: int, limits: dict[str, str]):
    try:
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError:
        raise MissingError("SLURM needs dask-jobqueue: pip install 'loihi-cotrain[sweep]'") from None
    values = {"cores": 1, "processes": 1, "memory": "4GB", **settings}
    exports = [f"export {name}={value}" for name, value in limits.items()]
    try:
        made = SLURMCluster(
            job_script_prologue=[*exports, *values.pop("job_script_prologue", [])], log_directory="slurm-logs", **values
        )
        made.scale(jobs=workers)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise InputError(f"[slurm]: {error}; the keys are those of dask_jobqueue.SLURMCluster") from None
    return made


def versions() -> dict[str, str]:
    """What results depend on, of the process that runs this."""
    from cotrain.pipeline.runs import record

    return {"python": platform.python_version(), **record.versions()}


def _same_versions(client, cluster: str) -> None:
    ours = versions()
    try:
        theirs = client.run(versions)
    except Exception as error:
        raise UnsupportedError(
            f"--cluster {cluster}: a worker cannot run this package ({error}); install loihi-cotrain "
            f"{ours.get('loihi-cotrain')} there, with the lock file"
        ) from None
    for worker, found in theirs.items():
        for name, version in ours.items():
            if found.get(name) != version:
                raise UnsupportedError(
                    f"--cluster: worker {worker} has {name} {found.get(name, 'not installed')}, here it is {version}; "
                    "results would differ: install the versions of the lock file there"
                )
