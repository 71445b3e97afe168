"""Imports go one way, and heavy ones happen where they are used: read from the source, and from what gets loaded."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cotrain.pipeline.evaluation import rows
from cotrain.pipeline.stages import table
from cotrain.pipeline.tasks import TASKS

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
IN_NOTEBOOKS = {"pandas"}  # whoever calls to_dataframe has it
OF_MODELS = {"onnxruntime"}  # whoever made the model may have it; the row says so where it is not
USED_BY_OTHERS = {"tensorboard"}  # TensorFlow's writer of summaries


def imports(path: Path) -> set[str]:
    """Absolute dotted names of everything that a file imports, inside functions too."""
    return imported_by(path, ast.walk(ast.parse(path.read_text())))


def imported_by(path: Path, nodes) -> set[str]:
    """The names in these nodes of a file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in nodes:
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
    "errors", "files", "progress", "terminal", "chip", "builder", "placement", "compiler", "emulator", "host",
    "preflight", "cost", "simulator", "bundle",
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


def at_import(path: Path) -> set[str]:
    """What a file imports when it is imported itself: neither in functions nor for the type checker alone."""

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.orelse)
                continue
            yield node
            yield from walk(ast.iter_child_nodes(node))

    return imported_by(path, walk(ast.parse(path.read_text()).body))


def modules(paths) -> dict[str, Path]:
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths)
    return dict(zip(names, paths, strict=True))


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; none if there is no circle."""
    done: set[str] = set()

    def search(name, way):
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            found = search(other, [*way, name])
            if found:
                return found
        done.add(name)
        return []

    return next(filter(None, (search(name, []) for name in graph)), [])


def test_the_search_for_circles_finds_them():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("package", ["pipeline", "hardware"])
def test_no_imports_in_a_circle(package):
    known = modules({"pipeline": PIPELINE, "hardware": HARDWARE}[package])
    graph = {}
    for name, path in known.items():
        found = {n if n in known else n.rpartition(".")[0] for n in at_import(path)}
        graph[name] = {n for n in found if n in known and n != name}
    assert len(graph) > 30 and sum(map(len, graph.values())) > 60
    assert circle(graph) == []


# Foreign formats and the packed data sets have names that others gave
NAMES_ELSEWHERE = (
    "pipeline/datasets/", "pipeline/networks/readers/", "pipeline/commands/data.py", "pipeline/commands/fetching.py",
)  # fmt: skip
FILE_NAME = re.compile(r"[\w-]*\.(npz|json|html|md|svg|png|part|lock)$")


def file_names(path: Path) -> list[str]:
    """Texts of a module that name a file, or end a name that is put together; texts that explain do not count."""
    tree = ast.parse(path.read_text())
    explained = {
        node.body[0].value for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    put_together = {part for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    texts = {n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)} - explained
    return sorted({
        n.value for n in texts
        if FILE_NAME.search(n.value) and " " not in n.value and (n in put_together or n.value[0] not in ".")
        and not n.value[0].isupper()  # COUNTS.json stands for a name
    })  # fmt: skip


def test_the_search_for_file_names_finds_them(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        '"""Writes metrics.json."""\nfolder / "metrics.json"\nfolder / f"{x}.npz"\nsay("no x.json in it")\n'
    )
    assert file_names(file) == [".npz", "metrics.json"]


def test_one_module_knows_the_names_of_files():
    there = {str(path.relative_to(ROOT)): file_names(path) for path in PIPELINE}
    found = {path: names for path, names in there.items() if names and not path.startswith(NAMES_ELSEWHERE)}
    assert len(found.pop("pipeline/runs/artifacts.py")) > 10
    assert found == {}


def test_one_table_has_the_rows_of_a_comparison():
    for path in set(PIPELINE) - {ROOT / "pipeline" / "evaluation" / "rows.py"}:
        for node in ast.walk(ast.parse(path.read_text())):
            parts = getattr(node, "keys", None) or getattr(node, "elts", None) or []
            named = {part.value for part in parts if isinstance(part, ast.Constant)} & set(rows.ROWS)
            assert len(named) < 4, f"{path}: {sorted(named)} stand in pipeline/evaluation/rows.py"


def distributions(key: str | None = None) -> set[str]:
    """Packages that pyproject.toml declares, or those of one of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][key] if key else project["dependencies"]
    return {PACKAGE_NAMES.get(name, name) for name in (re.match(r"[\w-]+", line)[0] for line in lines)}


def test_every_imported_distribution_is_declared():
    own = {"pipeline", "hardware"} | NOT_PUBLISHED | set(sys.stdlib_module_names)
    needed = set().union(*({name.split(".")[0] for name in at_import(path)} for path in [*HARDWARE, *PIPELINE]))
    assert needed - own - distributions() == set(), "imported at once"
    asked_for = set().union(*map(packages, [*HARDWARE, *PIPELINE]))  # extras are imported where they are used
    assert asked_for - own - distributions() - distributions("sweep") - IN_NOTEBOOKS - OF_MODELS == set()


