"""Which values a trial tries: Optuna asks from the trials of the batches before."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

from cotrain.hardware.errors import MissingError
from cotrain.pipeline.sweeps.plan import Plan, Range, grid_order, grid_point

COMPLETE, PRUNED, FAILED, MISFIT = STATES = ("complete", "pruned", "failed", "misfit")

ASKED_AGAIN = 10  # times, for values that no trial has had


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises
    ------
    MissingError
        It is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingError("sweeps need Optuna: run `make setup`, or pip install 'loihi-cotrain[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def choose(plan: Plan, numbers: range, table: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What the trials of a batch try, and what the sampler has to know of them later.

    A function of the plan and of the trials with smaller numbers alone: an interrupted sweep chooses again what it had
    chosen.

    Parameters
    ----------
    table : dict
        Finished trials by number; all of the batches before.

    Returns
    -------
    dict of {int: {"params": dict, "sampler": dict}}
    """
    if plan.sampler == "grid":
        order = grid_order(plan)
        return {n: {"params": grid_point(plan.space, order[n]), "sampler": {}} for n in numbers}
    before = [table[n] for n in sorted(table) if n < numbers.start]
    study = study_of(plan, before, seed=_seed(plan, numbers.start))
    chosen, tried = {}, [trial["params"] for trial in before]
    for n in numbers:
        for _ in range(ASKED_AGAIN):
            trial = study.ask()
            params = {key: _suggest(trial, key, choices) for key, choices in plan.space.items()}
            if params not in tried:
                break
        tried.append(params)
        chosen[n] = {"params": params, "sampler": dict(study._storage.get_trial_system_attrs(trial._trial_id))}
    return chosen


def study_of(plan: Plan, trials: list[dict[str, Any]], seed: int = 0, storage: Any = None) -> Any:
    """An Optuna study that holds `trials`."""
    optuna = import_optuna()
    study = optuna.create_study(
        storage=storage, study_name=plan.name, sampler=_sampler(optuna, plan, seed),
        directions=[objective.direction for objective in plan.objectives],
    )  # fmt: skip
    distributions = {key: _distribution(optuna, choices) for key, choices in plan.space.items()}
    for trial in trials:
        complete = trial["state"] == COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.FAIL,
                params={key: _inner(plan.space[key], value) for key, value in trial["params"].items()},
                distributions=distributions,
                values=[trial["values"][o.name] for o in plan.objectives] if complete else None,
                system_attrs=trial.get("sampler") or {},
                user_attrs={"number": trial["number"], "state": trial["state"]},
            )
        )
    return study


def _sampler(optuna, plan: Plan, seed: int):
    if plan.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=max(plan.batch, 2), seed=seed)
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=max(plan.batch, 2 * len(plan.space))
        )
    return optuna.samplers.RandomSampler(seed=seed)


def _seed(plan: Plan, first: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{plan.seed} {first}".encode()).digest()[:4], "big")


def _distribution(optuna, choices: list | Range):
    d = optuna.distributions
    if isinstance(choices, list):
        return d.CategoricalDistribution([json.dumps(v) for v in choices])  # lists are no categories of Optuna's
    if choices.whole:
        return d.IntDistribution(int(choices.low), int(choices.high), log=choices.log, step=int(choices.step or 1))
    return d.FloatDistribution(choices.low, choices.high, log=choices.log, step=choices.step)


def _inner(choices: list | Range, value: Any) -> Any:
    return json.dumps(value) if isinstance(choices, list) else value


def _suggest(trial, key: str, choices: list | Range) -> Any:
    if isinstance(choices, list):
        return json.loads(trial.suggest_categorical(key, [json.dumps(v) for v in choices]))
    if choices.whole:
        low, high, step = int(choices.low), int(choices.high), int(choices.step or 1)
        return trial.suggest_int(key, low, high, log=choices.log, step=step)
    return trial.suggest_float(key, choices.low, choices.high, log=choices.log, step=choices.step)


def pareto(plan: Plan, trials: list[dict[str, Any]]) -> list[int]:
    """Numbers of the complete trials that no other one beats or equals in everything and beats in something."""
    signs = [1 if o.direction == "maximize" else -1 for o in plan.objectives]
    points = {
        t["number"]: [sign * t["values"][o.name] for sign, o in zip(signs, plan.objectives, strict=True)]
        for t in trials
        if t["state"] == COMPLETE
    }
    return [
        n for n, mine in points.items()
        if not any(all(b >= a for a, b in zip(mine, other, strict=True)) and other != mine for other in points.values())
    ]  # fmt: skip


def thresholds(plan: Plan, before: list[dict[str, Any]]) -> list[float | None]:
    """By epoch, the validation metric below which a training is given up: the median of the best so far of the complete
    trials of earlier batches (the median rule; Golovin et al., "Google Vizier", KDD 2017, section 3.2.2).

    None where fewer than five trials have come so far: no training is given up there.
    """
    if not plan.prune:
        return []
    curves = [t["curve"] for t in before if t["state"] == COMPLETE and t.get("curve")]
    limits: list[float | None] = []
    for epoch in range(max(map(len, curves), default=0)):
        best = sorted(max(curve[: epoch + 1]) for curve in curves if len(curve) > epoch)
        limits.append(best[(len(best) - 1) // 2] if len(best) >= 5 and epoch >= 3 else None)
    return limits
