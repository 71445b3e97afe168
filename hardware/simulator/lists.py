"""Spikes that enter the chip, as lists: (start, lines), those of a step being ``lines[start[t] : start[t + 1]]``."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

Lists = Tuple[np.ndarray, np.ndarray]
NOTHING = np.zeros(0, dtype=np.int32)


def in_a_row(lists: Sequence[np.ndarray], n_steps: int) -> Lists:
    """(start, lines) from the lines of each step, as `schedule.Spikes.lines`; none in steps that are not there."""
    start = np.zeros(n_steps + 1, dtype=np.int64)
    start[1 : len(lists) + 1] = np.cumsum([len(one) for one in lists])
    start[len(lists) + 1 :] = start[len(lists)]
    return start, np.concatenate([NOTHING, *lists])


def now(lists: Sequence[np.ndarray]) -> Lists:
    """`kernels.run_sample`'s lists for one step."""
    ends = np.cumsum([0] + [len(lines) for lines in lists])
    return np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64), np.concatenate([NOTHING, *lists])


def one_later(sent: Sequence[Lists], n_steps: int) -> Lists:
    """`kernels.run_sample`'s lists: what was sent in one step arrives in the next one."""
    start = np.zeros((len(sent), n_steps + 1), dtype=np.int64)
    total = 0
    for k, (sent_start, lines) in enumerate(sent):
        start[k, 0] = total
        start[k, 1:] = total + sent_start[:-1]
        total += len(lines)
    return start, sent[0][1] if len(sent) == 1 else np.concatenate([NOTHING, *(lines for _, lines in sent)])


def joined(samples: Sequence[Lists]) -> Lists:
    """Those of samples as `kernels.run_samples` takes them: start (n_samples, ...), and the lines of all."""
    first = np.cumsum([0] + [len(lines) for _, lines in samples])
    return np.stack([start + at for (start, _), at in zip(samples, first)]), np.concatenate([x for _, x in samples])
