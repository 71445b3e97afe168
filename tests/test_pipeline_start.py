"""``train.start``: going on from parameters that are there, with batch normalisation that changes nothing at first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cotrain.hardware.errors import CorruptError, InputError, MissingError
from cotrain.pipeline import experiment, training
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.experiment import NetworkSettings
from cotrain.pipeline.runs import artifacts, parameters
from cotrain.pipeline.training.backend import make_backend
from small_training import TINY, boxes_data, classes_data, experiment_for, masks_data, quiet

NETWORKS = {
    "boxes": NetworkSettings(name="locnet", filters=(3, 4), dense=(12,)),
    "masks": NetworkSettings(name="unet", filters=(3, 4), bottleneck_layers=1),  # a layer with two inputs
    "classes": NetworkSettings(name="convnet", filters=(3, 4), strides=(1, 2), dense=(6,)),
}
DATA = {"boxes": boxes_data, "masks": masks_data, "classes": classes_data}


def with_start(path, task="classes", **changes):
    base = experiment_for(task, network=NETWORKS[task])
    train = dataclasses.replace(base.train, backend="tensorflow", start=str(path), **changes)
    return dataclasses.replace(base, train=train)


def first_params(task, seed=3):
    """Parameters away from initial ones, so that means and deviations of all filters differ."""
    job = training.job_for(with_start("", task), DATA[task](), "ann")
    rng = np.random.default_rng(seed)
    params = job.spec.init_params(seed)
    return {name: (value + rng.normal(0, 0.2, value.shape)).astype(np.float32) for name, value in params.items()}


@pytest.mark.parametrize("task", list(DATA))
def test_batch_normalisation_starts_as_what_changes_nothing(task):
    """The folded network is the given one, to rounding; in a training step the filters have the deviations they had."""
    data, params = DATA[task](), first_params(task)
    made = with_start("", task, batch_norm=True)
    made = dataclasses.replace(made, neurons=dataclasses.replace(made.neurons, rate_curve="ideal"))  # no steps in it
    job = training.job_for(made, data, "ann")
    backend = make_backend("tensorflow", job, params, data.images)
    for name, value in backend.params().items():
        np.testing.assert_allclose(value, params[name], rtol=2e-5, atol=2e-6, err_msg=name)
    plain = make_backend("tensorflow", job.with_settings(batch_norm=False), params)
    anew = make_backend("tensorflow", job, params)
    targets = job.scaler.standardise(data.targets).astype(np.float32)
    losses = [b.train_step(data.images, targets, 0.0).loss for b in (plain, backend, anew)]
    assert abs(losses[0] - losses[1]) < 1e-4 * losses[0] < 0.01 * losses[0] < abs(losses[0] - losses[2])


def test_a_training_goes_on_where_another_ended(tmp_path):
    data = classes_data()
    first = training.train(with_start("", epochs=6), data, tmp_path / "a", "key", quiet)
    artifacts.write_npz(tmp_path / "params.npz", first.params)
    said = []
    again = training.train(with_start(tmp_path / "params.npz"), data, tmp_path / "b", "key", said.append)
    assert f"  starting from {tmp_path / 'params.npz'}" in said
    best = first.history["epochs"][first.history["best_epoch"]]
    assert again.history["epochs"][0]["metric"] == best["metric"] > first.history["epochs"][0]["metric"]


def test_other_outputs_get_a_readout_of_their_own(tmp_path):
    """Three classes, learnt from a network of two: layers are taken over, the readout is the initial one."""
    three = classes_data()
    two = dataclasses.replace(three, targets=np.minimum(three.targets, 1), class_names=three.class_names[:2])
    first = training.train(with_start(""), two, tmp_path / "a", "key", quiet)
    artifacts.write_npz(tmp_path / "params.npz", first.params)
    job, said = training.job_for(with_start(""), three, "ann"), []
    params, anew = parameters.started(tmp_path / "params.npz", job.spec, job.spec.init_params(0))
    assert anew == ["readout.kernel", "readout.bias"] and params["readout.kernel"].shape[-1] == 3
    np.testing.assert_array_equal(params["conv1.kernel"], first.params["conv1.kernel"])
    training.train(with_start(tmp_path / "params.npz"), three, tmp_path / "b", "key", said.append)
    assert any(line.endswith("params.npz, but for the readout, which has other outputs there") for line in said)


def test_what_cannot_be_started_from_is_refused(tmp_path):
    job = training.job_for(with_start(""), classes_data(), "ann")
    fresh = job.spec.init_params(0)

    def refused(**changes):
        artifacts.write_npz(tmp_path / "params.npz", {**fresh, **changes})
        with pytest.raises((InputError, CorruptError)) as caught:
            parameters.started(tmp_path / "params.npz", job.spec, fresh)
        return str(caught.value)

    assert "conv1.kernel has shape (3, 3, 1, 9)" in refused(**{"conv1.kernel": np.zeros((3, 3, 1, 9), np.float32)})
    assert "['conv9.bias'] unknown" in refused(**{"conv9.bias": np.zeros(2, np.float32)})
    assert "NaN" in refused(**{"conv1.bias": np.full_like(fresh["conv1.bias"], np.nan)})
    assert "NaN or infinity" in refused(**{"conv1.bias": np.full_like(fresh["conv1.bias"], np.inf)})
    (tmp_path / "params.npz").write_bytes(b"PK no archive")
    with pytest.raises(CorruptError, match=r"params\.npz cannot be read"):
        parameters.started(tmp_path / "params.npz", job.spec, fresh)
    with pytest.raises(MissingError, match=r"train\.start: no file .*gone\.npz; expected the params\.npz"):
        parameters.start_file(with_start(tmp_path / "gone.npz"))
    for name in ("lecnet", "../mnist", "../pretrained/mnist", "\0"):
        with pytest.raises(InputError, match=r"train\.start is .*; expected the path of a params\.npz, or one of"):
            parameters.start_file(with_start(name))
    assert parameters.start_file(with_start("")) is None
    with pytest.raises(InputError, match="starts from your own model, and train.start is 'mnist'"):
        experiment.load("mnist", ["network.name=model", "network.path=m.keras", "train.start=mnist"])


def test_parameters_of_the_package_by_name():
    made = experiment.load("cifar10")
    data = Dataset(
        "c", "classes", np.zeros((4, 32, 32, 3), np.float32), np.arange(4), np.array(list("abcd")),
        np.array(list("abcd")), np.array(["train", "train", "validation", "test"]),
        class_names=tuple("0123456789"),
    )  # fmt: skip
    spec = training.job_for(made, data, "ann").spec
    params, anew = parameters.started(parameters.start_file(made), spec, spec.init_params(0))
    assert not anew and set(params) == set(spec.param_shapes())
    assert all(value.dtype == np.float32 for value in params.values())


def test_on_the_command_line(tmp_path, capsys, monkeypatch):
    """A path is relative to the file that has it; what lies there counts, not where."""
    monkeypatch.chdir(tmp_path)
    common = [*TINY, "--data", "data", "--set", "train.backend=tensorflow"]
    assert main(["train", "demo-locnet", *common, "--runs", "first"]) == 0
    made = tmp_path / "first/demo-locnet/train/params.npz"
    (tmp_path / "mine.toml").write_text(
        'base = "demo-locnet"\n[train]\nstart = "first/demo-locnet/train/params.npz"\nbatch_norm = true\n'
    )
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    common = [*TINY, "--data", "../data", "--set", "train.backend=tensorflow", "--runs", "runs"]
    train = ["train", "../mine.toml", *common]
    assert main(train) == 0
    assert f"starting from {made}" in capsys.readouterr().out.replace("\n    ", " ").replace("\n  ", " ")
    moved = tmp_path / "moved.npz"
    made.rename(moved)
    assert main([*train, "--set", f"train.start={moved}"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert main([*train, "--set", "train.start="]) == 2
    assert "another train.start" in capsys.readouterr().err
    assert main(train) == 2
    error = capsys.readouterr().err
    assert "train.start: no file" in error and "Traceback" not in error
    assert main([*train, "--set", f"train.start={moved}", "--set", "network.filters=[4, 4]", "--force"]) == 2
    assert "is of another network" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "below/runs/mine/train").iterdir() if path.is_file()) == [
        "history.json", "manifest.json", "params.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("small", [False, True])
def test_packed_parameters_come_back(small, tmp_path, monkeypatch):
    """Whole: to the bit. Small: the ANN as half precision rounds it, the hybrid nearer to its own than that."""
    rng = np.random.default_rng(0)
    made = with_start("")
    spec = training.job_for(made, classes_data(), "ann").spec
    ann = spec.init_params(1)
    hybrid = {name: (v + rng.normal(0, 0.002, v.shape)).astype(np.float32) for name, v in ann.items()}
    hybrid["conv1.bias"], hybrid["conv2.kernel"] = ann["conv1.bias"], ann["conv2.kernel"]  # not moved
    constant = np.array([0.2, 0.3, 0.5], np.float32)
    monkeypatch.setattr(parameters, "PRETRAINED_DIR", tmp_path)
    arrays = parameters.pack({"ann": ann, "hybrid": hybrid}, constant, small=small)
    artifacts.write_npz(parameters.package_file(made), arrays)
    assert "hybrid/conv1.bias" not in arrays and "step/conv2.kernel" not in arrays
    found = parameters.from_package(made)
    np.testing.assert_array_equal(found.constant, constant)
    for kind, whole in (("ann", ann), ("hybrid", hybrid)):
        assert set(found.params[kind]) == set(whole)
        for name, value in whole.items():
            got = found.params[kind][name]
            assert got.dtype == np.float32
            rounding = np.abs(value).max() * 2.0**-11 if small and ".kernel" in name else 0
            if kind == "hybrid" and rounding and name != "conv2.kernel":
                rounding = 0.01 / 254  # five deviations of what moved it, in 8 bits
            assert np.abs(got - value).max() <= rounding, (kind, name)
    start, anew = parameters.started(parameters.package_file(made), spec, spec.init_params(0))
    assert not anew and all(np.array_equal(start[name], found.params["ann"][name]) for name in start)


def test_statistics_are_of_samples_across_the_split(tmp_path, monkeypatch):
    """Class folders come class by class: the front of a split may be of one class."""
    data, seen = classes_data(), []
    order = np.argsort(data.targets, kind="stable")
    data = dataclasses.replace(data.select(order), split=data.split)
    artifacts.write_npz(tmp_path / "params.npz", first_params("classes"))

    def made(name, job, params, images=None):
        seen.append(images)
        return make_backend(name, job, params, images)

    monkeypatch.setattr(training, "make_backend", made)
    monkeypatch.setattr(training, "STATISTICS_SAMPLES", 4)
    start = with_start(tmp_path / "params.npz", batch_norm=True, epochs=1)
    training.train(start, data, tmp_path / "a", "key", quiet)
    train = data.subset("train")
    chosen = [next(i for i, image in enumerate(train.images) if np.array_equal(image, one)) for one in seen[0]]
    assert len(chosen) == 4 and set(train.targets[:4].tolist()) == {0} < set(train.targets[chosen].tolist())
