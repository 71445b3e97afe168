"""A SLURM queue's jobs as workers, through dask-jobqueue."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cotrain.hardware import files
from cotrain.hardware.errors import InputError, MissingError

SUBMIT_S = 120  # for the first sbatch to answer
STANDARD = {"cores": 1, "processes": 1, "memory": "4GB"}  # of a job, where neither the sweep's file nor Dask's has them


def start(settings: dict[str, Any], jobs: int, variables: dict[str, str], logs: Path | None) -> Any:
    """Submit `jobs` jobs and return the cluster (dask_jobqueue.SLURMCluster) whose workers they are.

    Parameters
    ----------
    settings : dict
        Arguments of SLURMCluster; what is not there comes from Dask's own configuration, then from `STANDARD`.
    variables : dict
        Of every job's environment.
    logs : Path, optional
        Where the jobs' output goes.

    Raises
    ------
    MissingError
        dask-jobqueue or SLURM is not installed.
    InputError
        A setting that SLURM or dask-jobqueue refuses.
    """
    try:
        import dask
        from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    except ModuleNotFoundError:
        raise MissingError("SLURM needs dask-jobqueue: pip install 'loihi-cotrain[sweep]'") from None
    if not shutil.which("sbatch"):
        raise MissingError("--cluster slurm: there is no sbatch on the PATH; run this where SLURM's commands are")
    own: dict[str, Any] = {
        key: value for key, value in STANDARD.items() if dask.config.get(f"jobqueue.slurm.{key}", None) is None
    }
    own["scheduler_options"] = {"dashboard_address": "127.0.0.1:0"}  # a port that nobody else has
    values = {**own, **({"log_directory": str(logs)} if logs else {}), **settings}
    exports = [f"export {name}={value}" for name, value in variables.items()]
    outcomes: list[Exception | None] = []  # of each sbatch

    class Job(SLURMJob):
        async def _submit_job(self, script: str) -> str:
            try:
                said = await super()._submit_job(script)
            except Exception as error:
                outcomes.append(error)
                raise
            outcomes.append(None)
            return said

    class Cluster(SLURMCluster):
        job_cls = Job

    for name in ("tornado.application", "asyncio", "dask_jobqueue"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they would say is said below, in one line
    made = None
    try:
        prologue = [*exports, *values.pop("job_script_prologue", [])]
        made = Cluster(job_script_prologue=prologue, **values)
        made.scale(jobs=jobs)
        deadline = time.monotonic() + SUBMIT_S
        while not outcomes and time.monotonic() < deadline:
            time.sleep(0.1)
        if not outcomes:
            raise TimeoutError(f"sbatch has not answered in {SUBMIT_S} s")
        if outcomes[0] is not None:
            raise outcomes[0]
    except Exception as error:  # dask-jobqueue and sbatch refuse with many classes
        if made is not None:
            with suppress(Exception):  # Dask's close asserts that every job was begun
                made.close()
        raise InputError(f"[slurm]: {_reason(error)}; the keys are those of dask_jobqueue.SLURMCluster") from None
    return made


def _reason(error: Exception) -> str:
    """One line of what dask-jobqueue says; of a command that failed, what it printed itself."""
    text = str(error)
    if "stderr:" in text:
        said = text.partition("stderr:")[2].split() or text.partition("stdout:")[2].split()
        return f"sbatch refused: {' '.join(said)}"
    return files.one_line(ValueError(text.partition(". Very likely")[0]))
