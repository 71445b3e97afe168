"""A comparison in shards: each worker scores some samples of a row, and the row is put together from them.

The result is that of one process, bit for bit: a sample's figures hang on no other sample, predictions are joined in
the order of the samples, and spikes are whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.evaluation import models
from cotrain.pipeline.evaluation.tally import Tally

if TYPE_CHECKING:
    from cotrain.pipeline.experiment import Experiment
    from cotrain.pipeline.networks.spec import NetworkSpec, Params

SAMPLES = 64  # of a shard at least: a model is built anew for each
SHARDS = 4  # a worker and row, so that the last one does not keep the others waiting

_POOL: ContextVar[tuple[Any, int] | None] = ContextVar("pool", default=None)


@contextmanager
def spread(pool: Any, workers: int) -> Iterator[None]:
    """Score in here on the workers of `pool` (`pipeline.sweeps.workers.Pool`), about `workers` of them."""
    token = _POOL.set((pool, workers))
    try:
        yield
    finally:
        _POOL.reset(token)


def active() -> bool:
    """Whether `spread` holds."""
    return _POOL.get() is not None


def run(
    experiment: Experiment, spec: NetworkSpec, params: Params, model: str, tallies: list[Tally], progress: Any
) -> dict[str, Any]:
    """Fill fresh `tallies` of a row; return what else the row tells ("overflows", "input_spikes_max", ...)."""
    lent = _POOL.get()
    assert lent, "asked for inside `spread`"
    pool, workers = lent
    tasks, places = [], []
    for k, tally in enumerate(tallies):
        n = len(tally.dataset)
        size = max(SAMPLES, -(-n // (workers * SHARDS)))
        for first in range(0, n, size):
            indices = np.arange(first, min(first + size, n))
            tasks.append({
                "experiment": experiment, "spec": spec, "params": params, "model": model,
                "dataset": tally.dataset.select(indices), "n_steps": tally.n_steps,
            })  # fmt: skip
            places.append((k, first))
    states: list[dict[int, dict[str, np.ndarray]]] = [{} for _ in tallies]
    extras = []
    for i, found in pool.map(score, tasks):
        if isinstance(found, Exception):
            raise found
        state, extra = found
        k, first = places[i]
        states[k][first] = state
        extras.append(extra)
        progress.advance(len(state["final"]))
    for tally, parts in zip(tallies, states, strict=True):
        tally.restore(joined([parts[first] for first in sorted(parts)]))
    return _together(extras)


def of_sets(function: Callable[..., Any], task: dict[str, Any], sets: list[Dataset]) -> list[Any] | None:
    """What `function` returns for every shard of `sets`, which are views of the same samples, in the samples' order.

    None where `spread` does not hold. `function` gets `task` and, as "sets", the shard of each set; it has to be one
    that a worker can import.
    """
    pool, workers = _POOL.get() or (None, 1)
    if pool is None:
        return None
    n = len(sets[0])
    size = max(SAMPLES, -(-n // (workers * SHARDS)))
    parts = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
    tasks = [{**task, "sets": [dataset.select(indices) for dataset in sets]} for indices in parts]
    found: list[Any] = [None] * len(tasks)
    for i, result in pool.map(function, tasks):
        if isinstance(result, Exception):
            raise result
        found[i] = result
    return found


def score(task: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Score one shard. Runs in a worker."""
    tally = Tally(task["experiment"], task["spec"], task["dataset"], task["n_steps"])
    with models.open_model(task["experiment"], task["spec"], task["params"], task["model"]) as opened:
        for batch in opened.run(task["dataset"].images):
            tally.add(batch)
        return tally.state(), opened.extra


def joined(states: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One `Tally.state` of those of consecutive samples."""
    rows = [key for key in states[0] if key == "final" or key.startswith("curve/")]
    out = {key: np.concatenate([state[key] for state in states]) for key in rows}
    for key in states[0]:
        if key not in out:
            out[key] = np.sum([state[key] for state in states], axis=0, dtype=states[0][key].dtype)
    return out


def _together(extras: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for extra in extras:
        for layer, count in extra.get("overflows", {}).items():
            out.setdefault("overflows", {})[layer] = out.get("overflows", {}).get(layer, 0) + count
        most = extra.get("input_spikes_max")
        if "input_spikes_max" in extra:
            before = out.get("input_spikes_max")
            out["input_spikes_max"] = most if before is None else max(before, most)
        if "overflows" in extra:
            out.setdefault("overflows", {})
        if "checked_samples" in extra:
            out["checked_samples"] = max(out.get("checked_samples", 0), extra["checked_samples"])
    return {key: out[key] for key in ("overflows", "input_spikes_max", "checked_samples") if key in out}
