"""The report's files against the metrics.json they were made from. The run is synthetic (tests/synthetic_run.py)."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import synthetic_run
from cotrain.hardware.cost import measured
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import report
from cotrain.pipeline.evaluation.costs import by_layer
from cotrain.pipeline.networks import Input, Layer, NetworkSpec
from cotrain.pipeline.report import text
from cotrain.pipeline.report.sections import scores, verdict
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.stages import report as stage

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Checks nesting while it reads; keeps tables, SVGs, links and ids."""

    def __init__(self, source: str):
        super().__init__()
        self.open, self.tables, self.svgs, self.links, self.ids, self.figures = [], [], [], [], [], []
        self.caption, self.cells, self.cell = "", None, None
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_startendtag(self, tag, attributes):
        self._look(tag, dict(attributes))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._look(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": self.caption, "rows": []})
        elif tag == "figcaption":
            self.caption = ""
        elif tag == "tr":
            self.cells = []
        elif tag in ("td", "th"):
            self.cell = ""

    def _look(self, tag, attributes):
        self.links += [v for k, v in attributes.items() if k in ("href", "src", "xlink:href", "srcset")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "svg":
            self.svgs.append(attributes)
        elif tag == "figure" and attributes.get("class") != "tabular":
            self.figures.append(attributes)
        assert tag not in ("iframe", "object", "embed", "link"), f"<{tag}> has no place in the report"
        assert tag != "script" or not attributes, "a script is written into the page"

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()
        if tag == "figcaption":
            self.caption = self.caption.replace("\u00a0", " ")
        elif tag in ("td", "th"):
            self.cells.append(self.cell.replace("\u00a0", " "))
            self.cell = None
        elif tag == "tr":
            self.tables[-1]["rows"].append(self.cells)

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data
        elif self.open and self.open[-1] == "figcaption":
            self.caption += data

    def table(self, start: str):
        return next(t["rows"] for t in self.tables if t["caption"].startswith(start))


class Run:
    """One synthetic run and its report."""

    def __init__(self, runs, name, **options):
        self.context = synthetic_run.make(runs, name, **options)
        folder = self.context.folder("report")
        folder.begin()
        stage.run(self.context)
        folder.finish({"settings": {}}, self.context.outputs, 1.0)
        self.html = (folder.path / "report.html").read_bytes()
        self.markdown = (folder.path / "report.md").read_text(encoding="utf-8")
        self.document = json.loads((folder.path / "report.json").read_bytes())
        self.metrics = self.context.read_json("deploy", artifacts.METRICS)
        self.page = Reader(self.html.decode())


@pytest.fixture(scope="module", params=["demo-locnet", "demo-cae"])
def run(request, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("runs"), request.param)


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("runs"), "demo-locnet", skip=("hybrid", "loihi-hybrid"))


def markdown_table(source: str, start: str):
    lines = source[source.index(f"**{start}") :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| ---")]


def comparison(run):
    name = {"iou": "IoU", "dice": "Dice"}[run.metrics["metric"]]
    return run.page.table(f"{name} on "), markdown_table(run.markdown, f"{name} on ")


def test_comparison_equals_metrics_json(run):
    for head, *rows in comparison(run):
        assert [row[0] for row in rows] == [row["model"] for row in run.metrics["rows"]]
        for cells, row in zip(rows, run.metrics["rows"], strict=True):
            found = dict(zip(head, (c.replace("**", "") for c in cells), strict=True))
            assert found[head[1]] == f"{row['value']:.4f}"
            assert found["95 % CI"] == "{:.4f} to {:.4f}".format(*row["ci95"])
            spikes = row["spikes_per_inference"]
            assert found["Spikes / inference"] == ("–" if spikes is None else f"{spikes:,.0f}")
            assert found["Mean rate (Hz)"] == ("–" if spikes is None else f"{row['mean_rate_hz']:.1f}")


def test_constant_predictor_comes_first(run):
    assert comparison(run)[0][1][0] == "constant"


def test_layers_equal_metrics_json(run):
    rows = run.page.table("Spikes per inference and mean rate")
    spiking = [row for row in run.metrics["rows"] if row["layers"]]
    assert len(rows) == 1 + len(spiking[0]["layers"]) + 1  # head, layers, sum
    for i, cells in enumerate(rows[1:-1]):
        wanted = []
        for row in spiking:
            layer = row["layers"][i]
            wanted += [text.count(layer["spikes_per_inference"]), f"{layer['mean_rate_hz']:.1f}"]
        assert cells[0].split(" ")[0] == spiking[0]["layers"][i]["name"]
        assert cells[2:] == wanted


def test_json_twin_holds_metrics_unchanged(run):
    assert run.document["metrics"] == run.metrics
    assert run.document["settings"]["finetune"]["n_steps"] == run.metrics["n_steps"]
    assert run.document["energy"]["estimate"] is True


def test_page_is_well_formed_and_fetches_nothing(run):
    assert run.html.startswith(b"<!DOCTYPE html>")
    assert len(run.html) < 3e6
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in run.page.links)
    assert not re.search(rb"https?://|@import|url\(", run.html)
    assert len(run.page.ids) == len(set(run.page.ids))
    assert {link[1:] for link in run.page.links if link.startswith("#")} <= set(run.page.ids)


def test_every_figure_has_a_text_alternative(run):
    assert len(run.page.figures) >= 8
    assert all(len(figure["aria-label"]) > 20 for figure in run.page.figures)
    drawings = [svg for svg in run.page.svgs if svg.get("aria-hidden") != "true"]
    assert len(drawings) > 30
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 10 for svg in drawings)
    assert run.markdown.count("*Figure: ") == len(run.page.figures)


