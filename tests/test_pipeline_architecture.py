"""Imports go one way, and heavy ones happen where they are used: read from the source, and from what gets loaded."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cotrain.pipeline.stages import table

ROOT = Path(__file__).resolve().parents[1]
HARDWARE = sorted((ROOT / "hardware").rglob("*.py"))
PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))
NETWORKS = sorted((ROOT / "pipeline" / "networks").rglob("*.py"))
STAGES = [ROOT / "pipeline" / "stages" / f"{name}.py" for name in table.STAGES]
TRAINING_PACKAGES = {"tensorflow", "tf_keras", "keras", "nengo_dl"}
# Distributions whose package has another name
PACKAGE_NAMES = {"pillow": "PIL", "nengo-dl": "nengo_dl", "nengo-loihi": "nengo_loihi", "tf-keras": "tf_keras",
                 "dask-jobqueue": "dask_jobqueue"}  # fmt: skip
NOT_PUBLISHED = {"nxsdk"}  # Intel's, on lab hosts only


def imports(path: Path) -> set[str]:
    """Absolute dotted names of everything that a file imports, inside functions too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return {name.removeprefix("cotrain.") for name in found}


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def offenders(paths, forbidden: set[str]) -> dict[str, set[str]]:
    found = {str(path.relative_to(ROOT)): packages(path) & forbidden for path in paths}
    return {path: names for path, names in found.items() if names}


def test_the_reader_of_imports_sees_all_kinds(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "pipeline" / "stages" / "some.py"
    file.parent.mkdir(parents=True)
    file.write_text("import a.b\nfrom . import train\nfrom ..x import y\ndef f():\n    from c.d import e\n")
    assert imports(file) == {"a.b", "pipeline.stages.train", "pipeline.x.y", "c.d.e"}


def test_hardware_knows_nothing_of_training():
    assert HARDWARE and offenders(HARDWARE, TRAINING_PACKAGES | {"pipeline"}) == {}


def test_networks_are_built_without_tensorflow():
    assert NETWORKS and offenders(NETWORKS, TRAINING_PACKAGES) == {}
    assert not [path for path in NETWORKS if any(name.startswith("pipeline.compat") for name in imports(path))]


def test_one_door_to_tensorflow():
    assert offenders(PIPELINE, TRAINING_PACKAGES - {"nengo_dl"}) == {}  # pipeline/compat.py imports them by name
    for path in offenders(PIPELINE, {"nengo_dl"}):
        assert "pipeline.compat.import_nengo_dl" in imports(ROOT / path), path


# Passes of hardware: each may import those before it
PASSES = (
    "errors", "files", "progress", "chip", "builder", "placement", "compiler", "emulator", "host", "preflight", "cost",
    "simulator", "bundle",
)  # fmt: skip


def hardware_imports() -> dict[str, set[str]]:
    """{module: the modules of hardware that it imports, inside functions too}, by dotted names."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in HARDWARE}
    found = {}
    for path in HARDWARE:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        asked = imports(path)
        used = {i for i in asked if i in names} | {i.rpartition(".")[0] for i in asked if i not in names} & names
        found[name] = used - {name, "hardware"}
    return found


def test_passes_of_hardware_import_those_before_them_only():
    wrong = []
    for module, used in hardware_imports().items():
        if module == "hardware":  # loads what is asked for, by name
            continue
        for other in used:
            ours, theirs = (PASSES.index(name.split(".")[1]) for name in (module, other))
            if theirs > ours:
                wrong.append(f"{module} imports {other}")
    assert wrong == []
    folders = {path.name for path in (ROOT / "hardware").iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert folders <= set(PASSES)


def test_no_circle_of_imports_in_hardware():
    left = hardware_imports()
    while left:
        free = {name for name, used in left.items() if not used & set(left)}
        assert free, f"in a circle, or behind one: {sorted(left)}"
        left = {name: used for name, used in left.items() if name not in free}


def test_one_door_to_nengo_loihi():
    """The others ask for what they need by name: ``door.BlockShape``; ``door.NAMES`` lists all that is used."""
    found = {str(path.relative_to(ROOT)) for path in HARDWARE if _names_nengo_loihi(path)}
    assert found == {"hardware/builder/door.py"}


def _names_nengo_loihi(path: Path) -> bool:
    if any(name.split(".")[0] == "nengo_loihi" or name.endswith(".import_nengo_loihi") for name in imports(path)):
        return True
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [getattr(argument, "value", None) for argument in call.args]
        loads = name in ("import_module", "find_spec", "__import__") and str(given[:1]).startswith("['nengo_loihi")
        if name == "import_nengo_loihi" or loads:
            return True
    return False


def test_no_stage_imports_another():
    names = {f"pipeline.stages.{path.stem}" for path in STAGES}
    assert len(names) >= 5
    for path in STAGES:
        assert not {i for i in imports(path) for n in names if i == n or i.startswith(f"{n}.")}, path


@pytest.mark.parametrize("path", [*HARDWARE, *NETWORKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_lab_hosts_can_read_it(path):
    ast.parse(path.read_text(), feature_version=(3, 8))  # NxSDK's newest Python
    nodes = list(ast.walk(ast.parse(path.read_text())))
    if any(getattr(node, "annotation", None) or getattr(node, "returns", None) for node in nodes):
        assert "__future__.annotations" in imports(path), "annotations would be evaluated by Python 3.8"


def test_no_test_folder_shadows_a_package():
    assert not [path for path in (ROOT / "tests").rglob("*") if path.is_dir() and path.name in ("pipeline", "hardware")]


def test_every_imported_distribution_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["sweep"]
    declared = {re.match(r"[\w-]+", line)[0] for line in lines}
    declared = {PACKAGE_NAMES.get(name, name) for name in declared} | {"pipeline", "hardware"} | NOT_PUBLISHED
    used = set().union(*map(packages, [*HARDWARE, *PIPELINE]))
    assert used - set(sys.stdlib_module_names) - declared == set()


def loaded_after(source: str) -> set[str]:
    """Top-level modules that a fresh Python has loaded after `source`."""
    source += "\nimport sys; print(*{name.removeprefix('cotrain.').split('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


HEAVY = {"nengo", "nengo_loihi", "scipy", "numba", "matplotlib", "nibabel", "PIL"} | TRAINING_PACKAGES


def test_import_hardware_is_light():
    assert loaded_after("from cotrain import hardware") & (HEAVY | {"numpy", "pipeline"}) == set()


def test_cotrain_help_is_light():
    help = "from cotrain.pipeline.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded_after(help) & HEAVY == set()


def test_all_of_hardware_imports_where_training_packages_are_missing():
    names = [
        "cotrain." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in HARDWARE
    ]
    block = f"import sys\nsys.modules.update(dict.fromkeys({sorted(TRAINING_PACKAGES | {'cotrain.pipeline'})}))\n"
    source = block + "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in names)
    source += f"for name in {sorted(TRAINING_PACKAGES | {'cotrain.pipeline'})}: del sys.modules[name]"
    assert "hardware" in loaded_after(source)
