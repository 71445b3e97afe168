"""Which modules a bundle needs: what its entry points import, found by reading them."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Dict, Iterable, List

from cotrain.hardware.errors import InputError


def closure(roots: Iterable[str], packages: Iterable[str]) -> Dict[str, Path]:
    """Modules that `roots` import, directly or not, inside functions or not.

    Parameters
    ----------
    roots : iterable of str
        Names of modules.
    packages : iterable of str
        Only modules in these packages are followed.

    Returns
    -------
    dict of {str: Path}
        Path of each module inside an archive ("cotrain/hardware/errors.py") → its source file; the ``__init__.py`` of
        every package on the way is there, too.
    """
    packages = tuple(packages)
    todo, found = list(roots), {}
    while todo:
        name = todo.pop()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations and not spec.origin:
            continue  # a namespace package: a folder without a file of its own
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            raise InputError(f"module {name} has no source file to put into a bundle")
        source = Path(spec.origin)
        inside = name.replace(".", "/") + ("/__init__.py" if spec.submodule_search_locations else ".py")
        if inside in found:
            continue
        found[inside] = source
        if "." in name:
            todo.append(name.rpartition(".")[0])
        todo += _imports(source, packages)
    return dict(sorted(found.items()))


def _imports(source: Path, packages) -> List[str]:
    """Modules of `packages` that a file imports; ``from package import name`` may mean a module or what is in one."""
    names = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), str(source))):
        if isinstance(node, ast.Import):
            names += [(alias.name, True) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append((node.module, True))
            names += [(f"{node.module}.{alias.name}", False) for alias in node.names]
    wanted = [(n, sure) for n, sure in names if any(n == p or n.startswith(p + ".") for p in packages)]
    return [n for n, sure in wanted if sure or _is_module(n)]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, not a package
        return False
