"""The board's side of a bundle, through nengo-loihi's own hardware interface and a stand-in for NxSDK."""

from __future__ import annotations

import json

import nxsdk_stand_in
import pytest
from bundle_of import tiny_bundle, unpacked
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.bundle import board, energy, session
from cotrain.hardware.bundle.board import BoardTarget, check_board
from cotrain.hardware.bundle.differences import Differences
from cotrain.hardware.bundle.folder import Folder
from cotrain.hardware.bundle.run import check_files
from cotrain.hardware.errors import InputError, MisfitError, MissingError

IN_CLOUD = {"PARTITION": "nahuku32", "SLURM": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = unpacked(tiny_bundle(tmp_path_factory.mktemp("board")), tmp_path_factory.mktemp("unpacked"))
    return Folder(path, check_files(str(path))["digest"])


def compared(folder, target, n=2):
    comparison = Differences(folder.layers, folder.names)
    for index in range(n):
        comparison.add(index, folder.expected(index), target.run(index))
    return comparison


@pytest.mark.parametrize("precompute", [True, False], ids=["in advance", "by SNIPs"])
def test_registers_written_by_nengo_loihi_give_the_spikes_that_are_expected(folder, monkeypatch, precompute):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", precompute)
    comparison = compared(folder, BoardTarget(folder, layers=1))
    assert comparison.equal, comparison.table()
    host, *on_chip = comparison.totals.values()
    assert host.samples == 2 and all(total.samples == 1 for total in on_chip)
    assert on_chip[-1].spikes > 0  # something arrived at the last layer
    assert len(nxsdk_stand_in.Board.made) == 2 + len(on_chip)  # a fresh simulator for each run


@pytest.mark.parametrize("precompute", [True, False], ids=["in advance", "by SNIPs"])
def test_across_chips(folder, monkeypatch, precompute):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", precompute)
    target = BoardTarget(folder)
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
    target = BoardTarget(folder)
    target.run(0)
    (made,) = nxsdk_stand_in.Board.made
    assert len(made.n2Chips) <= options["n_chips"] and target.chips == [chip.id for chip in made.n2Chips]


def test_spikes_that_the_board_would_drop_are_an_error(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    monkeypatch.setitem(folder.description, "precompute", False)
    monkeypatch.setitem(folder.description, "hardware_options", {"n_chips": 1, "snip_max_spikes_per_step": 3})
    with pytest.raises(MisfitError, match=r"sample 0: Too many spikes \(\d+\)"):
        BoardTarget(folder).run(0)


def test_a_wrong_weight_is_found_in_its_layer(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    step = nxsdk_stand_in.Core.start

    def spoilt(core):
        step(core)
        core.vth = core.vth // 2  # every neuron on the chip fires more often

    monkeypatch.setattr(nxsdk_stand_in.Core, "start", spoilt)
    comparison = compared(folder, BoardTarget(folder, layers=1), 1)
    first_on_chip = folder.layers[1]
    assert comparison.first.startswith(f"sample 0 (s0), layer {first_on_chip}: neuron ")
    assert comparison.totals[folder.layers[0]].neurons_different == 0


def test_energy_is_measured_power_less_rest_times_time(folder, monkeypatch):
    """Without noise every run says the same: 1 mW a spike and step over rest, of which NxSDK calls 20 mW x86."""
    nxsdk_stand_in.install(monkeypatch)
    target = BoardTarget(folder)
    found = target.energy(samples=6, repeats=3, idle_s=1e-3)
    first, rest, busy, after, *_ = nxsdk_stand_in.Board.made
    assert first.t == folder.n_steps  # wakes the board before it is seen at rest
    assert len(nxsdk_stand_in.Board.made) == 1 + 3 + 4  # rest, run, rest, run, rest, run, rest
    assert busy.n_spikes > 0 and rest.n_spikes == after.n_spikes == 0 and rest.t == 125
    n_steps = 2 * folder.n_steps
    assert busy.t == found["protocol"]["n_steps_per_run"] == n_steps and found["samples_per_run"] == 2
    extra_w, time_s = busy.n_spikes / n_steps * 1e-3, nxsdk_stand_in.US_PER_STEP * 1e-6 * folder.n_steps
    for part, watts in (("dynamic", extra_w), ("cores", extra_w), ("x86", 20e-3)):
        assert found[part]["power_w"]["mean"] == pytest.approx(watts)
        assert found[part]["power_w"]["sd"] == pytest.approx(0, abs=1e-12)
        assert found[part]["energy_per_inference_j"]["mean"] == pytest.approx(watts * time_s)
    assert found["rest_w"]["mean"] == pytest.approx(1.0)
    assert found["total_energy_per_inference_j"]["mean"] == pytest.approx((1 + extra_w) * time_s)
    assert found["seconds_per_inference"]["mean"] == pytest.approx(time_s)
    phases = found["phases_s_per_inference"]
    assert set(phases) == {"spiking", "management"} and phases["spiking"]["mean"] == pytest.approx(0.75 * time_s)
    assert "cores" in energy.sentence(found) and "+- 0 uJ" in energy.sentence(found)


def test_a_drifting_board_is_framed(folder, monkeypatch):
    """Rest that rises evenly cancels, because it is seen before and after; a single rest would be off by 4 mW."""
    nxsdk_stand_in.install(monkeypatch)
    target = BoardTarget(folder)
    target.chips = [0]
    nxsdk_stand_in.NOISE_MW += [0.0, 2.0, 4.0, 6.0, 8.0]  # rest, run, rest, run, rest
    found = target.energy(samples=2, repeats=2, idle_s=1e-3)
    extra = nxsdk_stand_in.Board.made[1].n_spikes / folder.n_steps * 1e-3
    assert found["dynamic"]["power_w"]["mean"] == pytest.approx(extra)
    assert [run["rest_before_w"] for run in found["runs"]] == pytest.approx([1.0, 1.004])


def test_noise_is_no_number(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    target = BoardTarget(folder)
    target.chips = [0]
    nxsdk_stand_in.NOISE_MW += [0.0, 300.0, 0.0, -300.0, 0.0]
    found = target.energy(samples=2, repeats=2, idle_s=1e-3)
    for part in ("dynamic", "cores"):
        assert "power_w" not in found[part] and found[part]["seen_w"]["sd"] > 0.1
        needed = found[part]["samples_needed"]
        assert needed > 2 and found[part]["not_measurable"] == f"not measurable at this size: run {needed:,} samples"
    assert found["x86"]["power_w"]["mean"] == pytest.approx(20e-3)  # what NxSDK computes has no noise


FORUM_MW = (6.059, 0.537, 3.459, 2.801, -2.334)  # forum.nengo.ai, thread 1521: one network, one method, 80 samples each


def test_five_public_measurements_of_one_network_are_refused():
    found = energy.difference([1e-3 * mw for mw in FORUM_MW], [1e-3] * 5, 80)
    mean, sd = 2.1044e-3, 3.1668e-3  # by hand
    assert found["seen_w"]["mean"] == pytest.approx(mean, rel=1e-3) and found["seen_w"]["sd"] == pytest.approx(
        sd, rel=1e-3
    )
    half = 2.776 * sd / 5**0.5  # Student's t with 4 degrees of freedom
    assert found["seen_w"]["ci95"] == pytest.approx([mean - half, mean + half], rel=1e-3)
    # 400 samples gave a standard error of sd / sqrt(5); a third of the half of the upper end is asked for
    needed = 400 * (3 * sd / 5**0.5 / ((mean + half) / 2)) ** 2
    assert found["samples_needed"] == pytest.approx(needed, rel=0.05)
    assert found["not_measurable"] == f"not measurable at this size: run {found['samples_needed']:,} samples"
    negative = energy.difference([-1e-3, -1.1e-3], [1e-3] * 2, 80)
    assert "the board drifts" in negative["not_measurable"] and negative["samples_needed"] is None


def test_long_public_runs_are_measured():
    """ABR's scaled keyword spotter, 10 copies: three runs of 15 s, dynamic power over the awake board at rest in mW."""
    found = energy.difference([28.30e-3, 28.53e-3, 28.74e-3], [8.77e-3] * 3, 2000)
    assert found["power_w"]["mean"] == pytest.approx(28.523e-3, rel=1e-4)
    assert found["power_w"]["sd"] == pytest.approx(0.22e-3, rel=0.01)
    assert found["energy_per_inference_j"]["mean"] == pytest.approx(250.1e-6, rel=1e-3)  # published: 250.2 uJ


def test_an_nxsdk_without_the_split_says_so(folder, monkeypatch):
    nxsdk_stand_in.install(monkeypatch)
    run = nxsdk_stand_in.Board.run

    def without(self, steps, aSync=False):
        run(self, steps, aSync)
        del self.energyTimeMonitor

    monkeypatch.setattr(nxsdk_stand_in.Board, "run", without)
    found = BoardTarget(folder).energy(samples=2, repeats=2, idle_s=1e-3)
    assert found["dynamic"]["power_w"]["mean"] > 0
    assert found["cores"] == found["x86"] == {"not_measurable": "this NxSDK does not tell cores and x86 apart"}


@pytest.mark.parametrize("found", [None, {}, {"dynamic": 3}, {"dynamic": {"energy_per_inference_j": {"mean": "x"}}}])
def test_whatever_came_back_gives_a_sentence(found):
    assert energy.sentence(found).startswith("Energy")


def test_a_measurement_lost_in_noise_is_made_again_with_the_command_that_is_printed(
    folder, monkeypatch, tmp_path, capsys
):
    nxsdk_stand_in.install(monkeypatch)
    for name, value in {**IN_CLOUD, "BOARD": board.ENERGY_BOARD}.items():
        monkeypatch.setenv(name, value)
    for name in ("KAPOHOBAY", "LMTOPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(board.shutil, "which", lambda name: None)
    monkeypatch.setattr(board, "IDLE_S", 1e-3)
    monkeypatch.setattr(BoardTarget.energy, "__defaults__", (None, 2, 1e-3))
    manifest = check_files(str(folder.path))
    arguments = ["--target", "loihi", "--results", str(tmp_path / "results"), "--layers", "0", "--limit", "1"]
    nxsdk_stand_in.NOISE_MW += [0.0, 0.0, 3000.0, 0.0, -3000.0, 0.0]  # the sample, then rest, run, rest, run, rest
    assert session.main([*arguments, "--energy-samples", "2"], str(folder.path), manifest) == 0
    (then,) = (line for line in capsys.readouterr().out.splitlines() if "then: python run.py" in line)
    needed = then.rpartition(" ")[2]
    assert then.endswith(f"--target loihi --resume --energy-samples {needed}")
    again = [*arguments, "--resume", "--energy-samples", "4"]  # fewer than asked for, to be quick
    assert session.main(again, str(folder.path), manifest) == 0
    tree = json.loads((tmp_path / "results" / "results.json").read_text())
    assert tree["energy"]["dynamic"]["power_w"]["mean"] > 0 and tree["energy"]["protocol"]["repeats"] == 2
    made = len(nxsdk_stand_in.Board.made)
    assert session.main(again, str(folder.path), manifest) == 0
    assert len(nxsdk_stand_in.Board.made) == made  # it is not measured a third time
    assert session.main([*arguments, "--resume", "--energy-samples", "0"], str(folder.path), manifest) == 2
    assert "--energy-samples is 0; give 1 to 1000000" in capsys.readouterr().err


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
    assert board.measure_energy(BoardTarget(folder), where) == {
        "skipped": "the measurement failed: RuntimeError: no telemetry"
    }