def test_every_rejected_sample_is_listed(run):
    rows = run.page.table("2 samples found and not used")
    assert [(r[0], r[1], r[2]) for r in rows[1:]] == [
        (r["name"], r["reason"], r["path"]) for r in synthetic_run.REJECTED
    ]
    assert b"<truncated>" not in run.html and b"&lt;truncated&gt;" in run.html


def test_verdict_says_where_the_points_went(run):
    value = {row["model"]: row["value"] for row in run.metrics["rows"]}
    lost = 100 * (value["ann"] - value["loihi-hybrid"])
    assert f"it loses {lost:.1f} points" in run.document["verdict"][0]
    steps = {step["step"]: step for step in run.document["steps"]}
    for step, before, after in (("conversion", "ann", "converted"), ("hybrid", "converted", "hybrid")):
        difference = value[after] - value[before]
        assert steps[step]["difference"] == pytest.approx(difference)
        assert text.points(difference) in run.document["verdict"][0]
        assert steps[step]["ci95"][0] <= difference <= steps[step]["ci95"][1]
    # what the steps say adds up to what is said of the whole
    chain = sum(steps[s]["difference"] for s in ("conversion", "hybrid", "chip"))
    assert steps["total"]["difference"] == pytest.approx(chain)


def test_verdict_names_neurons_that_are_too_fast_for_the_chip(run):
    assert not any("at most once a step" in sentence for sentence in run.document["verdict"])
    slow, fast = ({"name": n, "neurons": k, "too_fast": f} for n, k, f in (("conv1", 300, 0.0), ("conv2", 100, 0.5)))
    document = {**run.document, "rates": {"converted": [slow, fast], "hybrid": [slow]}}
    (said,) = [s for s in verdict.sentences(document) if "at most once a step" in s]
    assert "1,000 Hz" in said and "12.5 % of the converted network's" in said and "first in conv2 50.0 %" in said


def test_paired_interval_of_a_constant_shift(tmp_path):
    """Where every image loses the same, the paired interval is a point; two separate intervals would not be."""
    metrics = {"rows": [{"model": m, "value": v} for m, v in (("ann", 0.6), ("converted", 0.5))]}
    values = np.linspace(0.2, 1.0, 9)
    predictions = {"ann/group_values": values, "converted/group_values": values - 0.1}
    step = verdict.steps(metrics, predictions)[0]
    assert step["ci95"] == pytest.approx([-0.1, -0.1])


def test_skipped_rows_stay_with_their_reason(partial):
    for head, *rows in comparison(partial):
        assert [row[0] for row in rows] == list(synthetic_run.MODELS)
        for cells in rows:
            if cells[0] in ("hybrid", "loihi-hybrid"):
                assert dict(zip(head, cells, strict=True))["95 % CI"] == "not asked for (deploy.models)"
    assert "No verdict from ANN to chip" in partial.document["verdict"][0]
    assert "loihi-hybrid: not asked for" in partial.document["verdict"][0]
    steps = {step["step"]: step for step in partial.document["steps"]}
    assert steps["hybrid"]["skipped"] == "hybrid not run"
    assert b"No raster was written" in partial.html


def test_paper_stands_only_where_it_belongs(run):
    """Beside results on the paper's data, and nowhere else: the demos run on data that are drawn."""
    assert run.document["paper"] is None
    assert "0.7431" not in run.markdown and "Paper" not in comparison(run)[0][0]
    if run.document["network"] == "locnet":
        document = {**run.document, "paper": verdict.paper_for("locnet", "caltech101-airplanes")}
        table = scores.comparison(document)
        assert "0.7431 @ 174.6 Hz" in table.rows[2] and table.columns[3] == "Paper"
        assert "In the paper" in scores.chart(document).alt


