"""The pipeline from Python: what the verbs do, as one call, and its result as an object."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.request import DATA, RUNS, Request
from cotrain.pipeline.stages import runner
from cotrain.pipeline.stages.table import STAGES
from cotrain.pipeline.words import nearest, show

if TYPE_CHECKING:
    import pandas

COLUMNS = ("value", "mean_rate_hz", "spikes_per_inference", "synops_per_inference", "seconds")


def run(
    experiment: str | os.PathLike[str] | Experiment,
    *,
    data: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = RUNS,
    until: str = "report",
    overrides: Iterable[str] = (),
    force: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> Run:
    """Run an experiment's stages in their order, those that are not up to date.

    Parameters
    ----------
    experiment : str, path or Experiment
        The name of a built-in experiment, a .toml file, or settings.
    data : path, optional
        Where the named data sets lie; by default ``$COTRAIN_DATA``, else ``data``.
    runs : path
        Where results go.
    until : str
        The last stage: "train", "finetune", "quantize", "deploy", "report" or "submission".
    overrides : iterable of str
        ``section.key=value``, as ``--set`` takes them.
    force : bool
        Run all stages, and replace results of other settings.
    say : Callable
        Takes each line of what is done.

    Returns
    -------
    Run
        What the stages left.

    Raises
    ------
    InputError, MissingError, CorruptError, OutputError, MisfitError, BusyError
        As on the command line; see `hardware.errors`.
    """
    if until not in STAGES:
        raise InputError(f"until is {show(until)}{nearest(str(until), STAGES)}; expected one of {', '.join(STAGES)}")
    changes = tuple(overrides)
    if isinstance(experiment, Experiment):
        if changes:
            raise InputError("overrides are for the name or file of an experiment; change these settings themselves")
        settings, said = experiment, experiment.name
    else:
        said = os.fspath(experiment)
        settings = experiments.load(said, list(changes))
    where = Path(data) if data is not None else Path(os.environ.get("COTRAIN_DATA") or DATA)
    asked = Request(said, changes, Path(runs), where)
    for name in list(STAGES)[: list(STAGES).index(until) + 1]:
        if name == until or not STAGES[name].automatic:  # what runs by itself is run by those that need it
            runner.run(name, settings, Path(runs), where, force, say=say, asked=asked)
    return Run(settings, Path(runs))


@dataclass(frozen=True)
class Run:
    """What an experiment's stages have left in its run folder. Files are read when they are asked for, and checked."""

    experiment: Experiment
    runs: Path

    @property
    def folder(self) -> Path:
        """Where everything of the experiment lies."""
        return artifacts.experiment_folder(self.runs, self.experiment.name)

    @property
    def metrics(self) -> dict[str, Any] | None:
        """metrics.json of the deploy stage; None where that has not been run."""
        return self._json("deploy", artifacts.METRICS)

    @property
    def history(self) -> dict[str, dict[str, Any]]:
        """By phase, "train" and "finetune": what happened in each epoch. Phases that have not been run are missing."""
        found = {stage: self._json(stage, artifacts.HISTORY) for stage in ("train", "finetune")}
        return {stage: history for stage, history in found.items() if history is not None}

    @property
    def placement(self) -> dict[str, Any] | None:
        """The report of `hardware.check`: cores, chips, what each layer takes; None before the quantize stage."""
        return self._json("quantize", artifacts.PLACEMENT)

    @property
    def report_path(self) -> Path | None:
        """The report as HTML; None where it has not been written."""
        folder = self._stage("report")
        return folder.path / artifacts.REPORT["html"] if folder.finished() else None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the comparison; none before the deploy stage. One that was not run has "skipped"."""
        metrics = self.metrics
        return [] if metrics is None else metrics["rows"]

    def to_dataframe(self) -> pandas.DataFrame:
        """The rows of the comparison, by model.

        Raises
        ------
        MissingError
            pandas is not installed, or the deploy stage has not been run.
        """
        try:
            import pandas
        except ImportError:
            raise MissingError("to_dataframe needs pandas; run: pip install pandas, or use rows") from None
        if not self.rows:
            raise MissingError(f"{self.folder} has no comparison yet; run until the deploy stage")
        table = [
            {
                "model": row["model"],
                **{key: row.get(key) for key in COLUMNS},
                "ci95_low": row["ci95"][0] if row.get("ci95") else None,
                "ci95_high": row["ci95"][1] if row.get("ci95") else None,
                "skipped": row.get("skipped"),
            }
            for row in self.rows
        ]
        frame = pandas.DataFrame(table).set_index("model")
        return frame.astype({key: float for key in (*COLUMNS, "ci95_low", "ci95_high")})

    def __str__(self) -> str:
        lines = [f"{self.experiment.name} in {self.folder}"]
        lines += ["  ".join(cell.ljust(18) for cell in cells).rstrip() for cells in self._table()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *body = self._table() or [()]

        def line(cells: Iterable[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        table = f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(c, 'td') for c in body)}</tbody></table>"
        path = self.report_path
        link = f'<p>Report: <a href="{html.escape(path.as_posix())}">{html.escape(str(path))}</a></p>' if path else ""
        title = html.escape(self.experiment.title or self.experiment.name)
        return f"<p><b>{title}</b></p>{table if head else '<p>No comparison yet: run until deploy.</p>'}{link}"

    def _table(self) -> list[tuple[str, ...]]:
        """Heading and rows as text; nothing before the deploy stage."""
        metrics = self.metrics
        if metrics is None:
            return []
        table: list[tuple[str, ...]] = [
            ("model", metrics["metric"], "95 % CI", "mean rate (Hz)", "spikes an inference")
        ]
        for row in metrics["rows"]:
            if row.get("skipped"):
                table.append((row["model"], f"not run: {row['skipped']}", "", "", ""))
                continue
            low, high = row["ci95"]
            rate, spikes = row["mean_rate_hz"], row["spikes_per_inference"]
            table.append((
                row["model"], f"{row['value']:.4f}", f"{low:.4f} to {high:.4f}",
                "" if rate is None else f"{rate:.1f}", "" if spikes is None else f"{spikes:,.0f}",
            ))  # fmt: skip
        return table

    def _stage(self, stage: str) -> RunFolder:
        return RunFolder(artifacts.stage_folder(self.runs, self.experiment.name, stage), stage)

    def _json(self, stage: str, name: str) -> Any:
        folder = self._stage(stage)
        if not folder.finished():
            return None
        folder.verify()
        return artifacts.read_json(folder.path / name)
