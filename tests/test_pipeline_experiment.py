"""Settings: what is accepted, and one line for what is not."""

import dataclasses

import pytest
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import experiment


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_loads_and_every_field_has_its_declared_type(name):
    loaded = experiment.load(name)
    assert loaded.name == name and loaded.title
    for one in experiment.all_settings():
        value = getattr(getattr(loaded, one.section) if one.section else loaded, one.key)
        assert type(value) is type(one.default) is one.kind, one.name


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
        ("train.epoch=3", ["locnet.toml: unknown setting 'epoch' in [train]", "did you mean 'epochs'"]),
        ("trian.epochs=3", ["unknown setting 'trian'", "did you mean 'train'"]),
        ("train.epochs=many", ["train.epochs is 'many'", "expected a whole number from 0 to 1000000"]),
        ("train.epochs=2.5", ["train.epochs is 2.5", "expected a whole number"]),
        ("train.epochs=true", ["train.epochs is True", "expected a whole number"]),
        ("train.epochs=0", ["train.epochs is 0", "your own model", "expected 1 or more"]),
        ("train.epochs=-1", ["train.epochs is -1", "from 0"]),
        ("train.learning_rate=0", ["train.learning_rate is 0", "a finite number above 0 and at most 100"]),
        ("train.average=1", ["train.average is 1", "below 1"]),
        ("train.backend=tensorflw", ["train.backend is 'tensorflw'", "did you mean 'tensorflow'", "one of nengo-dl"]),
        ("finetune.rate_min_hz=300", ["finetune.rate_min_hz is 300", "at most rate_max_hz, 250"]),
        ("quantize.board=nahuku", ["quantize.board is 'nahuku'", "did you mean 'nahuku8'", "pohoiki"]),
        ("deploy.models=['hybird']", ["deploy.models is 'hybird'", "did you mean 'hybrid'"]),
        ("deploy.models=[]", ["deploy.models is []", "non-empty"]),
        ("data.height=0", ["data.height is 0", "1 or more"]),
        ("data.height=100000", ["data.height is 100000", "from 0 to 4096"]),
        ("data.classes=[1.5]", ["data.classes has an entry 1.5", "each a whole number from 0 to 65535"]),
        ("network.name=model", ["network.path is empty"]),
        ('title="a\\nb"', ["title is 'a\\nb'", "one line"]),
        ("train.learning_rate=nan", ["learning_rate is nan", "finite"]),
        ("train.loss=msee", ["loss is 'msee'", "did you mean 'mse'"]),
        ("train=3", ["train is a section"]),
        ("train.epochs", ["expected section.key=value"]),
        ("network.filters=[8, -1]", ["network.filters is [8, -1]", "each a whole number from 1"]),
        ("network.filters=8", ["network.filters is 8", "a non-empty list"]),
        ("finetune.readout_steps=1000", ["readout_steps is 1000", "at most n_steps"]),
        ("seed=-1", ["seed is -1", "from 0 to 4294967295"]),
        ("seed=4294967296", ["seed is 4294967296", "from 0 to 4294967295"]),
        ("name='..'", ["called '..'", "hidden"]),
        ("name='a/b'", ["called 'a/b'", "a path"]),
        (f"name={'x' * 101}", ["longer than 100 bytes", "mine.toml"]),
        ("train.loss=" + "[" * 3000, ["train.loss", "nested too deep"]),
        ("title.x=1", ["title is {'x': 1}", "expected text"]),
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


SECTIONS = [experiment.Experiment, *experiment.SECTIONS.values()]


def refused(one):
    """Values that a setting does not take."""
    wrap = (lambda value: (value,)) if one.item else (lambda value: value)
    bounds = one.bounds
    yield from (wrap(value) for value in (None, {}, b"x", object()))
    kind = one.item or one.kind
    if kind in (int, float):
        yield from (wrap(value) for value in ("1", True, float("nan"), float("inf")))
        yield from (wrap(bounds[name] + step) for name, step in (("least", -1), ("most", 1)) if name in bounds)
        yield from (wrap(bounds[name]) for name in ("above", "below") if name in bounds)
    if kind is int:
        yield wrap(1.5)
    if kind is bool:
        yield from (0, 1, "true")
    if kind is str:
        yield wrap(1)
    if one.choices:
        yield wrap("no such choice")
    if "longest" in bounds:
        yield (
            (one.choices or ("x",)) * (bounds["longest"] + 1)
            if one.item is str
            else ((1,) * (bounds["longest"] + 1) if one.item else "x" * (bounds["longest"] + 1))
        )
    if bounds.get("shortest"):
        yield () if one.item else ""


@pytest.mark.parametrize("cls", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_setting_is_checked_however_it_is_made(cls):
    made = cls()
    for one in experiment.entries(cls):
        tried = list(refused(one))
        assert len(tried) > 4
        for value in tried:
            for make in (cls, lambda **values: dataclasses.replace(made, **values)):
                with pytest.raises(InputError) as caught:
                    make(**{one.key: value})
                assert one.key in str(caught.value) and "\n" not in str(caught.value), (one.name, value)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, one.key, one.default)