def test_paper_on_its_own_data():
    assert verdict.paper_for("locnet", "caltech101-airplanes")["same_data"]
    assert verdict.paper_for("cae", "hippocampus") is None  # the paper's is ADNI
    assert verdict.paper_for("another", "caltech101-airplanes") is None


def test_energy_is_the_sum_of_its_parts_and_marked(run):
    row = next(r for r in run.metrics["rows"] if r["model"] == "loihi-hybrid")
    chip = [layer for layer in row["layers"] if layer["on_chip"]]
    for found in run.document["energy"]["models"]["loihi-hybrid"].values():
        neurons = 72.8e-12 * run.metrics["n_steps"] * sum(layer["neurons"] for layer in chip)
        assert sum(layer["neurons_j"]["value"] for layer in found["layers"]) == pytest.approx(neurons, rel=1e-9)
        spikes = 69.3e-12 * sum(layer["spikes_per_inference"] for layer in chip)
        assert sum(layer["spikes_j"]["value"] for layer in found["layers"]) == pytest.approx(spikes, rel=1e-9)
        parts = [found["energy_j"][term]["value"] for term in ("core_dynamic", "x86", "leakage")]
        assert found["energy_j"]["total"]["value"] == pytest.approx(sum(parts), rel=1e-9)
        assert found["energy_j"]["core_dynamic"]["value"] == pytest.approx(
            sum(layer["total_j"]["value"] for layer in found["layers"]), rel=1e-9
        )
    for table in run.page.tables:
        joules = any(re.search(r"\d [fpnµm]?J$", cell) for row in table["rows"][1:] for cell in row)
        heads = " ".join(table["rows"][0])
        assert not joules or "stimate" in table["caption"] + heads, table["caption"]


