"""Estimates against public measurements on Loihi 1 chips, and what is committed of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from cotrain import hardware
from cotrain.hardware.cost import measured
from cotrain.hardware.errors import MissingError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import silicon  # noqa: E402
import silicon_rows  # noqa: E402


def find_rows():
    places = [os.environ.get("COTRAIN_DATA"), "../shared/data", "data"]
    folders = [ROOT / place / "loihi-silicon" for place in places if place]
    return next((folder for folder in folders if (folder / "rows.csv").is_file()), None)


ROWS = find_rows()
with_rows = pytest.mark.skipif(ROWS is None, reason="needs the measured rows: DATA/loihi-silicon/rows.csv")
COMMITTED = json.loads((ROOT / "reports" / "silicon.json").read_text())


def entries(document, term, start=""):
    found = [e for e in document["entries"] if e["term"] == term and e["row"].startswith(start)]
    assert found
    return found


def close(ours, theirs):
    """Equal but for the last digits of sums, which differ between Python versions."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            close(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
    else:
        assert ours == (pytest.approx(theirs, rel=1e-9, abs=1e-15) if isinstance(theirs, float) else theirs)


@with_rows
def test_what_is_committed_is_what_the_command_makes():
    document = silicon.build(ROWS, COMMITTED["sana_fe"])
    close(document, COMMITTED)
    close(silicon.shipped(document), measured.summary())
    assert (ROOT / "reports" / "silicon.md").read_text() == silicon.markdown(COMMITTED)


def test_the_package_ships_the_summary_of_the_committed_report():
    assert silicon.shipped(COMMITTED) == measured.summary()
    said = " ".join(measured.sentences())
    worst = COMMITTED["summary"]["core_dynamic"]["worst_error"]
    assert f"worst {100 * worst:.1f} %" in said and "fixed_s (quartz-mnist-*)" in said


def test_quartz_mnist_within_its_bars():
    core = [abs(e["error"]) for e in entries(COMMITTED, "core_dynamic", "quartz-mnist")]
    assert len(core) == 5 and statistics.median(core) <= 0.12 and max(core) <= 0.25
    assert all(abs(e["error"]) <= 0.01 for e in entries(COMMITTED, silicon.TIMED, "quartz-mnist"))
    assert all(abs(e["power_error"]) <= 1e-4 for e in entries(COMMITTED, silicon.TIMED, "quartz-mnist"))
    assert all(abs(e["error"]) <= 0.25 for e in entries(COMMITTED, "time", "quartz-mnist"))


def test_slope_of_the_scaled_keyword_spotter_with_one_declared_rate():
    assert abs(COMMITTED["slope"]["error"]) <= 0.05
    assert abs(COMMITTED["slope"]["error_6_to_10_copies"]) <= 0.05  # the rate has not seen these rows


def test_the_emg_network_within_its_published_spread():
    (energy,) = entries(COMMITTED, "dynamic", "emg")
    assert abs(energy["error"]) <= energy["spread_percent"] / 100
    (time,) = entries(COMMITTED, "time", "emg")
    assert abs(time["error"]) <= 0.1


def test_every_measurement_lies_in_its_range_and_known_totals_within_a_factor_of_three():
    assert all(e["inside"] for e in COMMITTED["entries"])
    for e in entries(COMMITTED, "total", "quartz-mnist"):
        assert e["high"] <= 3 * e["low"]
    named = {name for name, row in COMMITTED["rows"].items() if row["not_estimated"]}
    assert named | {e["row"] for e in COMMITTED["entries"]} == set(COMMITTED["rows"])  # no row is left out
    assert len(COMMITTED["rows"]) == 27


def test_without_activity_there_is_no_value():
    for e in COMMITTED["entries"]:
        known = any(line.partition(": ")[2].startswith("s") and "not given" in line
                    for line in COMMITTED["rows"][e["row"]]["unknown"])  # fmt: skip
        if known and e["term"] in ("core_dynamic", "total", "dynamic"):
            assert e["value"] is None, e


@with_rows
def test_structures_of_the_rows_give_their_neurons_and_synapses():
    for case in silicon_rows.cases(ROWS):
        for counts in case.counts if case.row["neurons"] else []:
            assert sum(layer["neurons"] for layer in counts["layers"]) == int(case.row["neurons"]), case.name
        if case.name.startswith("quartz"):  # one spike a neuron: each synapse is used once
            synops = sum(layer["synops_per_inference"] for layer in case.counts[0]["layers"])
            assert synops == int(case.row["synapses"]) == int(case.row["synops_per_inference"])


@with_rows
def test_old_floor_of_a_step_is_gone():
    """8 us a step gave Quartz 0.41 to 5.2 ms where 4.90 to 8.66 were measured."""
    for case in silicon_rows.cases(ROWS):
        if case.name.startswith("quartz"):
            time = hardware.estimate(case.counts[0]).time_s["total"]
            assert time["low"] <= case.measured["time"] <= time["high"]


def test_the_command_refuses_a_folder_without_rows(tmp_path):
    with pytest.raises(MissingError, match="rows.csv does not exist; give the folder of the measured rows"):
        silicon_rows.read_rows(tmp_path)
    command = [sys.executable, str(ROOT / "tools" / "silicon.py"), "--data", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "rows.csv does not exist" in result.stderr


def test_core_energy_agrees_with_sana_fe_where_its_networks_do_the_same():
    """SANA-FE simulates message by message; its input spikes cost no soma, and it charges their messages."""
    sana_fe = COMMITTED["sana_fe"]
    for e in sana_fe["entries"]:
        if e["row"].startswith("quartz") and e["term"] == "core_dynamic":
            simulated = sana_fe["simulated"][e["row"]]
            assert (simulated["spikes"], simulated["synops"]) == (6194, 230064)  # as in the row
            assert e["ours"] == pytest.approx(e["sana_fe"], rel=0.02)
    assert sana_fe["summary"]["time"]["sana_fe"]["median_error"] > sana_fe["summary"]["time"]["ours"]["median_error"]
