"""An experiment's file: TOML on top of the one it starts from, then what the command line changes.

Only names and places are known here; what a setting may be is known to `pipeline.experiment`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.words import nearest, show

EXPERIMENTS_DIR = Path(__file__).parent / "experiments"
FILE_BYTES = 10**6
Tree = dict[str, Any]
Locations = dict[str, dict[str, str]]  # section -> key -> what a path must end in; other texts are names


def names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(p.stem for p in EXPERIMENTS_DIR.glob("*.toml"))


def read(name: str, overrides: list[str], locations: Locations) -> Tree:
    """The settings of experiment `name` as they stand in its file, its bases and `overrides`.

    Parameters
    ----------
    name : str
        Of a built-in experiment, or a path that ends in .toml.
    overrides : list of str
        ``section.key=value``.
    locations : dict
        By section the keys that are paths, each with what a path ends in. In a file they are relative to it, in
        `overrides` to the working folder.

    Returns
    -------
    dict
        With "name", the file's.
    """
    path = _find(name, "")
    tree = _read(path, (), locations)
    changes: Tree = {}
    for item in overrides:
        _apply(changes, item)
    tree = _merge(tree, _with_paths(changes, Path.cwd(), locations))
    tree.setdefault("name", path.stem)
    return tree


def _find(name: str, asked_by: str) -> Path:
    inside = f"{asked_by}: base: " if asked_by else ""
    path = Path(name) if name.endswith(".toml") else EXPERIMENTS_DIR / f"{name}.toml"
    try:
        there = path.is_file() and (name.endswith(".toml") or "/" not in name)
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        there = False
    if not there and name.endswith(".toml"):
        raise MissingError(
            f"{inside}experiment file {show(name)} does not exist; give its path, or one of {', '.join(names())}"
        )
    if not there:
        raise InputError(
            f"{inside}unknown experiment {show(name)}{nearest(name, names())}; there are {', '.join(names())}"
        )
    return path


def _read(path: Path, below: tuple[Path, ...], locations: Locations) -> Tree:
    """The file's settings on top of those of its base; `below` are the files that build on it."""
    real = path.resolve()
    if real in below:
        raise InputError(f"{path.name}: base: the experiments build on each other in a circle; remove one base")
    try:
        if path.stat().st_size > FILE_BYTES:
            raise InputError(f"{path.name} has more than {FILE_BYTES} bytes, which no experiment needs")
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except ValueError as error:  # of TOML, of UTF-8, and of numbers with more digits than Python converts
        raise InputError(f"{path.name} is not valid TOML: {error}; mend that line") from None
    except RecursionError:
        raise InputError(f"{path.name} is not valid: it is nested too deep for any setting") from None
    except OSError as error:
        raise MissingError(f"{path} cannot be read: {error.strerror}") from None
    if "name" in tree:
        raise InputError(f"{path.name}: unknown setting 'name'; an experiment is called after its file")
    base = tree.pop("base", None)
    tree = _with_paths(tree, real.parent, locations)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise InputError(f"{path.name}: base is {show(base)}; expected an experiment's name or a .toml file")
    file = str(real.parent / base) if base.endswith(".toml") else base
    return _merge(_read(_find(file, path.name), (*below, real), locations), tree)


def _with_paths(tree: Tree, folder: Path, locations: Locations) -> Tree:
    """`tree` with absolute paths, where they were relative to `folder`."""
    for section, keys in locations.items():
        values = tree.get(section)
        for key, suffix in keys.items():
            value = values.get(key) if isinstance(values, dict) else None
            if isinstance(values, dict) and isinstance(value, str) and value and value.endswith(suffix):
                values[key] = os.path.abspath(folder / os.path.expanduser(value))
    return tree


def _merge(base: Tree, tree: Tree) -> Tree:
    """`tree` on top of `base`; a model of its own takes over nothing that was chosen for the neurons of another."""
    merged = dict(base)
    if _network(tree) == "model" != _network(base):
        merged.pop("neurons", None)
        if isinstance(merged.get("finetune"), dict):
            merged["finetune"] = {key: value for key, value in merged["finetune"].items() if key != "synapse_s"}
    for key, value in tree.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _network(tree: Tree) -> Any:
    section = tree.get("network")
    return section.get("name") if isinstance(section, dict) else None


def _apply(tree: Tree, item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise InputError(f"--set {item!r}: expected section.key=value, for example --set train.epochs=1")
    *sections, leaf = key.strip().split(".")
    try:
        parsed = tomllib.loads(f"x = {text}")
        value = parsed["x"] if set(parsed) == {"x"} else text
    except ValueError:
        value = text  # a bare word is a string
    except RecursionError:
        raise InputError(f"--set {key}: the value is nested too deep for any setting") from None
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {item!r}: {section!r} is a value, not a section")
    tree[leaf] = value