@pytest.mark.parametrize("cls", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_setting_has_help_and_numbers_have_bounds(cls):
    for one in experiment.entries(cls):
        assert len(one.meaning) > 8, one.name
        if (one.item or one.kind) in (int, float):
            assert {"least", "above"} & set(one.bounds) and {"most", "below"} & set(one.bounds), one.name
        for suffix, unit in (("_s", "s"), ("_hz", "Hz")):
            assert not one.key.endswith(suffix) or one.unit == unit


def test_both_phases_share_their_settings():
    train, tune = experiment.TrainSettings(), experiment.FinetuneSettings()
    shared = {f.name for f in dataclasses.fields(experiment.PhaseSettings)}
    assert len(shared) == 31
    assert shared | {"loss", "batch_norm", "start"} == {f.name for f in dataclasses.fields(train)}
    assert (train.epochs, train.batch_size, tune.epochs, tune.batch_size, tune.clip_norm) == (50, 32, 7, 16, 1.0)


def test_an_experiment_starts_from_another_and_its_paths_are_relative_to_it(tmp_path, monkeypatch):
    base = tmp_path / "below" / "base.toml"
    base.parent.mkdir()
    base.write_text('base = "demo-locnet"\n[data]\npath = "pictures"\n[train]\nepochs = 3\n')
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "below/base.toml"\n[data]\nlabels = "coco.json"\n[train]\nbatch_size = 4\n')
    monkeypatch.chdir(base.parent)
    loaded = experiment.load(str(mine), ["data.category=cat", "network.path=../x.onnx"])
    demo = experiment.load("demo-locnet")
    assert loaded.name == "mine" and loaded.title == demo.title and loaded.network.filters == demo.network.filters
    assert (loaded.train.epochs, loaded.train.batch_size, loaded.train.loss) == (3, 4, demo.train.loss)
    assert loaded.data.path == str(tmp_path / "below" / "pictures")
    assert loaded.data.labels == str(tmp_path / "coco.json") and loaded.data.category == "cat"
    assert loaded.network.path == str(tmp_path / "x.onnx")


def test_bases_that_are_not_there_or_run_in_a_circle(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text('base = "two.toml"\n')
    two.write_text('base = "one.toml"\n')
    with pytest.raises(InputError, match="circle"):
        experiment.load(str(one))
    two.write_text('base = "locnt"\n')
    with pytest.raises(InputError, match="two.toml: base: unknown experiment 'locnt'; did you mean 'locnet'"):
        experiment.load(str(one))
    two.write_text('base = "three.toml"\n')
    with pytest.raises(MissingError, match="two.toml: base: .*three.toml' does not exist"):
        experiment.load(str(one))
    two.write_text("base = 3\n")
    with pytest.raises(InputError, match="base is 3"):
        experiment.load(str(one))


def test_a_model_of_ones_own_brings_its_sizes_and_may_keep_its_weights(tmp_path):
    import onnx
    from onnx_models import vgg

    model = vgg()
    onnx.save(model, tmp_path / "m.onnx")
    _, channels, height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    mine = tmp_path / "mine.toml"
    mine.write_text('[network]\nname = "model"\npath = "m.onnx"\n[train]\nepochs = 0\n')
    loaded = experiment.load(str(mine))
    assert (loaded.data.height, loaded.data.width, loaded.data.channels) == (height, width, channels)
    assert loaded.train.epochs == 0 and loaded.network.path == str(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").unlink()
    with pytest.raises(MissingError, match="m.onnx does not exist"):
        experiment.load(str(mine))


@pytest.mark.parametrize("name", ["..", ".hidden", "-x", "a" * 101, "\u00e4" * 51, "a\nb", " a"])
def test_files_whose_name_is_no_folder(tmp_path, name):
    file = tmp_path / f"{name}.toml"
    file.write_text("")
    with pytest.raises(InputError, match="rename its file") as caught:
        experiment.load(str(file))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for name in ("x" * 300 + ".toml", "a\0b.toml", str(tmp_path)):
        with pytest.raises((InputError, MissingError)) as caught:
            experiment.load(name)
        assert "\n" not in str(caught.value)
    deep = tmp_path / "deep.toml"
    deep.write_text("x = " + "[" * 5000)
    with pytest.raises(InputError, match="nested too deep"):
        experiment.load(str(deep))
    deep.write_text("#" * (10**6 + 1))
    with pytest.raises(InputError, match="bytes"):
        experiment.load(str(deep))


def test_settings_that_are_younger_than_a_file_had_their_defaults():
    made = experiment.load("cae")
    now = experiment.shared_settings(made)
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in now.items()}
    del before["train"]["start"]
    assert before != now == experiment.with_younger(before)
    assert experiment.with_younger({**before, "train": {}}) != now  # cae's own values are no defaults
    assert experiment.with_younger(None) is None
