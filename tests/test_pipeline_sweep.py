"""Sweeps: what a file may say, what is chosen, and that nothing is lost or hangs on who runs it."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fuzz.sweeps
import numpy as np
import pytest
import slurm_stand_in
from cotrain.hardware.errors import BusyError, InputError, MissingError, OutputError
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.lock import locked
from cotrain.pipeline.sweeps import driver, page, sampling, trial
from cotrain.pipeline.sweeps.plan import grid_order, grid_point, grid_size, read
from cotrain.pipeline.sweeps.workers import Pool, pool

HEAD = 'base = "demo-locnet"\n'
SPACE = (
    '[space]\n"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}\n"network.dense" = [[64, 32], [128, 64]]\n'
)
THREE = HEAD + "trials = 3\n[space]\n"
GOALS = '[objectives]\n"ann.value" = "maximize"\n"cores" = "minimize"\n'


def plan_of(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text)
    return read(path)


@pytest.mark.parametrize(
    "text, words",
    [
        (HEAD + "trails = 3\n" + SPACE + GOALS, ("unknown key 'trails'", "did you mean 'trials'")),
        ("trials = 3\n" + SPACE + GOALS, ("base is missing",)),
        (HEAD + "trials = 3\n" + GOALS, ("space is missing",)),
        (HEAD + "trials = 3\n" + SPACE, ("objectives is missing",)),
        ('base = "nonsense"\ntrials = 3\n' + SPACE + GOALS, ("unknown experiment 'nonsense'",)),
        (HEAD + SPACE + GOALS, ("trials is missing",)),
        (HEAD + "trials = 0\n" + SPACE + GOALS, ("trials is 0", "from 1 to 100,000")),
        (HEAD + "trials = true\n" + SPACE + GOALS, ("trials is True",)),
        (HEAD + 'trials = 3\nsampler = "tep"\n' + SPACE + GOALS, ("sampler is 'tep'", "did you mean 'tpe'")),
        (THREE + '"train.learning_rat" = [1e-3]\n' + GOALS, ("did you mean 'train.learning_rate'",)),
        (THREE + '"train.learning_rate" = []\n' + GOALS, ("empty list",)),
        (THREE + '"train.learning_rate" = {low = 2e-3, high = 1e-3}\n' + GOALS, ("low", "above high")),
        (THREE + '"train.learning_rate" = {low = 1e-3, high = 1e-3}\n' + GOALS, ("empty range",)),
        (THREE + '"train.learning_rate" = {low = nan, high = 1e-3}\n' + GOALS, ("are numbers",)),
        (THREE + '"train.learning_rate" = {low = -1.0, high = 1e-3}\n' + GOALS, ("train.learning_rate",)),
        (THREE + '"train.epochs" = {low = 1, high = 2.5}\n' + GOALS, ("whole number",)),
        (THREE + '"neurons.kind" = ["lif", "lfi"]\n' + GOALS, ("neurons.kind", "lfi")),
        (HEAD + "trials = 3\n" + SPACE + '[objectives]\n"ann.valeu" = "maximize"\n', ("did you mean 'ann.value'",)),
        (HEAD + "trials = 3\n" + SPACE + '[objectives]\n"ann.value" = "up"\n', ('expected "maximize" or "minimize"',)),
        (HEAD + 'sampler = "grid"\n' + SPACE + GOALS, ("a grid needs a list",)),
        (HEAD + "trials = 3\n[set]\n" + '"train.epochs" = -3\n' + SPACE + GOALS, ("train.epochs is -3",)),
        ("base = [", ("not valid TOML",)),
        (THREE + '"train.rate_weight" = {low = 0.0, high = 1.0, log = true}\n' + GOALS, ("starts above 0", "low is 0")),
        (THREE + '"train.rate_weight" = {low = 0.1, high = 1.0, log = "yes"}\n' + GOALS, ("log is 'yes'",)),
        (THREE + '"train.rate_weight" = {low = 0.1, high = 1.0, step = 1e-12}\n' + GOALS, ("step is 1e-12",)),
        (THREE + '"train.rate_weight" = {low = 0.1, high = 1.0, step = 10}\n' + GOALS, ("step is 10", "at most 0.9")),
        (THREE + '"train.epochs" = {low = 1, high = 99999999999999999999999}\n' + GOALS, ("are numbers",)),
        (THREE + '"train.epochs" = [1979-05-27]\n' + GOALS, ("is no value of a setting",)),
        (THREE + '"train.epochs" = [1, 1]\n' + GOALS, ("a value twice",)),
        (THREE + "train.epochs = [1, 2]\n" + GOALS, ('quotation marks: "train.epochs"',)),
        (THREE + '"name" = ["a"]\n' + GOALS, ("'name' is no setting of a training",)),
        (HEAD + "trials = 3\n[set]\n" + '"train.learning_rate" = 1e-3\n' + SPACE + GOALS, ("under [set] and under",)),
        (HEAD + "trials = 3\n[set]\n" + '"train.epochs" = 1979-05-27\n' + SPACE + GOALS, ("is no value",)),
        (HEAD + "trials = 3\nset = 3\n" + SPACE + GOALS, ("set is 3; expected a table",)),
        (HEAD + "trials = 1.5\n" + SPACE + GOALS, ("trials is 1.5; expected a whole number",)),
        (HEAD + "trials = 3\nthreads = 1000000\n" + SPACE + GOALS, ("threads is 1000000",)),
        (HEAD + "trials = 3\ntimeout_s = nan\n" + SPACE + GOALS, ("timeout_s is nan",)),
        (HEAD + "trials = 3\n" + SPACE + '[objectives]\n"ann.spikes_per_inference" = "minimize"\n', ("not spike",)),
        (HEAD + "trials = 3\n" + SPACE + '[objectives]\n"shifted.ann.mean_rate_hz" = "minimize"\n', ("not spike",)),
        (HEAD + "trials = 3\n" + SPACE + '[objectives]\n"loihi-board.value" = "maximize"\n', ("is no figure",)),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, text)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_a_million_points_have_to_be_asked_for(tmp_path):
    values = ", ".join(f"{i / 1e4:g}" for i in range(1, 101))
    keys = "train.learning_rate", "finetune.learning_rate", "train.rate_weight"
    axes = "".join(f'"{key}" = [{values}]\n' for key in keys)
    text = HEAD + 'sampler = "grid"\n{}[space]\n' + axes + GOALS
    with pytest.raises(InputError, match="the grid has 1,000,000 points; say how many"):
        plan_of(tmp_path, text.format(""))
    plan = plan_of(tmp_path, text.format("trials = 50\n"))
    order = grid_order(plan)
    assert len(set(order)) == 50 == plan.n_trials and max(order) < grid_size(plan.space) == 10**6


def test_missing_file(tmp_path):
    with pytest.raises(MissingError, match="cannot be read"):
        read(tmp_path / "none.toml")


def test_a_grid_is_every_combination_once(tmp_path):
    space = '[space]\n"train.epochs" = {low = 1, high = 5, step = 2}\n"neurons.kind" = ["lif", "rectified"]\n'
    plan = plan_of(tmp_path, HEAD + 'sampler = "grid"\n' + space + GOALS)
    points = [tuple(grid_point(plan.space, i).values()) for i in range(plan.n_trials)]
    assert points == [(e, kind) for e in (1, 3, 5) for kind in ("lif", "rectified")]


def complete(number, value, cores, params, **more):
    return {"number": number, "state": "complete", "params": params, "values": {"ann.value": value, "cores": cores},
            "seconds": 1.0, "sampler": {}, **more}  # fmt: skip


def test_a_grid_of_more_points_than_a_range_can_have(tmp_path):
    keys = [f'"{section}.{key}"' for section in ("train", "finetune") for key in
            ("learning_rate", "rate_weight", "rate_mean_weight", "weight_decay")]  # fmt: skip
    space = "".join(f"{key} = {{low = 1e-3, high = 1.0, step = 1e-5}}\n" for key in keys)
    plan = plan_of(tmp_path, HEAD + 'trials = 3\nsampler = "grid"\n[space]\n' + space + GOALS)
    order = grid_order(plan)
    assert grid_size(plan.space) > 2**64 and len(set(order)) == 3 and order == grid_order(plan)
    for i in order:
        assert all(1e-3 <= value <= 1.0 for value in grid_point(plan.space, i).values())
    assert plan.facts()["trials"] == 3  # another number of them is another choice


def test_small_and_cheap_trainings_are_given_up_only_where_one_figure_counts(tmp_path):
    assert not plan_of(tmp_path, HEAD + "trials = 3\n" + SPACE + GOALS).prune
    assert plan_of(tmp_path, HEAD + "trials = 3\n" + SPACE + '[objectives]\n"ann.value" = "maximize"\n').prune
    assert plan_of(tmp_path, HEAD + "trials = 3\nprune = true\n" + SPACE + GOALS).prune


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_what_is_chosen_hangs_on_earlier_trials_alone(tmp_path, sampler):
    plan = plan_of(tmp_path, HEAD + f'trials = 8\nbatch = 4\nsampler = "{sampler}"\n' + SPACE + GOALS)
    table = {}
    for numbers in plan.in_batches():
        chosen = sampling.choose(plan, numbers, table)
        assert chosen == sampling.choose(plan, numbers, dict(reversed(table.items())))  # again, and in any order
        for n in numbers:
            params = chosen[n]["params"]
            assert 1e-4 <= params["train.learning_rate"] <= 1e-2 and params["network.dense"] in ([64, 32], [128, 64])
            value = -abs(math.log10(params["train.learning_rate"]) + 3)
            table[n] = complete(n, value, params["network.dense"][0], params) | {"sampler": chosen[n]["sampler"]}
    points = {json.dumps(trial["params"]) for trial in table.values()}
    assert len(points) == 8 if sampler != "nsga2" else len(points) > 4  # children may be their parents


def test_tpe_comes_nearer_than_chance(tmp_path):
    space = '[space]\n"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}\n'
    goal = '[objectives]\n"ann.value" = "maximize"\n'

    def best(sampler):
        plan = plan_of(tmp_path, HEAD + f'trials = 40\nbatch = 4\nsampler = "{sampler}"\n' + space + goal)
        table = {}
        for numbers in plan.in_batches():
            for n, chosen in sampling.choose(plan, numbers, table).items():
                distance = abs(math.log10(chosen["params"]["train.learning_rate"]) + 2.7)
                table[n] = complete(n, -distance, 1, chosen["params"]) | {"sampler": chosen["sampler"]}
        return np.mean([-table[n]["values"]["ann.value"] for n in range(20, 40)])

    assert best("tpe") < best("random")


def test_front_and_knee(tmp_path):
    plan = plan_of(tmp_path, HEAD + "trials = 6\n" + SPACE + GOALS)
    points = [(0.5, 10), (0.8, 12), (0.85, 40), (0.7, 13), (0.8, 12)]
    trials = [complete(n, value, cores, {}) for n, (value, cores) in enumerate(points)]
    trials.append({"number": 5, "state": "failed", "values": {}, "params": {}})
    assert sampling.pareto(plan, trials) == [0, 1, 2, 4]  # equal ones are both there
    assert page.knee(np.array([[0.5, -10], [0.8, -12], [0.85, -40]])) == 1
    assert page.knee(np.array([[0.5, -10], [0.8, -12]])) is None


def test_median_rule_by_hand(tmp_path):
    plan = plan_of(tmp_path, HEAD + "trials = 6\nprune = true\n" + SPACE + GOALS)
    curves = [
        [0, 0.1, 0.2, 0.3, 0.5],
        [0, 0.1, 0.2, 0.3, 0.2],
        [0, 0, 0, 0.1, 0.4],
        [0, 0, 0, 0.2, 0.2],
        [0, 0, 0, 0.4],
    ]
    before = [complete(n, 0, 0, {}, curve=curve) for n, curve in enumerate(curves)]
    # best so far after epoch 3: 0.3 0.3 0.1 0.2 0.4; epoch 4 has but four curves
    assert sampling.thresholds(plan, before) == [None, None, None, 0.3, None]


def test_a_pool_hands_exceptions_over():
    def f(task):
        return 1 / task["x"]

    found = dict(Pool().map(f, [{"x": 2}, {"x": 0}]))
    assert found[0] == 0.5 and isinstance(found[1], ZeroDivisionError)


def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr("cotrain.pipeline.sweeps.workers.WAIT_S", 1)
    with pytest.raises(InputError, match="no scheduler answers"), pool(2, "tcp://127.0.0.1:9"):
        pass
    with pytest.raises(InputError, match="expected tcp://HOST:PORT"), pool(2, "here:9"):
        pass
    for workers in (0, -1, 10**6):
        with pytest.raises(InputError, match=f"--workers is {workers:,}"), pool(workers):
            pass


SWEEP = """base = "demo-locnet"
trials = 4
batch = 2
sampler = "random"
[set]
"train.epochs" = 1
"train.backend" = "tensorflow"
"data.n_groups" = 40
"data.height" = 16
"data.width" = 32
"network.filters" = [4]
"deploy.n_bootstrap" = 20
"quantize.board" = "kapoho_bay"
[space]
"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}
"network.dense" = [[8], [16], [52000]]
[objectives]
"ann.value" = "maximize"
"cores" = "minimize"
"""


EPOCHS = '"train.epochs" = [1, 2]'


def table_of(summary):
    return [{key: t[key] for key in ("number", "state", "params", "values")} for t in summary["trials"]]


def cotrain(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "cotrain.pipeline", *map(str, arguments)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.toml").write_text(SWEEP)
    job = cotrain("sweep", folder / "small.toml", "--runs", folder / "runs", "--json", folder / "one.json")
    output, _ = job.communicate(timeout=900)
    assert job.returncode == 0, output
    return folder, json.loads((folder / "one.json").read_text()), output


def test_a_sweep_end_to_end(swept):
    folder, summary, output = swept
    states = [t["state"] for t in summary["trials"]]
    assert len(states) == 4 and set(states) <= {"complete", "misfit"} and "complete" in states
    for t in summary["trials"]:
        assert (t["state"] == "misfit") == (t["params"]["network.dense"] == [52000])
    by_number = {t["number"]: t for t in summary["trials"]}
    for n in summary["pareto"]:
        assert by_number[n]["values"]["cores"] >= 1 and 0 <= by_number[n]["values"]["ann.value"] <= 1
        assert {row["model"] for row in summary["test"][str(n)]["rows"]} == {"constant", "ann"}
    html = (folder / "runs" / "sweeps" / "small" / "sweep.html").read_text()
    assert "trial 0" in html and "ann.value" in html
    assert "the front has" in output.splitlines()[-4] or "the front has" in output


def ended(job, folder):
    """The table that a sweep leaves."""
    output, _ = job.communicate(timeout=900)
    assert job.returncode == 0, output
    return json.loads((folder / "found.json").read_text()), output


def test_killed_on_two_workers_and_resumed_by_a_queue_it_is_the_same_table(swept, tmp_path):
    """Processes of this machine first; then two jobs of a queue, whose sbatch is a stand-in."""
    _, summary, _ = swept
    path = tmp_path / "small.toml"
    path.write_text(SWEEP + '[slurm]\nqueue = "cpu"\nwalltime = "01:00:00"\ninterface = "lo"\n')
    arguments = "sweep", path, "--runs", tmp_path / "runs", "--json", tmp_path / "found.json", "--workers", 2
    job = cotrain(*arguments, start_new_session=True)
    done = tmp_path / "runs" / "sweeps" / "small" / "trials"
    deadline = time.monotonic() + 900
    while not list(done.glob("*/trial.json")) and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)  # the driver; its workers find out by themselves
    job.communicate()
    slurm = slurm_stand_in.make(tmp_path / "bin")
    env = {**os.environ, "PATH": f"{slurm}{os.pathsep}{os.environ['PATH']}"}
    found, output = ended(cotrain(*arguments, "--cluster", "slurm", env=env), tmp_path)
    assert "going on with" in output
    assert table_of(found) == table_of(summary) and found["pareto"] == summary["pareto"]
    assert found["test"] == summary["test"]


def test_workers_started_by_hand_give_the_same_table(swept, tmp_path):
    folder, summary, _ = swept
    with fuzz.sweeps.cluster() as (address, _):
        job = cotrain("sweep", folder / "small.toml", "--runs", tmp_path / "runs", "--json", tmp_path / "found.json",
                      "--cluster", address)  # fmt: skip
        found, _ = ended(job, tmp_path)
    assert table_of(found) == table_of(summary) and found["test"] == summary["test"]


def test_another_sweep_of_the_same_name_is_refused(swept, tmp_path):
    folder, *_ = swept
    path = tmp_path / "small.toml"
    path.write_text(SWEEP.replace("trials = 4", "trials = 4\nseed = 1"))
    with pytest.raises(InputError, match="holds a sweep whose seed is not that of small.toml"):
        driver.run(read(path), folder / "runs", Path("data"), Pool())


def test_a_trial_that_raises_does_not_end_the_sweep(tmp_path, monkeypatch):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    plan = read(path)

    def run_trial(task):
        if task["number"] == 1:
            raise MemoryError
        return complete(task["number"], 0.5, 3, task["params"]) | {"sampler": task["sampler"]}

    monkeypatch.setattr(driver, "run_trial", run_trial)
    monkeypatch.setattr(driver, "score_point", lambda task: {"rows": []})
    said = []
    summary = driver.run(plan, tmp_path / "runs", tmp_path, Pool(), say=said.append)
    assert [t["state"] for t in summary["trials"]] == ["complete", "failed", "complete", "complete"]
    assert any("no memory; it is tried again" in line for line in said)
    trial_1 = tmp_path / "runs" / "sweeps" / "small" / "trials" / "0001" / artifacts.TRIAL
    assert json.loads(trial_1.read_text())["worker"] is True  # so that the next call tries it again


def test_a_full_disk_ends_the_sweep_and_what_is_done_stays(tmp_path, monkeypatch):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    plan, full = read(path), [True]

    def run(self):
        if self.task["number"] == 2 and full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return {"values": {"ann.value": 0.5, "cores": 3 + self.task["number"]}, "curve": [0.1]}

    monkeypatch.setattr(trial._Trial, "run", run)
    monkeypatch.setattr(driver, "score_point", lambda task: {"rows": []})
    runs, said = tmp_path / "runs", []
    with pytest.raises(OutputError, match="0002: the disk is full; free space or choose another folder"):
        driver.run(plan, runs, tmp_path, Pool(), say=said.append)
    table = json.loads((runs / "sweeps" / "small" / artifacts.SWEEP_TABLE).read_text())
    assert [t["number"] for t in table["trials"]] == [0, 1]
    full[0] = False
    said.clear()
    summary = driver.run(plan, runs, tmp_path, Pool(), say=said.append)
    assert [t["state"] for t in summary["trials"]] == ["complete"] * 4
    assert "going on with 2 of 4 trials done" in said[0] and "begun and not ended" in said[1]
    assert any("trial 2 (3/4" in line and "begun 2 times" in line for line in said)


def test_two_commands_on_one_sweep(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    with locked(artifacts.sweep_folder(tmp_path / "runs", "small")):
        with pytest.raises(BusyError, match=f"is being written by .*process {os.getpid()}"):
            driver.run(read(path), tmp_path / "runs", tmp_path, Pool())


def test_a_worker_on_other_disks_is_told(tmp_path):
    task = {"number": 0, "sweep": str(tmp_path / "sweeps" / "none"), "params": {}, "objectives": []}
    with pytest.raises(MissingError, match="all workers have to see the same files"):
        trial.run_trial(task)


def test_data_that_are_not_there_are_said_before_any_trial(tmp_path):
    path = tmp_path / "real.toml"
    path.write_text(SWEEP.replace("demo-locnet", "locnet").replace('"data.n_groups" = 40\n', ""))
    with pytest.raises(MissingError, match="caltech"):
        driver.run(read(path), tmp_path / "runs", tmp_path / "nothing", Pool())
    assert not (tmp_path / "runs" / "sweeps").exists()
    masks = SWEEP.replace("demo-locnet", "demo-cae").replace("ann.value", "shifted.ann.value")
    masks = masks.replace('"train.epochs" = 1\n', "").replace('"network.dense" = [[8], [16], [52000]]', EPOCHS)
    path.write_text(masks)
    with pytest.raises(InputError, match="masks are not judged on shifted images; expected 'ann.value'"):
        driver.run(read(path), tmp_path / "runs", tmp_path, Pool())


def test_energy_and_time_of_a_trial_are_numbers():
    """From the spikes that the trial counted and where its network lies."""
    import synthetic_run
    from cotrain import hardware
    from cotrain.pipeline import experiment as experiments
    from cotrain.pipeline.networks import spec_for
    from cotrain.pipeline.sweeps.trial import cost_of

    settings = experiments.load("demo-locnet")
    spec = spec_for(settings.network, (settings.data.height, settings.data.width))
    layers = [
        {"name": layer.name, "neurons": layer.n_neurons, "on_chip": layer.name not in spec.on_host,
         "spikes_per_inference": layer.n_neurons / 2, "synops_per_inference": 10.0 * layer.n_neurons}
        for layer in spec.layers
    ]  # fmt: skip
    found = cost_of(settings, spec, {"layers": layers}, synthetic_run.placement(spec))
    on_chip = [layer for layer in layers if layer["on_chip"]]
    updates = 72.8e-12 * settings.finetune.n_steps * sum(layer["neurons"] for layer in on_chip)
    assert found["energy_j"] > updates and found["time_s"] > 330e-6 * settings.finetune.n_steps
    alone = {"n_steps": settings.finetune.n_steps, "layers": [{"neurons": 10}]}
    assert hardware.estimate(alone).energy_j["total"]["value"] is None  # an objective needs the counts


def test_the_committed_sweep_is_one_of_its_file():
    folder = Path(__file__).resolve().parents[1] / "reports" / "sweep-locnet"
    plan = read(folder / "sweep-locnet.toml")
    summary = json.loads((folder / "sweep.json").read_text())
    assert len(summary["trials"]) == plan.n_trials >= 30
    for t in summary["trials"]:
        assert all(value in plan.space[key] for key, value in t["params"].items())
    assert sampling.pareto(plan, summary["trials"]) == summary["pareto"]
    assert set(summary["test"]) <= {str(n) for n in summary["pareto"]}
    html = page.render(plan, summary, folder).decode()
    assert "knee: trial" in html and 'href="trials/' not in html  # what is not there is no link
