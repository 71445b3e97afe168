"""Settings: what is accepted, and one line for what is not."""

import dataclasses

import pytest
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import experiment


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_loads_and_every_field_has_its_declared_type(name):
    loaded = experiment.load(name)
    assert loaded.name == name and loaded.title
    for section in dataclasses.fields(loaded):
        value = getattr(loaded, section.name)
        if dataclasses.is_dataclass(value):
            for f in dataclasses.fields(value):
                default = f.default
                assert type(getattr(value, f.name)) is type(default), (section.name, f.name)


def test_overrides_change_one_value_and_nothing_else():
    plain = experiment.load("locnet").resolved()
    changed = experiment.load("locnet", ["train.epochs=3", "neurons.kind=lif", "network.dense=[10, 5]"]).resolved()
    plain["train"]["epochs"] = 3
    plain["neurons"]["kind"] = "lif"
    plain["network"]["dense"] = (10, 5)
    assert changed == plain


def test_integers_are_taken_where_a_real_number_is_expected():
    assert experiment.load("locnet", ["train.learning_rate=1"]).train.learning_rate == 1.0


@pytest.mark.parametrize(
    "override, words",
    [
        ("train.epoch=3", ["unknown setting 'epoch'", "did you mean 'epochs'"]),
        ("trian.epochs=3", ["unknown setting 'trian'", "did you mean 'train'"]),
        ("train.epochs=many", ["epochs is 'many'", "expected a int"]),
        ("train.epochs=2.5", ["epochs is 2.5", "expected a int"]),
        ("train.epochs=true", ["epochs is True", "expected a int"]),
        ("train.epochs=0", ["train.epochs is 0", "more than 0"]),
        ("train.learning_rate=nan", ["learning_rate is nan", "finite"]),
        ("train.loss=msee", ["loss is 'msee'", "did you mean 'mse'"]),
        ("train=3", ["train is a section"]),
        ("train.epochs", ["expected section.key=value"]),
        ("network.filters=[8, -1]", ["network.filters", "above 0"]),
        ("network.filters=8", ["filters is 8", "list of int"]),
        ("finetune.readout_steps=1000", ["readout_steps is 1000", "at most n_steps"]),
        ("seed=-1", ["seed is -1", "0 or more"]),
        ("title.x=1", ["'title' is a value"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(override, words):
    with pytest.raises(InputError) as caught:
        experiment.load("locnet", [override])
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_unknown_experiment_and_files(tmp_path):
    with pytest.raises(InputError, match="did you mean 'locnet'"):
        experiment.load("locnt")
    with pytest.raises(MissingError, match="does not exist"):
        experiment.load(str(tmp_path / "mine.toml"))
    broken = tmp_path / "mine.toml"
    broken.write_text("[train\nepochs = 1")
    with pytest.raises(InputError, match="mine.toml is not valid TOML"):
        experiment.load(str(broken))
    broken.write_text('[data]\nname = "synthetic-planes"\n[train]\nepochs = 1\n')
    assert experiment.load(str(broken)).train.epochs == 1
    assert experiment.load(str(broken)).name == "mine"
