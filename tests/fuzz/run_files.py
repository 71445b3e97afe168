"""What runs, labs and other frameworks leave, for the fuzz of readers: JSON, TOML, arrays, bundles, models."""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
from pathlib import Path

import numpy as np
from fuzz.spoil import Seeds, spoil_bytes, spoil_json, spoil_tree, spoil_zip


def manifests(folder: Path) -> Seeds:
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.runs.folder import RunFolder

    stage = RunFolder(folder / "exp" / "train", "train")
    stage.begin()
    artifacts.write_npz(stage.part / artifacts.PARAMS, {"a": np.arange(3.0)})
    artifacts.write_json(stage.part / artifacts.HISTORY, {"epochs": [{"epoch": 0, "metric": 0.1}], "best_epoch": 0})
    stage.finish({"settings": {"seed": 0}}, [artifacts.PARAMS, artifacts.HISTORY], 1.0)
    return [("exp/train/manifest.json", stage.manifest_path.read_bytes())]


def spoil_manifest(data: bytes, draw: random.Random) -> bytes:
    """Half of them certify themselves."""
    from cotrain.hardware.files import json_digest

    if draw.random() < 0.5:
        return spoil_json(data, draw)
    tree = spoil_tree(json.loads(data), draw)
    if isinstance(tree, dict):
        tree.pop("sha256", None)
        tree["sha256"] = json_digest(tree)
    return json.dumps(tree).encode()


def read_manifest(path: Path):
    from cotrain.pipeline.commands.status import show
    from cotrain.pipeline.runs.folder import RunFolder

    show(path.parents[2], lambda line: None)
    folder = RunFolder(path.parent, "train")
    folder.settle()
    return folder.verify()


def counts_files(folder: Path) -> Seeds:
    layers = [
        {
            "name": "conv1",
            "neurons": 100,
            "cores": 2,
            "spikes_per_inference": 50.0,
            "synops_per_inference": 1000.0,
            "synapse": "convolution",
            "messages_per_inference": 60,
        },
        {"name": "fc", "neurons": 10},
    ]
    return [
        ("c.json", json.dumps({"n_steps": 50, "layers": layers}).encode()),
        (
            "c.json",
            json.dumps(
                {
                    "chips": 1,
                    "x86_active_ratio": 0.5,
                    "name": "x",
                    "n_steps": 10,
                    "layers": [{"neurons": 5}],
                    "input": "once",
                }
            ).encode(),
        ),
    ]


def read_counts(path: Path):
    from cotrain.hardware.cost.command import main

    return main(path)


@functools.lru_cache(maxsize=1)
def _bundle(folder: str) -> tuple[Path, Path]:
    """A bundle and its results."""
    from bundle_of import tiny_bundle
    from cotrain.hardware.bundle import archive
    from cotrain.hardware.bundle.folder import Folder
    from cotrain.hardware.bundle.results import Results
    from cotrain.hardware.bundle.targets import EmulatorTarget
    from cotrain.pipeline.networks.rebuild import rebuild

    made = tiny_bundle(Path(folder) / "bundles", n_samples=1)
    _, files, manifest = archive.read_archive(made)
    inside = Folder(made, manifest["digest"], files)
    kept, target = Results(Path(folder) / "results", inside, "emulator", False), EmulatorTarget(inside, rebuild)
    kept.tree["ran_on"].append({"target": "emulator", "host": "lab", "first_sample": 0})
    kept.add(0, target.run(0), 0.1)
    target.close()
    return made, kept.path


def bundles(folder: Path) -> Seeds:
    return [("b.tar.gz", _bundle(str(folder))[0].read_bytes())]


