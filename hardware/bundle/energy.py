"""Energy measured on the board: a protocol that says what it cannot resolve.

Each of several runs of the network is framed by the same board at rest, before and after, and its dynamic power is the
difference to the mean of the two: rest drifts. A difference whose interval of confidence reaches 0 is no measurement,
and is reported as the number of samples that would make it one. Why: public runs of one network by one method gave 6.1,
3.5, 2.8, 0.5 and -2.3 mW (forum.nengo.ai, thread 1521), each from a fraction of a second; and the choice of rest alone
moved another network's figure by a factor of 3 to 7 (Applied Brain Research: before or after the x86 cores first woke
up), so the board has always run before it rests here.

x86 and cores are told apart by NxSDK (`board.energyTimeMonitor.powerProfileStats.power`): "dynamic" holds both,
"core" the cores' share.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

REPEATS = 5
CONFIDENCE = 0.95
RESOLVED = 3.0  # a mean that is this many of its own standard errors is asked for when it says how many samples to run
MOST_SAMPLES = 1_000_000  # more than that is no advice


@dataclass(frozen=True)
class Run:
    """What the probe said of one run of the network; watts, seconds, joules. None where NxSDK did not say."""

    power_w: float
    time_s: float
    energy_j: float
    static_w: Optional[float] = None
    dynamic_w: Optional[float] = None  # cores and x86
    cores_w: Optional[float] = None
    phases_s: Dict[str, float] = field(default_factory=dict)  # of the time: spiking, management, host, as NxSDK says

    @property
    def x86_w(self) -> Optional[float]:
        return None if self.dynamic_w is None or self.cores_w is None else self.dynamic_w - self.cores_w


def summary(runs: Sequence[Run], rests: Sequence[Run], samples_per_run: float) -> Dict[str, Any]:
    """What the runs say.

    Parameters
    ----------
    runs : sequence of Run
        Of the network, two or more.
    rests : sequence of Run
        Of the board at rest: one before each run, and one after the last.
    samples_per_run : float
        Presentations that a run holds.

    Returns
    -------
    dict
        For each of "dynamic" (over rest), "cores" and "x86": mean, standard deviation and interval of the power, and
        the energy of a presentation; or {"not_measurable": why and what to do}. The time of a presentation, and its
        phases: where the estimate's barrier and host input can be held against.
    """
    if len(runs) < 2 or len(rests) != len(runs) + 1:
        raise ValueError(
            f"{len(runs)} runs and {len(rests)} rests; expected two runs or more, and one rest more than runs"
        )
    seconds = [run.time_s / samples_per_run for run in runs]
    framed = [(before.power_w + after.power_w) / 2 for before, after in zip(rests, rests[1:])]
    over_rest = [run.power_w - rest for run, rest in zip(runs, framed)]
    found: Dict[str, Any] = {
        "samples_per_run": samples_per_run,
        "seconds_per_inference": spread(seconds),
        "rest_w": spread([rest.power_w for rest in rests]),
        "total_energy_per_inference_j": spread([run.energy_j / samples_per_run for run in runs]),
        "dynamic": difference(over_rest, seconds, samples_per_run),
        "phases_s_per_inference": {
            phase: spread([run.phases_s[phase] / samples_per_run for run in runs])
            for phase in runs[0].phases_s
            if all(phase in run.phases_s for run in runs)
        },
    }
    for name, said in (("cores", [run.cores_w for run in runs]), ("x86", [run.x86_w for run in runs])):
        values = [value for value in said if value is not None]
        if len(values) < len(runs):
            found[name] = {"not_measurable": "this NxSDK does not tell cores and x86 apart"}
        else:
            found[name] = difference(values, seconds, samples_per_run)
    found["runs"] = [
        {**asdict(run), "x86_w": run.x86_w, "rest_before_w": before.power_w, "rest_after_w": after.power_w}
        for run, before, after in zip(runs, rests, rests[1:])
    ]
    return found


def difference(watts: Sequence[float], seconds: Sequence[float], samples_per_run: float) -> Dict[str, Any]:
    """A power that is a difference of two larger ones: its spread, or why it is none.

    Parameters
    ----------
    watts : sequence of float
        One a run.
    seconds : sequence of float
        Of a presentation in each run.
    samples_per_run : float
    """
    found = spread(watts)
    low, high = found["ci95"]
    if low <= 0:
        n = samples_needed(found, samples_per_run * len(watts))
        advice = (
            f"run {n:,} samples" if n is not None else "the board drifts: wait until it is warm, then measure again"
        )
        return {
            "not_measurable": f"not measurable at this size: {advice}",
            "samples_needed": n,
            "seen_w": found,
        }
    return {"power_w": found, "energy_per_inference_j": spread([w * s for w, s in zip(watts, seconds)])}


def samples_needed(found: Dict[str, Any], samples: float) -> Optional[int]:
    """Samples after which the noise, which falls with the square root of the time, would be a third of the power.

    The power is the mean, or half of the upper end of its interval where the mean is smaller than that: the least that
    is worth looking for. None where even that is not above 0, or the number is absurd.
    """
    power = max(found["mean"], found["ci95"][1] / 2)
    if power <= 0:
        return None
    n = samples * (RESOLVED * found["standard_error"] / power) ** 2
    n = max(n, 2 * samples)  # what was run did not suffice
    if n > MOST_SAMPLES:
        return None
    digits = 10 ** max(0, math.floor(math.log10(n)) - 1)  # two of them: it is a guess
    return int(math.ceil(n / digits) * digits)


def spread(values: Sequence[float]) -> Dict[str, Any]:
    """Mean, standard deviation, standard error and 95 % interval (Student's t) of two values or more."""
    from scipy.stats import t

    found = np.asarray(values, dtype=float)
    mean, deviation = float(found.mean()), float(found.std(ddof=1))
    error = deviation / math.sqrt(found.size)
    half = float(t.ppf((1 + CONFIDENCE) / 2, found.size - 1)) * error
    return {
        "mean": mean,
        "sd": deviation,
        "standard_error": error,
        "ci95": [mean - half, mean + half],
        "n": int(found.size),
    }


def measure(board: Any, n_steps: int, repeats: int, idle_s: float) -> Dict[str, Any]:
    """Measure on a `hardware.bundle.board.BoardTarget`: rest, run, rest, run, ..., rest.

    Returns
    -------
    dict
        `summary`, and the protocol.
    """
    runs: List[Run] = []
    rests: List[Run] = [board.rest(idle_s)]
    for _ in range(repeats):
        runs.append(board.hold(n_steps))
        rests.append(board.rest(idle_s))
    return {
        "protocol": {
            "repeats": repeats,
            "n_steps_per_run": n_steps,
            "rest_s": idle_s,
            "rest": "a network on as many chips that does nothing, before and after each run; the board ran before",
            "run": "sample 0, held for all steps of the run under NxSDK's energy probe; no reset between presentations",
            "dynamic": "mean power of a run less the mean of the rest before and after it",
            "cores, x86": "NxSDK's own split of the dynamic power, over static power",
            "chips": len(board.chips),
        },
        **summary(runs, rests, n_steps / board.folder.n_steps),
    }


def sentence(found: Dict[str, Any]) -> str:
    """A measurement in words, whatever a results folder holds."""
    if not isinstance(found, dict) or "skipped" in found:
        why = found.get("skipped") if isinstance(found, dict) else "nothing that can be read was written"
        return f"Energy was not measured: {why}."
    said = []
    for key, name in (("dynamic", "over rest"), ("cores", "cores"), ("x86", "x86")):
        part = found.get(key)
        if not isinstance(part, dict):
            continue
        joules: Any = part.get("energy_per_inference_j")
        try:
            said.append(f"{name} {joules['mean'] * 1e6:.4g} +- {joules['sd'] * 1e6:.2g} uJ")
        except (TypeError, KeyError):
            said.append(f"{name}: {part.get('not_measurable', 'not readable')}")
    runs = found.get("runs")
    count = len(runs) if isinstance(runs, list) else 0
    return f"Energy of an inference, measured in {count} runs: {'; '.join(said)}."
