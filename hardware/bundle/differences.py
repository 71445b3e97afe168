"""Compare what a target gave with what was expected: layer by layer, then the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import numpy as np
from cotrain.hardware.bundle.folder import Record
from cotrain.hardware.terminal import plural


@dataclass
class LayerTotal:
    """Spikes of one layer over all samples in which they were counted."""

    name: str
    samples: int = 0
    spikes: int = 0
    expected: int = 0
    neurons_different: int = 0  # summed over samples


@dataclass
class Differences:
    """Collects the samples of a run.

    Attributes
    ----------
    first : str or None
        Where the first difference is: sample, then the shallowest layer, then the output.
    """

    layers: List[str]
    names: List[str]
    totals: Dict[str, LayerTotal] = field(default_factory=dict)
    samples: int = 0
    samples_different: int = 0
    output_difference_max: float = 0.0
    first: Optional[str] = None

    def __post_init__(self):
        self.totals = {name: LayerTotal(name) for name in self.layers}

    def add(self, index: int, expected: Record, found: Record) -> None:
        """Compare the records of sample `index`. A layer that was not counted is left out."""
        differences = [self._layer(name, expected, found) for name in self.layers]
        differences.append(self._output(expected, found))
        told = [text for text in differences if text]
        self.samples += 1
        if told:
            self.samples_different += 1
            if self.first is None:
                self.first = f"sample {index} ({self.names[index]}), {told[0]}"

    def _layer(self, name: str, expected: Record, found: Record) -> Optional[str]:
        key = f"spikes/{name}"
        if key not in found:
            return None
        want, got = expected[key].astype(np.int64), found[key].astype(np.int64)
        if want.shape != got.shape:
            return f"layer {name}: {got.size} neurons, expected {want.size}"
        total = self.totals[name]
        total.samples += 1
        total.spikes += int(got.sum())
        total.expected += int(want.sum())
        wrong = np.flatnonzero(want != got)
        total.neurons_different += len(wrong)
        if not len(wrong):
            return None
        at = wrong[0]
        return (
            f"layer {name}: neuron {at} spiked {got[at]} times, expected {want[at]} "
            f"({len(wrong)} of {want.size} neurons differ)"
        )

    def _output(self, expected: Record, found: Record) -> Optional[str]:
        want, got = expected["output"], found["output"]
        if want.shape != got.shape or expected["output_steps"].shape != found["output_steps"].shape:
            return f"output: {got.size} values in {len(found['output_steps'])} steps, expected {want.size} in " + str(
                len(expected["output_steps"])
            )
        difference = float(np.abs(want - got).max(initial=0.0))
        self.output_difference_max = max(self.output_difference_max, difference)
        wrong = np.flatnonzero(expected["output_steps"] != found["output_steps"])
        if not len(wrong) and want.tobytes() == got.tobytes():
            return None
        since = f"step {wrong[0] + 1}" if len(wrong) else "the mean"
        return f"output: differs from {since} on; largest difference of the mean {difference:.3g}"

    @property
    def equal(self) -> bool:
        """Whether every record agreed to the last bit."""
        return self.samples_different == 0

    def to_dict(self) -> Dict[str, Any]:
        """For results.json."""
        return {
            "equal": self.equal,
            "samples": self.samples,
            "samples_different": self.samples_different,
            "first_difference": self.first,
            "output_difference_max": self.output_difference_max,
            "layers": [
                {
                    "name": t.name,
                    "samples_counted": t.samples,
                    "spikes": t.spikes if t.samples else None,
                    "expected": t.expected if t.samples else None,
                    "neurons_different": t.neurons_different if t.samples else None,
                }
                for t in self.totals.values()
            ],
        }

    def table(self) -> str:
        """A line a layer, then where the first difference is."""
        lines = [f"{'layer':<16} {'samples':>8} {'spikes':>12} {'expected':>12} {'neurons that differ':>20}"]
        for t in self.totals.values():
            if t.samples:
                spikes = f"{t.spikes:>12,} {t.expected:>12,} {t.neurons_different:>20,}"
                lines.append(f"{t.name:<16} {t.samples:>8} {spikes}")
            else:
                lines.append(f"{t.name:<16} {'not counted':>8}")
        lines.append(
            f"{plural(self.samples, 'sample')}, all equal to the last bit"
            if self.equal
            else f"{self.samples_different} of {self.samples} samples differ; first: {self.first}"
        )
        return "\n".join(lines)