def spoil_bundle(data: bytes, draw: random.Random) -> bytes:
    """The stream, the tar in it, a header, or a file under a manifest that is right about it."""
    from cotrain.hardware.bundle import archive, run

    kind = draw.randrange(4)
    if kind == 0:
        return spoil_bytes(data, draw)
    tar = gzip.decompress(data)
    if kind == 1:
        return gzip.compress(spoil_bytes(tar, draw), 1, mtime=0)
    top, files = _unpacked(data)
    name = draw.choice(sorted(n for n in files if n.endswith((".json", ".npz"))))
    by = spoil_json if name.endswith(".json") else functools.partial(spoil_zip)
    files = {**files, name: by(files[name], draw)}
    if kind == 2 and draw.random() < 0.3:
        files[draw.choice(("../x", "/tmp/x", "a/../../x", "x" * 300, "a\nb", "."))] = b"x"
    if name != run.MANIFEST:
        files[run.MANIFEST], _ = archive.manifest_bytes(
            {k: v for k, v in files.items() if k != run.MANIFEST}, {"experiment": "tiny", "version": "0"}
        )
    try:
        return archive.archive_bytes(files, top)
    except ValueError:  # a name that no tar holds
        return data[: len(data) // 2]


@functools.lru_cache(maxsize=2)
def _unpacked(data: bytes):
    from cotrain.hardware.bundle import archive

    tar = archive._members(gzip.decompress(data))
    top = next(iter(tar)).partition("/")[0]
    return top, {name[len(top) + 1 :]: value for name, value in tar.items()}


def read_bundle(path: Path):
    from cotrain.hardware.bundle import verify
    from cotrain.pipeline.networks.rebuild import BUILDER, rebuild

    before = sorted(p.name for p in path.parent.parent.iterdir())
    try:
        return verify.verify(path, None, lambda line: None, {BUILDER: rebuild})
    finally:
        assert before == sorted(p.name for p in path.parent.parent.iterdir()), "something was written outside"


def results(folder: Path) -> Seeds:
    _, made = _bundle(str(folder))
    return [
        (f"results/{p.relative_to(made)}", p.read_bytes())
        for p in sorted(made.rglob("*"))
        if p.suffix in (".json", ".npz")
    ]


def spoil_result(data: bytes, draw: random.Random) -> bytes:
    return spoil_zip(data, draw) if data[:2] == b"PK" else spoil_json(data, draw)


def read_result(path: Path):
    from cotrain.hardware.bundle import archive, verify
    from cotrain.hardware.bundle.folder import Folder
    from cotrain.hardware.files import sha256

    folder = next(p for p in path.parents if p.name == "results")
    kept = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p != path}
    bundle, _ = _bundle(str(folder.parent))
    _, files, manifest = archive.read_archive(bundle)
    inside = Folder(bundle, manifest["digest"], files)
    if path.suffix == ".npz":  # under a checksum that is right about it
        tree = json.loads((folder / "results.json").read_text())
        for sample in tree["samples"].values():
            sample["sha256"] = sha256(path.read_bytes())
        (folder / "results.json").write_text(json.dumps(tree))
    try:
        return verify._compare(inside, manifest, {"equal": True}, folder, lambda line: None)
    finally:
        for place, data in kept.items():
            place.write_bytes(data)
        path.write_bytes(_first_seed(str(folder.parent), str(path.relative_to(folder.parent))))


@functools.lru_cache(maxsize=8)
def _first_seed(folder: str, name: str) -> bytes:
    return dict(results(Path(folder)))[name]


# --- TOML


def tomls(folder: Path) -> Seeds:
    from cotrain.pipeline import experiment
    from cotrain.pipeline.layers import EXPERIMENTS_DIR

    out = [("e.toml", p.read_bytes()) for p in sorted(EXPERIMENTS_DIR.glob("*.toml"))]
    lines: dict[str, list[str]] = {}
    for one in experiment.all_settings():
        if one.key in ("path", "labels", "name"):
            continue
        lines.setdefault(one.section, []).append(f"{one.key} = {json.dumps(one.default)}")
    whole = "\n".join((f"[{section}]\n" if section else "") + "\n".join(lines[section]) for section in sorted(lines))
    return [*out, ("e.toml", whole.encode()), ("e.toml", b'base = "demo-locnet"\ntitle = "x"\n[train]\nepochs = 3\n')]


def read_toml(path: Path):
    from cotrain.pipeline import experiment

    return experiment.load(str(path))


def sweeps(folder: Path) -> Seeds:
    text = """base = "demo-locnet"
trials = 6
sampler = "random"
seed = 3
[set]
"train.epochs" = 2
[space]
"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}
"finetune.n_steps" = [20, 30]
"network.filters" = [[4, 8], [8, 8]]
[objectives]
"loihi-hybrid.value" = "maximize"
"loihi-hybrid.spikes_per_inference" = "minimize"
"""
    return [("s.toml", text.encode())]


def read_sweep(path: Path):
    from cotrain.pipeline.sweeps import plan

    return plan.read(path)


# --- arrays, programs, checkpoints


def npzs(folder: Path) -> Seeds:
    from cotrain.hardware.files import npz_bytes

    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "b": np.array(["x", "yz"]),
        "c": np.zeros(0, np.int8),
        "d": np.array(5),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return [("a.npz", npz_bytes(arrays)), ("a.npz", npz_bytes(arrays, 0)), ("a.npz", buffer.getvalue())]


def read_npz(path: Path):
    from cotrain.hardware.files import read_npz

    return read_npz(path)


def programs(folder: Path) -> Seeds:
    import nengo
    from cotrain import hardware

    with nengo.Network(seed=0) as net:
        a, b = nengo.Ensemble(12, 1), nengo.Ensemble(9, 1)
        nengo.Connection(nengo.Node([0.5]), a)
        nengo.Connection(a, b)
        nengo.Probe(b)
    hardware.compile_network(net).save(folder / "p.npz")
    return [("p.npz", (folder / "p.npz").read_bytes())]


def read_program(path: Path):
    from cotrain.hardware.compiler.program import Program

    return Program.load(path)


