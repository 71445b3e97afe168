"""Let nengo-loihi 1.1 run on NumPy 2.

``np.array(x, copy=False)`` meant "copy if needed" in NumPy 1 and means "fail if a copy is needed" in NumPy 2, where the
old meaning is spelled ``copy=None``; binary `np.fromstring` became `np.frombuffer`. The words are changed in what
Python compiles, not on the disk, and only for the modules of nengo_loihi.
"""

from __future__ import annotations

import ast
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader

import numpy as np


class _Words(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", None) == "np"):
            return node
        if node.func.attr == "array":
            for keyword in node.keywords:
                if keyword.arg == "copy" and getattr(keyword.value, "value", None) is False:
                    keyword.value = ast.copy_location(ast.Constant(None), keyword.value)
        elif node.func.attr == "fromstring" and not any(keyword.arg == "sep" for keyword in node.keywords):
            node.func.attr = "frombuffer"
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str):
        # without Python's cache of compiled files, which holds the unchanged words
        path = self.get_filename(fullname)
        return compile(_Words().visit(ast.parse(self.get_data(path), path)), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] != "nengo_loihi":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def let_nengo_loihi_in() -> None:
    """Make later imports of nengo_loihi speak NumPy 2; nothing on NumPy 1."""
    if int(np.__version__.split(".")[0]) >= 2 and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
