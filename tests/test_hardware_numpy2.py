"""nengo-loihi's words of NumPy 1, changed where Python compiles them; on NumPy 2 every other test runs on this."""

import ast
import importlib.machinery
import importlib.util
import sys

import numpy as np
import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.builder.numpy2 import _Finder, _Loader, _Words


@pytest.mark.parametrize(
    "before, after",
    [
        ("np.array(x, dtype=float, copy=False, ndmin=1)", "np.array(x, dtype=float, copy=None, ndmin=1)"),
        ("[np.array(np.array(w, copy=False), copy=False)]", "[np.array(np.array(w, copy=None), copy=None)]"),
        ("np.fromstring(data, np.uint8)", "np.frombuffer(data, np.uint8)"),
        ("np.fromstring(text, sep=' ')", "np.fromstring(text, sep=' ')"),
        ("np.array(x, copy=True)", "np.array(x, copy=True)"),
        ("x.astype(int, copy=False)", "x.astype(int, copy=False)"),
    ],
)
def test_words(before, after):
    assert ast.unparse(_Words().visit(ast.parse(before))) == ast.unparse(ast.parse(after))


NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


@pytest.mark.skipif(not NUMPY_2, reason="NumPy 1 does not know copy=None, and needs no changed words")
def test_a_module_that_is_loaded_so_runs(tmp_path):
    file = tmp_path / "some.py"
    file.write_text("import numpy as np\ndef ints(x):\n    return np.array(x, dtype=np.int64, copy=False, ndmin=1)\n")
    spec = importlib.machinery.ModuleSpec("some", _Loader("some", str(file)), origin=str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.ints(2.0).tolist() == [2]  # needs a copy
    assert not (tmp_path / "__pycache__").exists()


def test_only_where_it_is_needed():
    import_nengo_loihi()
    there = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    assert there == NUMPY_2