def checkpoints(folder: Path) -> Seeds:
    from cotrain.pipeline.runs import artifacts

    artifacts.save_state(folder / "c.npz", "key", {"epochs": [1]}, {"best/a": np.zeros(3), "state/a": np.ones(3)})
    return [("c.npz", (folder / "c.npz").read_bytes())]


def read_checkpoint(path: Path):
    from cotrain.pipeline.training.checkpoint import Checkpoint

    return Checkpoint.load(path.parent, "key") if path.rename(path.parent / "checkpoint.npz") else None


# --- models


def keras_models(folder: Path) -> Seeds:
    import h5py

    rng = np.random.default_rng(0)
    shape = {"batch_shape": [None, 6, 8, 1], "name": "input", "dtype": "float32"}

    def layer(kind, name, **config):
        return {
            "module": "keras.layers",
            "class_name": kind,
            "config": {"name": name, **config},
            "registered_name": None,
        }

    conv = {
        "filters": 3,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "activation": "relu",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "use_bias": True,
    }
    layers = [
        layer("InputLayer", **shape),
        layer("Conv2D", "conv2d", **conv),
        layer(
            "AveragePooling2D", "pool", pool_size=[2, 2], strides=[2, 2], padding="valid", data_format="channels_last"
        ),
        layer("Flatten", "flatten", data_format="channels_last"),
        layer("Dense", "dense", units=4, activation="relu", use_bias=True),
        layer("Dense", "dense_1", units=2, activation="softmax", use_bias=True),
    ]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}, "keras_version": "3.0.0"}
    weights = {
        "conv2d": [rng.normal(size=(3, 3, 1, 3)), np.zeros(3)],
        "dense": [rng.normal(size=(36, 4)), np.zeros(4)],
        "dense_1": [rng.normal(size=(4, 2)), np.zeros(2)],
    }

    def hdf5(fill) -> bytes:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            fill(file)
        return buffer.getvalue()

    def new(file):
        for name, arrays in weights.items():
            for i, array in enumerate(arrays):
                file[f"layers/{name}/vars/{i}"] = array.astype(np.float32)

    def legacy(file):
        file.attrs["model_config"] = json.dumps(config)
        for name, arrays in weights.items():
            for kind, array in zip(("kernel:0", "bias:0"), arrays, strict=True):
                file[f"model_weights/{name}/{name}/{kind}"] = array.astype(np.float32)

    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", hdf5(new))
    return [("m.keras", buffer.getvalue()), ("m.h5", hdf5(legacy))]


def spoil_model(data: bytes, draw: random.Random) -> bytes:
    return spoil_zip(data, draw) if data[:2] == b"PK" else spoil_bytes(data, draw)


def read_model(path: Path):
    from cotrain.pipeline import read_model

    model = read_model(path)
    if np.prod(model.spec.input_shape) < 10**5:
        model.predict(np.zeros((1, *model.spec.input_shape), np.float32))


def onnx_models(folder: Path) -> Seeds:
    from onnx_models import MODELS

    return [(f"{name}.onnx", make().SerializeToString()) for name, make in MODELS.items()]


# --- what a report takes in beside its run


def made_run(folder: Path) -> None:
    import synthetic_run

    synthetic_run.make(folder)


def extras(folder: Path) -> Seeds:
    from cotrain.pipeline import experiment
    from cotrain.pipeline.commands.repeat import SPLITS, summarise
    from cotrain.pipeline.runs import artifacts

    metrics = json.loads((folder / "demo-locnet" / "deploy" / artifacts.METRICS).read_text())
    row = next(r for r in metrics["rows"] if r["model"] == "loihi-hybrid")
    board = {
        **row,
        "model": "loihi-board",
        "n_samples": 2,
        "emulator_value": 0.5,
        "ran_on": ["x"],
        "bundle": "0" * 64,
        "energy": None,
        "comparison": {"equal": True, "samples": 2, "samples_different": 0},
    }
    found = [json.loads(json.dumps(metrics)) for _ in range(2)]
    loaded = experiment.load("demo-locnet")
    summaries = (artifacts.SEEDS, summarise(loaded, found)), (artifacts.SPLITS, summarise(loaded, found, SPLITS))
    return [
        (f"demo-locnet/{name}", json.dumps({**value, "sha256": artifacts.json_digest(value)}).encode())
        for name, value in ((artifacts.BOARD, board), *summaries)
    ]


def read_report(path: Path):
    from cotrain.pipeline import experiment, report
    from cotrain.pipeline.stages.runner import STAGES, Context

    runs = path.parents[2]
    context = Context(experiment.load("demo-locnet"), STAGES["report"], runs, runs)
    try:
        inputs = report.load(context)
        document = report.build_document(inputs)
        return report.render_markdown(report.build_page(document, inputs))
    finally:
        path.unlink()
