"""The board's side of a bundle, through nengo-loihi's own hardware interface and a stand-in for NxSDK."""

from __future__ import annotations

import json

import nxsdk_stand_in
import pytest
from bundle_of import tiny_bundle, unpacked
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.bundle import board, session
from cotrain.hardware.bundle.board import Board, check_board
from cotrain.hardware.bundle.compare import Comparison
from cotrain.hardware.bundle.folder import Folder
from cotrain.hardware.bundle.run import check_files
from cotrain.hardware.errors import InputError, MisfitError, MissingError

IN_CLOUD = {"PARTITION": "nahuku32", "SLURM": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = unpacked(tiny_bundle(tmp_path_factory.mktemp("board")), tmp_path_factory.mktemp("unpacked"))
    return Folder(path, check_files(str(path))["digest"])


def compared(folder, target, n=2):
    comparison = Comparison(folder.layers, folder.names)
    for index in range(n):
        comparison.add(index, folder.expected(index), target.run(index))
    return comparison


@pytest.mark.parametrize("precompute", [True, False], ids=["in advance", "by SNIPs"])
def test_registers_written_by_nengo_loihi_give_the_spikes_that_are_expected(folder, monkeypatch, precompute):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", precompute)
    comparison = compared(folder, Board(folder, layers=1))
    assert comparison.equal, comparison.table()
    host, *on_chip = comparison.totals.values()
    assert host.samples == 2 and all(total.samples == 1 for total in on_chip)
    assert on_chip[-1].spikes > 0  # something arrived at the last layer
    assert len(nxsdk_stand_in.Board.made) == 2 + len(on_chip)  # a fresh simulator for each run


@pytest.mark.parametrize("precompute", [True, False], ids=["in advance", "by SNIPs"])
def test_across_chips(folder, monkeypatch, precompute):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", precompute)
    target = Board(folder)
    spread = import_nengo_loihi("hardware.allocators").GreedyInterchip(cores_per_chip=1)
    target.options.update(n_chips=9, allocator=spread)
    assert compared(folder, target, 1).equal
    assert len(target.chips) == 2


def test_options_come_from_the_emulated_run(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    summary = json.loads((folder.path / "expected" / "summary.json").read_text())
    options = folder.description["hardware_options"]
    assert options["snip_max_spikes_per_step"] >= summary["input_spikes_max"] > 50  # NengoLoihi's default drops some
    monkeypatch.setitem(folder.description, "precompute", False)
    target = Board(folder)
    target.run(0)
    (made,) = nxsdk_stand_in.Board.made
    assert len(made.n2Chips) <= options["n_chips"] and target.chips == [chip.id for chip in made.n2Chips]


def test_spikes_that_the_board_would_drop_are_an_error(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", False)
    monkeypatch.setitem(folder.description, "hardware_options", {"n_chips": 1, "snip_max_spikes_per_step": 3})
    with pytest.raises(MisfitError, match=r"sample 0: Too many spikes \(\d+\)"):
        Board(folder).run(0)


def test_a_wrong_weight_is_found_in_its_layer(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    step = nxsdk_stand_in.Core.start

    def spoilt(core):
        step(core)
        core.vth = core.vth // 2  # every neuron on the chip fires more often

    monkeypatch.setattr(nxsdk_stand_in.Core, "start", spoilt)
    comparison = compared(folder, Board(folder, layers=1), 1)
    first_on_chip = folder.layers[1]
    assert comparison.first.startswith(f"sample 0 (s0), layer {first_on_chip}: neuron ")
    assert comparison.totals[folder.layers[0]].neurons_different == 0


def test_energy_is_measured_power_less_idle_power_times_time(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    n_steps = 80
    energy = Board(folder).energy(n_steps, idle_s=1e-3)
    busy, idle = nxsdk_stand_in.Board.made
    assert busy.n_spikes > 0 and idle.n_spikes == 0 and idle.t == 125
    extra_w, time_s = busy.n_spikes / n_steps * 1e-3, n_steps * nxsdk_stand_in.US_PER_STEP * 1e-6
    share = folder.n_steps / n_steps
    assert energy["idle_power_w"] == pytest.approx(1.0)
    assert energy["dynamic_energy_per_inference_j"] == pytest.approx(extra_w * time_s * share)
    assert energy["total_energy_per_inference_j"] == pytest.approx((1 + extra_w) * time_s * share)
    assert energy["seconds_per_inference"] == pytest.approx(time_s * share)


@pytest.mark.parametrize(
    ("environ", "error", "words"),
    [
        ({"PARTITION": "nahuku33"}, InputError, "PARTITION=nahuku33 does not exist; set it to one of nahuku32, "),
        ({}, InputError, "no board is named; set PARTITION"),
    ],
    ids=["no such partition", "no partition"],
)
def test_the_board_is_never_guessed(monkeypatch, environ, error, words):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setattr(board.shutil, "which", lambda name: None)
    with pytest.raises(error, match=words):
        check_board(environ)


def test_partitions_are_those_of_the_cluster(monkeypatch, tmp_path):
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho other\necho loihi_9h\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert board.partitions() == ["loihi_9h", "other"]
    with pytest.raises(InputError, match="set it to one of loihi_9h, other"):
        check_board({"PARTITION": "nahuku32"})


def test_without_nxsdk_there_is_no_board():
    with pytest.raises(MissingError, match="needs Intel's NxSDK"):
        check_board(IN_CLOUD)


def test_a_session_on_the_board_records_where_it_ran(folder, monkeypatch, tmp_path, capsys):
    nxsdk_stand_in.install(monkeypatch)
    for name in ("BOARD", "KAPOHOBAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in IN_CLOUD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(board.shutil, "which", lambda name: None)
    manifest = check_files(str(folder.path))
    arguments = ["--target", "loihi", "--results", str(tmp_path / "results")]
    assert session.main([*arguments, "--limit", "1"], str(folder.path), manifest) == 0
    assert session.main(arguments, str(folder.path), manifest) == 2  # a board's results are not thrown away
    assert "holds results of a board already; go on with --resume" in capsys.readouterr().err
    assert session.main([*arguments, "--resume"], str(folder.path), manifest) == 0
    tree = json.loads((tmp_path / "results" / "results.json").read_text())
    assert tree["complete"] and tree["comparison"]["equal"] and len(tree["samples"]) == len(folder.names)
    for i, ran in enumerate(tree["ran_on"]):
        assert (ran["partition"], ran["nxsdk"], ran["first_sample"], ran["chips"]) == ("nahuku32", "1.0.0", i, [5])
        assert ran["hardware_options"] == folder.description["hardware_options"]
    assert "board ncl-ext-ghrd-01 only" in tree["energy"]["skipped"]
    output = capsys.readouterr().out
    assert "running on target loihi" in output and "partition nahuku32" in output


def test_a_measurement_that_fails_loses_no_results(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)

    def broken(self, parameter, condition):
        raise RuntimeError("no telemetry")

    monkeypatch.setattr(nxsdk_stand_in.Board, "probe", broken)
    where = {"board": board.ENERGY_BOARD, "kapoho_bay": False}
    assert board.measure_energy(Board(folder), where) == {
        "skipped": "the measurement failed: RuntimeError: no telemetry"
    }