def test_every_declared_distribution_is_used():
    text = "\n".join(path.read_text() for path in [*HARDWARE, *PIPELINE])
    used = set().union(*map(packages, [*HARDWARE, *PIPELINE]))
    by_name = set(re.findall(r"""import_module\(["'](\w+)|_import\(["'](\w+)""", text))
    used |= {name for pair in by_name for name in pair if name}
    unused = (distributions() | distributions("sweep")) - used
    assert unused - USED_BY_OTHERS == set()


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


def public_functions(path: Path):
    """(name, node, whether the first parameter is `self` or `cls`) of what others may call."""

    def walk(nodes, owner):
        for node in nodes:
            if isinstance(node, ast.If | ast.Try):
                yield from walk(ast.iter_child_nodes(node), owner)
            elif getattr(node, "name", "_").startswith("_") and getattr(node, "name", "") != "__init__":
                continue
            elif isinstance(node, ast.ClassDef):
                yield from walk(node.body, node.name)
            elif isinstance(node, ast.FunctionDef):
                plain = any(getattr(one, "id", "") == "staticmethod" for one in node.decorator_list)
                yield f"{owner}.{node.name}" if owner else node.name, node, bool(owner) and not plain

    yield from walk(ast.parse(path.read_text()).body, "")


def without_hint(node: ast.FunctionDef, bound: bool) -> list[str]:
    given = [*node.args.posonlyargs, *node.args.args][bound:] + node.args.kwonlyargs
    given += [one for one in (node.args.vararg, node.args.kwarg) if one]
    found = [one.arg for one in given if one.annotation is None]
    return found + (["result"] if node.returns is None and node.name != "__init__" else [])


# Read by interpreters that are too old for the bundle, to tell them so: hints would be errors there
WITHOUT_HINTS = ("hardware/bundle/run.py",)


def test_public_functions_have_hints():
    found, missing = 0, []
    for path in [*HARDWARE, *PIPELINE]:
        name = str(path.relative_to(ROOT))
        for function, node, bound in public_functions(path) if not name.startswith(WITHOUT_HINTS) else ():
            found += 1
            missing += [f"{name}:{node.lineno} {function}: {one}" for one in without_hint(node, bound)]
    assert found > 1200
    assert missing == []


def test_the_search_for_hints_finds_them(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "def f(a, *, b: int) -> int: pass\ndef _g(a): pass\n"
        "class C:\n    def __init__(self, a): pass\n    def m(self) -> None: pass\n    def n(self): pass\n"
    )
    found = [(name, without_hint(node, bound)) for name, node, bound in public_functions(file)]
    assert found == [("f", ["a"]), ("C.__init__", ["a"]), ("C.m", []), ("C.n", ["result"])]


# What a folder of the user's holds is called boxes, masks, volumes or classes too: that is no task
KINDS_OF_DATA = ("pipeline/datasets/guess.py", "pipeline/datasets/__init__.py", "pipeline/commands/init.py")


def asks_for_the_task(path: Path, names: set[str]) -> list[int]:
    """Lines that decide by a task's name: comparisons with one, tables by them, and cases."""

    def named(nodes) -> set:
        return {value for node in nodes for value in texts(node)} & names

    def texts(node) -> list:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return [value for one in node.elts for value in texts(one)]
        return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []

    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and named([node.left, *node.comparators]):
            found.append(node.lineno)
        elif isinstance(node, ast.Dict) and len(named(filter(None, node.keys))) > 1:
            found.append(node.lineno)
        elif isinstance(node, ast.MatchValue) and named([node.value]):
            found.append(node.value.lineno)
    return found


def test_tasks_alone_know_which_task_it_is():
    there = {str(path.relative_to(ROOT)): asks_for_the_task(path, set(TASKS)) for path in PIPELINE}
    assert {path: lines for path, lines in there.items()
            if lines and not path.startswith(("pipeline/tasks/", *KINDS_OF_DATA))} == {}  # fmt: skip


def test_the_search_for_tasks_finds_them(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        'if a.task == "boxes": b\nif a in ("masks", "x"): b\nc = {"boxes": 1, "masks": 2}[a]\n'
        'd = Dataset(task="boxes")\nmatch a:\n    case "classes": pass\n'
    )
    assert asks_for_the_task(file, set(TASKS)) == [1, 2, 3, 6]


LINES_MOST = 400


def test_modules_are_short():
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in [*HARDWARE, *PIPELINE]}
    assert {path: n for path, n in lines.items() if n > LINES_MOST} == {}