def test_energy_over_steps_ends_at_the_estimate(run):
    """Stopping early costs the updates and the time of the steps so far and a share of the spikes' energy."""
    found = run.document["trajectory"]["energy_j_estimate"]
    total = run.document["energy"]["models"]["loihi-hybrid"]["streamed"]["energy_j"]["total"]["value"]
    assert set(found) == {"loihi-converted", "loihi-hybrid"}
    assert found["loihi-hybrid"][-1] == pytest.approx(total)
    # the synthetic run spikes evenly, so half of the steps cost half
    half = run.document["trajectory"]["n_steps"].index(run.metrics["n_steps"] // 2)
    assert found["loihi-hybrid"][half] == pytest.approx(total / 2)


def test_the_decision_stands_on_the_first_screen(run):
    """The chip's total with its range by way of the input, its host's share, and the ANN on CPU and GPU."""
    head, *rows = run.page.table("Energy and time of one inference")
    unit_j = {"Energy (µJ)": 1e-6, "Energy (mJ)": 1e-3}[head[1]]
    found = run.document["energy"]
    assert [row[0].partition(",")[0] for row in rows] == [
        "loihi-hybrid on Loihi", "loihi-hybrid on Loihi", "the ANN on a CPU", "the ANN on a GPU",
    ]  # fmt: skip
    for row, way in zip(rows, ("streamed", "once"), strict=False):
        e = found["models"]["loihi-hybrid"][way]
        total = e["energy_j"]["total"]
        shown = [float(number) for number in re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", row[1]).groups()]
        assert shown == pytest.approx([total[key] / unit_j for key in ("value", "low", "high")], rel=0.06)
        assert row[4] == e["limiter"]
    assert float(rows[2][1]) == pytest.approx(found["ann"]["cpu_j"] / unit_j, rel=0.06)
    assert len({len(number.partition(".")[2]) for row in rows for number in re.findall(r"[\d.]+", row[1])}) == 1
    captions = [table["caption"] for table in run.page.tables]
    assert captions[1].startswith("Energy and time of one inference")  # right after the comparison


def test_errors_against_measured_chips_stand_beside_the_estimate(run):
    summary = measured.summary()["summary"]
    worst = f"{100 * summary['core_dynamic']['worst_error']:.1f} %"
    assert f"worst {worst}" in run.markdown and "Held against measured chips" in run.markdown
    assert summary["total"]["worst_row"] in run.markdown


def test_energy_over_steps_and_rates(run):
    """Twice the rates cost more; half of the steps cost half where all is proportional, less so beside a fixed time."""
    grid = run.document["energy"]["over_steps_and_rates"]["loihi-hybrid"]
    total = run.document["energy"]["models"]["loihi-hybrid"]["streamed"]["energy_j"]["total"]["value"]
    streamed, once = grid["total_j"]["streamed"], grid["total_j"]["once"]
    at = grid["rate_factors"].index(1.0)
    assert grid["n_steps"][-1] == run.metrics["n_steps"] and streamed[-1][at] == pytest.approx(total)
    half = grid["n_steps"].index(run.metrics["n_steps"] // 2)
    assert streamed[half][at] == pytest.approx(total / 2) and once[half][at] > once[-1][at] / 2
    assert all(row == sorted(row) and row[0] < row[-1] for row in (*streamed, *once))


def test_messages_of_a_placement_by_hand():
    """conv1 (pixels 4 by 4, 3 channels) to a convolution on two cores that both wait for 12 of its 16 pixels."""
    layers = [
        Layer("conv1", 3, (4, 4, 3), (Input("image", "conv", (4, 4, 1)),)),
        Layer("pool1", 8, (2, 2, 8), (Input("conv1", "conv", (4, 4, 3), stride=(2, 2)),)),
        Layer("dense1", 10, (10,), (Input("pool1", "dense", (2, 2, 8)),)),
    ]
    readout = Layer("readout", 4, (4,), (Input("dense1", "dense", (10,)),))
    spec = NetworkSpec("any", (4, 4, 1), tuple(layers), readout)
    cores = [{"layer": "pool1", "input_axons": 12}, {"layer": "pool1", "input_axons": 12}]
    cores += [{"layer": "dense1", "input_axons": 32}]
    found = by_layer({"utilisation": {"cores": cores}}, spec)
    assert found["conv1"] == {"cores": 1, "messages_per_spike": 24 / 16}
    assert found["pool1"] == {"cores": 2, "messages_per_spike": 32 / 32}
    assert found["dense1"] == {"cores": 1}  # its spikes go to the host
    assert by_layer({}, spec) == {}


def test_quantization_equals_its_file(run):
    found = run.context.read_json("quantize", artifacts.QUANTIZATION)
    rows = run.page.table("The hybrid network in integers")[1:]
    assert [row[0] for row in rows] == [e["name"] for e in found["hybrid"]["layers"]]
    for row, e in zip(rows, found["hybrid"]["layers"], strict=True):
        assert row[1] == f"{100 * e['weight_error']:.1f} %"
        assert row[6:8] == ["2 → 2.01", "–"]


def test_what_came_back_from_a_board(tmp_path):
    """A row of fewer samples and without layers, as `cotrain verify` leaves it, stays whole."""
    context = synthetic_run.make(tmp_path, "demo-locnet")
    row = dict.fromkeys(("mean_rate_hz", "spikes_per_inference", "synops_per_inference", "seconds"))
    row |= {"model": "loihi-board", "value": 0.7777, "ci95": [0.7, 0.8], "n_samples": 5, "emulator_value": 0.7654}
    row |= {"layers": [], "comparison": {"equal": False, "samples": 5, "samples_different": 2}}
    measured_there = {"energy_per_inference_j": {"mean": 6.6e-4, "sd": 1e-5}}
    lost = {"not_measurable": "not measurable at this size: run 900 samples"}
    row["energy"] = {"dynamic": measured_there, "cores": lost, "x86": measured_there, "runs": [{}] * 5}
    artifacts.write_sealed(artifacts.board_file(tmp_path, "demo-locnet"), row)
    inputs = report.load(context)
    document = report.build_document(inputs)
    page = Reader(report.render_html(report.build_page(document, inputs)).decode())
    assert page.table("IoU on ")[-1][:3] == ["loihi-board", "0.7777", "0.7000 to 0.8000"]
    said = report.render_markdown(report.build_page(document, inputs)).decode()
    assert "2 of them not as expected: IoU 0.7777, the emulator on the same samples 0.7654" in said
    assert "measured in 5 runs: over rest 660 +- 10 uJ; cores: not measurable at this size: run 900 samples" in said


def test_neurobench_names(run):
    for model, entry in run.document["neurobench"].items():
        assert set(entry) == {"Footprint", "ConnectionSparsity", "ActivationSparsity", "SynapticOperations"}
        assert set(entry["SynapticOperations"]) == {"Dense", "Effective_MACs", "Effective_ACs"}
        row = next(r for r in run.metrics["rows"] if r["model"] == model)
        if model.startswith("loihi"):
            neurons = sum(layer["neurons"] for layer in row["layers"])
            share = row["spikes_per_inference"] / (neurons * run.metrics["n_steps"])
            assert entry["ActivationSparsity"] == pytest.approx(1 - share)
            assert entry["SynapticOperations"]["Effective_ACs"] == row["synops_per_inference"]


def test_cases_are_chosen_by_the_metric(run):
    predictions = run.context.read_npz("deploy", artifacts.PREDICTIONS)
    values = predictions["loihi-hybrid/group_values"]
    best, median, worst = (case["values"]["loihi-hybrid"] for case in run.document["cases"]["cases"])
    assert (best, worst) == (values.max(), values.min())
    assert (
        median in values and (values >= median).sum() >= len(values) / 2 and (values <= median).sum() >= len(values) / 2
    )
    own = {model: entries[0]["values"][model] for model, entries in run.document["cases"]["own"].items()}
    assert own == {model: predictions[f"{model}/group_values"].max() for model in synthetic_run.MODELS}


def test_same_inputs_give_the_same_bytes(run, tmp_path):
    inputs = report.load(run.context)
    document = report.build_document(inputs)
    assert report.render_html(report.build_page(document, inputs)) == run.html


def test_comparison_page(tmp_path):
    a, b = (Run(tmp_path, name) for name in ("demo-locnet", "demo-cae"))
    paths = report.write_comparison(tmp_path, ["demo-locnet", "demo-cae"])
    assert [p.name for p in paths] == [f"report-demo-locnet-demo-cae.{s}" for s in ("html", "md", "json")]
    page = Reader(paths[0].read_text(encoding="utf-8"))
    head, *lines = page.table("Scores with 95 % intervals")
    for cells, run in zip(lines, (a, b), strict=True):
        assert cells[:2] == [run.document["experiment"], {"iou": "IoU", "dice": "Dice"}[run.metrics["metric"]]]
        for model, cell in zip(head[2:], cells[2:], strict=True):
            row = next(r for r in run.metrics["rows"] if r["model"] == model)
            assert cell.startswith(f"{row['value']:.4f} (")
    moved = {r["model"]: f"{r['value']:.4f} (" for r in a.metrics["protocols"]["shifted"]["rows"]}
    head, first, second = page.table("Scores under protocol “shifted”")
    assert head[2:] == list(moved) and all(c.startswith(moved[m]) for m, c in zip(head[2:], first[2:], strict=True))
    assert set(second[2:]) == {"no such row"}, "masks are not shifted"
    twin = json.loads(paths[2].read_bytes())
    assert [d["experiment"] for d in twin["reports"]] == ["demo-locnet", "demo-cae"]
    assert paths[0].read_bytes() == report.compare([tmp_path / "demo-locnet", tmp_path / "demo-cae"])


def test_command_line_writes_the_comparison(tmp_path, monkeypatch, capsys):
    from cotrain.pipeline.__main__ import main
    from cotrain.pipeline.stages import runner

    for name in ("demo-locnet", "demo-cae"):
        Run(tmp_path, name)
    monkeypatch.setattr(runner, "run", lambda *_, **__: False)  # both are up to date
    assert main(["report", "demo-locnet", "demo-cae", "--runs", str(tmp_path)]) == 0
    page = tmp_path / "report-demo-locnet-demo-cae.html"
    assert page.read_bytes() == report.compare([tmp_path / "demo-locnet", tmp_path / "demo-cae"])
    assert f"side by side in {page}" in " ".join(capsys.readouterr().out.split())  # lines have 79 characters


def test_comparison_refuses_what_it_cannot_compare(tmp_path):
    with pytest.raises(InputError, match="two experiments or more"):
        report.write_comparison(tmp_path, ["cae"])
    with pytest.raises(MissingError, match="run: cotrain report cae"):
        report.write_comparison(tmp_path, ["cae", "locnet"])


@pytest.mark.parametrize(
    "value, unit, shown",
    [
        (2.71e-4, "J", "271 µJ"),
        (0.0, "J", "0 J"),
        (999.96e-6, "s", "1 ms"),
        (1.5e8, "", "150 M"),
        (8.6e-9, "J", "8.6 nJ"),
    ],
)
def test_si(value, unit, shown):
    assert text.si(value, unit) == shown


def test_outline_encloses_the_mask():
    """Edges of a mask: as many as the pixels' sides between inside and outside."""
    from cotrain.pipeline.report.pictures import outline

    rng = np.random.default_rng(0)
    mask = rng.random((6, 9)) < 0.5
    padded = np.pad(mask, 1)
    sides = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    lengths = [float(v) for v in re.findall(r"[hv]([\d.]+)", outline(mask, 6, 9, 1.0))]
    assert sum(lengths) == sides
    assert outline(np.array([0.25, 0.5, 0.75, 1.0]), 40, 80, 2.0) == "M80.0 20.0H160.0V60.0H80.0Z"
