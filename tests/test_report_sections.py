"""Sections of the report one by one: what decides, what is advised, units of columns, and how one is added."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex

import numpy as np
import pytest
import synthetic_run
from cotrain.pipeline import report
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.evaluation.rows import ROWS
from cotrain.pipeline.report import charts, text
from cotrain.pipeline.report.blocks import Text
from cotrain.pipeline.report.html import STYLE
from cotrain.pipeline.report.sections import SectionRow, advice, costs, layers, placement, scales, summary, training
from cotrain.pipeline.runs.request import Request


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report.load(synthetic_run.make(tmp_path_factory.mktemp("runs"), "demo-locnet"))


def with_values(inputs, **values):
    """The same run with other scores, without the predictions that would contradict them."""
    metrics = copy.deepcopy(inputs.metrics)
    metrics["protocols"] = {}  # they are judged by themselves
    for row in metrics["rows"]:
        row["value"] = values.get(row["model"].replace("-", "_"), row["value"])
        row["ci95"] = [row["value"] - 0.02, row["value"] + 0.02]
    return dataclasses.replace(inputs, metrics=metrics, predictions={})


LOW = dict.fromkeys(("ann", "converted", "hybrid", "loihi_converted", "loihi_hybrid"), 0.6)


@pytest.mark.parametrize(
    "values, answer, first",
    [
        ({**LOW, "constant": 0.7}, "no", "Nothing here beats the constant predictor"),
        ({**LOW, "constant": 0.7, "ann": 0.8}, "no", "loihi-hybrid does not beat the constant predictor** (ann would)"),
        ({**LOW, "constant": 0.59, "ann": 0.5}, "unsure", "That this beats the constant predictor is not sure"),
        ({**LOW, "constant": 0.5}, "yes", "From ANN to chip"),
    ],
)
def test_what_does_not_beat_the_constant_is_said_first(inputs, values, answer, first):
    document = report.build_document(with_values(inputs, **values))
    assert document["decision"]["beats_constant"]["answer"] == answer
    assert document["verdict"][0].startswith(f"**{first}")
    lead = report.build_page(document, inputs).lead
    assert isinstance(lead[0], Text) and lead[0].text == document["verdict"][0]
    card = lead[1].facts[0]
    assert (card.answer, card.state) == {
        "no": ("No", "bad"), "unsure": ("Not surely", "unsure"), "yes": ("Yes", "good")
    }[answer]  # fmt: skip
    commands = [one["command"] for one in document["decision"]["next"]]
    learnt = answer == "yes" or "ann" in document["decision"]["beats_constant"]["others"]
    assert any(command.startswith("cotrain inspect demo-locnet") for command in commands) == (not learnt)


def test_the_paired_interval_decides_where_it_is_known(inputs):
    """A small difference that every image shares is sure, whatever the intervals of the two scores are."""
    values = np.linspace(0.2, 0.9, 24)
    predictions = {"constant/group_values": values, "loihi-hybrid/group_values": values + 0.01}
    few = with_values(inputs, constant=0.55, loihi_hybrid=0.56)
    document = report.build_document(dataclasses.replace(few, predictions=few.predictions))
    assert document["decision"]["beats_constant"]["answer"] == "unsure"
    from cotrain.pipeline.report.sections.verdict import beats_constant

    assert beats_constant(few.metrics, predictions)["answer"] == "yes"


def test_what_fits_and_what_binds(inputs):
    document = report.build_document(inputs)
    found = document["decision"]["fits"]
    most = max(row.get("input_spikes_max") or 0 for row in inputs.metrics["rows"])
    assert (found["answer"], found["input_spikes_max"], found["board_chips"]) == ("yes", most, 32)
    assert sum(found["binds"].values()) == found["cores"] == inputs.placement["cores"]
    assert list(found["binds"]) == ["compartments"]  # 0.6 of the synthetic layers' fullest cores, more than the others
    card = summary.blocks(document)[1].facts[1]
    # 321 spikes enter in one step, and the synthetic placement configures 300
    assert card.state == "bad" and "snip_max_spikes_per_step=321" in " ".join(card.details)
    enough = copy.deepcopy(inputs.placement) | {"hardware_options": {"snip_max_spikes_per_step": 400}}
    document = report.build_document(dataclasses.replace(inputs, placement=enough))
    assert summary.blocks(document)[1].facts[1].state == "good"
    layer = {"most": {"compartments": 0.5, "input_axons": 0.1, "output_axons": 0.98, "synapse_bits": 0.97}}
    assert placement.binding(layer) == ("output axons", 0.98)


def test_one_chip_two_chips(inputs):
    for n, said in ((1, "1 chip of 32"), (2, "2 chips of 32")):
        document = report.build_document(dataclasses.replace(inputs, placement={**inputs.placement, "chips": n}))
        assert said in summary.blocks(document)[1].facts[1].details[0]
        assert text.plural(n, "chip") in summary.blocks(document)[1].facts[1].answer


def test_every_layer_says_what_binds_its_cores(inputs):
    table = layers.overview(report.build_document(inputs))
    at = {name: i for i, name in enumerate(table.columns)}
    assert table.sortable and table.n_totals == 1
    first, *chip, total = table.rows
    assert first[at["What binds its cores"]] == "host"
    assert {row[at["What binds its cores"]] for row in chip} == {"compartments"}
    assert sum(int(row[at["Cores"]]) for row in chip) == int(total[at["Cores"]]) == inputs.placement["cores"]


def explored(inputs, n_steps, rate_scale_hz, trained_hz=200.0):
    knee = {"n_steps": n_steps, "readout_steps": 6, "rate_scale_hz": rate_scale_hz, "value": 0.8, "energy_j": 1e-4}
    trained = {"n_steps": inputs.metrics["n_steps"], "readout_steps": 20, "rate_scale_hz": trained_hz}
    return {"knee": knee, "trained": trained, "split": "validation", "tolerance": 0.005, "rows": [], "metric": "iou",
            "n_samples": 9, "protocol": ""}  # fmt: skip


def test_advice_on_steps_and_rates(inputs):
    document = report.build_document(inputs)
    beats = document["decision"]["beats_constant"]
    asked = Request("my.toml", ("train.epochs=3", "deploy.n_steps=30"))
    (unexplored,) = advice.following(dataclasses.replace(inputs, asked=asked), document, beats)
    words = shlex.split(unexplored["command"])
    assert words[:3] == ["cotrain", "explore", "my.toml"] and "--json" in words and "train.epochs=3" in words

    def advised(*knee):
        found = {**document, "explored": explored(inputs, *knee)}
        (one,) = advice.following(dataclasses.replace(inputs, asked=asked), found, beats)
        return one

    fewer = shlex.split(advised(12, 200.0)["command"])
    assert fewer[1] == "deploy" and "--force" in fewer
    assert [w for w in fewer if w.startswith("deploy.")] == ["deploy.n_steps=12", "deploy.readout_steps=6"]
    rate = shlex.split(advised(12, 400.0)["command"])
    assert rate[1] == "train" and "neurons.rate_scale_hz=400" in rate and rate[rate.index("--runs") + 1] == "runs-400hz"
    same = advised(inputs.metrics["n_steps"], 200.0)
    assert same["command"] == "" and "well chosen" in same["what"]


def test_what_a_training_started_from_is_said(inputs):
    document = report.build_document(inputs)
    settings = {
        **document["settings"],
        "train": {**document["settings"]["train"], "start": "/a/b/cae/train/params.npz"},
    }
    assert "started from" not in str(training.blocks(document, inputs))
    assert "started from the parameters of `cae/train/params.npz`" in str(
        training.blocks({**document, "settings": settings}, inputs)
    )


def test_a_training_that_was_still_learning_is_told(inputs):
    histories = copy.deepcopy(inputs.histories)
    histories["train"]["best_epoch"] = histories["train"]["epochs"][-1]["epoch"]
    document = report.build_document(dataclasses.replace(inputs, histories=histories))
    commands = [one["command"] for one in document["decision"]["next"]]
    epochs = histories["train"]["epochs"][-1]["epoch"]
    assert any(f"--set train.epochs={2 * epochs}" in command and "--force" in command for command in commands)


def test_commands_that_are_advised_parse(inputs, monkeypatch):
    """Each goes through the real command line, up to the work itself."""
    from cotrain.pipeline.commands import explore, inspect, stage

    histories = copy.deepcopy(inputs.histories)
    histories["train"]["best_epoch"] = histories["train"]["epochs"][-1]["epoch"]
    bad = dataclasses.replace(with_values(inputs, **LOW, constant=0.9), histories=histories)
    commands = {one["command"] for one in report.build_document(bad)["decision"]["next"]}
    assert {shlex.split(c)[1] for c in commands} == {"inspect", "train", "explore"}
    called = []
    for module in (explore, inspect, stage):
        monkeypatch.setattr(module, "run", lambda arguments: called.append(arguments.verb) or 0)
    for command in sorted(commands):
        assert main(shlex.split(command)[1:]) == 0
    assert sorted(called) == ["explore", "inspect", "train"]


def test_columns_have_one_unit_and_one_precision():
    assert text.column([38.8e-3, 0.82e-3, 2.92e-3, None], "J") == ("mJ", ["38.80", "0.82", "2.92", "–"])
    assert text.column([1234.0, 7.0, 0.0]) == ("", ["1,234", "7", "0"])
    assert text.column([2.5e7, 1e4]) == ("M", ["25.000", "0.010"])
    assert text.column([300e-6, 1e-11], "J") == ("µJ", ["300.000", "< 0.001"])
    assert text.column([None, 0.0], "J") == ("J", ["–", "0"])
    unit, cells = costs.spreads([{"value": 2e-3, "low": 1e-3, "high": 9e-3}, None, 4e-5], "J")
    assert (unit, cells) == ("mJ", ["2.000 (1.000 to 9.000)", "–", "0.040"])


def test_every_row_has_a_colour_and_a_mark():
    for row in ROWS.values():
        assert f".{row.name} {{ --c:" in STYLE.read_text(encoding="utf-8")
        assert charts.mark(0, 0, row.name, row.mark).startswith("<")


def test_scales_of_a_model_made_elsewhere(inputs):
    found = [{"name": "a", "scale": 3.5, "percentile": 99.9, "above": 0.001, "largest": 12.0}]
    histories = {**inputs.histories, "train": {"epochs": [], "scales": found, "notes": ["a note"], "calibrated": True}}
    document = report.build_document(dataclasses.replace(inputs, histories=histories))
    rate_hz = inputs.settings["neurons"]["rate_scale_hz"]
    intro, table, _, notes = scales.blocks(document, inputs)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["Layer"] == "a" and row["The model's activation that became 1"] == "3.50"
    assert row["Positive activations above it"] == "0.1 %"
    assert float(row["Rate that the largest one asks for (Hz)"].replace(",", "")) == 12 * rate_hz
    assert row["Beyond the chip's 1,000 Hz"] == ("yes" if 12 * rate_hz > 1000 else "no")
    assert "fitted to spikes" in intro.text and notes.items == ("a note",)
    assert scales.blocks(report.build_document(inputs), inputs) == []


def test_a_section_is_a_file_and_a_row(inputs, monkeypatch):
    """A row alone brings its facts into the JSON, its blocks into both pages and its link into the contents."""
    from cotrain.pipeline.report import document as gathering
    from cotrain.pipeline.report import page as saying

    row = SectionRow(
        "mine", "My own question", "Mine", lambda document, inputs: [Text(f"It is {document['mine']}.")],
        lambda inputs, document: {"mine": len(document["metrics"]["rows"])}, open=False,
    )  # fmt: skip
    for module in (gathering, saying):
        monkeypatch.setattr(module, "SECTIONS", (*module.SECTIONS, row))
    document = report.build_document(inputs)
    page = report.build_page(document, inputs)
    html, markdown = report.render_html(page).decode(), report.render_markdown(page).decode()
    assert document["mine"] == 6 and json.dumps(document)
    assert '<a href="#mine">Mine</a>' in html and "It is 6." in html and "## My own question\n\nIt is 6." in markdown
