"""Fresh copies of functions that remember, so that samples do not share what one of them has seen.

A node's function may be a method of an object, a closure, a callable object, or a function that writes to the globals
of the user's module. `Copies` takes all functions and processes of a network at once, since they may share what they
remember, and gives a new set for every sample. The copying is pickle's, in memory, with functions (their closures,
defaults, attributes and the globals that they name) copied too; what a `functools.lru_cache` of the user's has kept is
computed again in every copy. Shared, because nothing can be remembered there:
modules, types, functions of libraries, and Nengo's objects. Arrays of a megabyte and more are shared as well, but
cannot be written to. What can be copied neither way is refused.
"""

from __future__ import annotations

import functools
import io
import logging
import pickle
import random
import sys
import sysconfig
import threading
import types
import warnings
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import nengo
import numpy as np
from cotrain.hardware.errors import UnsupportedError

LARGE_ARRAY_BYTES = 1 << 20
_RUN = "make a new network for every sample and use run_steps"
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
) + (str(Path(nengo.__file__).resolve().parent),)  # fmt: skip
_SHARED = (
    type, types.ModuleType, types.CodeType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType, np.ufunc, np.dtype, logging.Logger,
    type(threading.Lock()), type(threading.RLock()),
    nengo.Network, nengo.base.NengoObject, nengo.base.ObjView, nengo.ensemble.Neurons, nengo.Simulator,
)  # fmt: skip
_Cached = functools._lru_cache_wrapper


@functools.lru_cache(maxsize=None)
def _of_library(filename) -> bool:
    return str(Path(filename).resolve()).startswith(_LIBRARIES) if filename else True


def _is_shared(obj) -> bool:
    if isinstance(obj, _SHARED):
        return True
    if isinstance(obj, types.BuiltinFunctionType):
        return obj.__self__ is None or isinstance(obj.__self__, types.ModuleType)
    if isinstance(obj, _Cached):
        return not isinstance(obj.__wrapped__, types.FunctionType) or _of_library(obj.__wrapped__.__code__.co_filename)
    if isinstance(obj, types.FunctionType):
        if obj.__module__ == __name__:  # what the copies are made with
            return True
        still = obj.__closure__ is None and not obj.__dict__ and not obj.__defaults__ and not obj.__kwdefaults__
        return still and _of_library(obj.__code__.co_filename)
    if type(obj).__module__.startswith("numba."):
        return True
    # Nengo's own processes and neuron types keep nothing: make_step returns what remembers
    return isinstance(obj, nengo.base.FrozenObject) and type(obj).__module__.startswith(("nengo.", "nengo_loihi."))


def names_in(code: Any) -> set:
    """Names that a function may look up among its globals, nested functions included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
    return found


def _function(code, scope, name, qualname, closure):
    function = types.FunctionType(code, scope, name, None, closure)
    function.__qualname__ = qualname
    return function


def _fill_function(function, state):
    scope, function.__defaults__, function.__kwdefaults__, attributes = state
    function.__globals__.update(scope)
    function.__dict__.update(attributes)


def _cache(function, maxsize, typed):
    return functools.lru_cache(maxsize, typed)(function)


def _memory_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _fill_cell(cell, contents):
    (cell.cell_contents,) = contents


class _Copier(pickle.Pickler):
    """Writes what is copied, and lists what is shared."""

    def __init__(self, file):
        super().__init__(file, protocol=4)
        self.shared: List[Any] = []
        self.classes: Dict[type, None] = {}  # of the user's
        self.modules: Dict[types.ModuleType, None] = {}  # likewise
        self._scopes: Dict[int, dict] = {}
        self._by_reference: set = set()  # ids of dictionaries
        self._bases: Dict[int, np.ndarray] = {}

    def persistent_id(self, obj):
        if isinstance(obj, np.ndarray) and obj.dtype != object:
            if obj.nbytes >= LARGE_ARRAY_BYTES:
                obj = obj.view()
                obj.flags.writeable = False
                return self._share(obj)
            base = _memory_of(obj)
            if base is not obj and not base.flags.c_contiguous:
                if obj.size and self._bases.setdefault(id(base), obj) is not obj:
                    raise pickle.PicklingError("two arrays that it holds share their memory")
        if isinstance(obj, types.ModuleType) and not _of_library(getattr(obj, "__file__", None)):
            if not obj.__name__.startswith("cotrain."):
                self.modules[obj] = None
        kind = obj if isinstance(obj, type) else type(obj)
        if kind.__module__ == "__main__" or not _of_library(
            getattr(sys.modules.get(kind.__module__), "__file__", None)
        ):
            self.classes[kind] = None
        return self._share(obj) if id(obj) in self._by_reference or _is_shared(obj) else None

    def _share(self, obj):
        self.shared.append(obj)
        return len(self.shared) - 1

    def reducer_override(self, obj):
        if type(obj) is np.ndarray and obj.dtype != object:
            base = _memory_of(obj)
            if base is obj or not base.flags.c_contiguous or type(base) is not np.ndarray:
                return NotImplemented
            start = obj.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            return np.ndarray, (obj.shape, obj.dtype, base, start, obj.strides)
        if isinstance(obj, types.CellType):
            try:
                return types.CellType, (), (obj.cell_contents,), None, None, _fill_cell
            except ValueError:  # not filled yet
                return types.CellType, ()
        if isinstance(obj, _Cached):
            typed = obj.cache_parameters()["typed"] if hasattr(obj, "cache_parameters") else False
            return _cache, (obj.__wrapped__, obj.cache_info().maxsize, typed)
        if not isinstance(obj, types.FunctionType):
            return NotImplemented
        scope, names = obj.__globals__, {}
        self._by_reference.add(id(scope))
        if not _of_library(obj.__code__.co_filename):
            self._by_reference.add(id(scope.get("__builtins__")))
            fresh = {"__builtins__": scope.get("__builtins__"), "__name__": obj.__module__}
            names = {name: scope[name] for name in sorted(names_in(obj.__code__)) if name in scope}
            scope = self._scopes.setdefault(id(scope), fresh)
        made_of = (obj.__code__, scope, obj.__name__, obj.__qualname__, obj.__closure__)
        state = (names, obj.__defaults__, obj.__kwdefaults__, obj.__dict__)
        return _function, made_of, state, None, None, _fill_function


class _Loader(pickle.Unpickler):
    def __init__(self, data, shared):
        super().__init__(io.BytesIO(data))
        self._shared = shared

    def persistent_load(self, pid):
        return self._shared[pid]


def _written(obj):
    """(bytes, copier) of an object."""
    file = io.BytesIO()
    copier = _Copier(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # itertools will not be picklable in Python 3.14
        copier.dump(obj)
    return file.getvalue(), copier


class Copies:
    """What the functions and processes of a network remember, as it is now.

    Parameters
    ----------
    named : sequence of (str, object)
        Whose they are, and the functions, processes or random states themselves.

    Raises
    ------
    UnsupportedError
        One of them remembers in a way that cannot be copied (a generator, an open file, ...).
    """

    def __init__(self, named: Sequence[Tuple[str, Any]]):
        self.named = list(named)
        objects = [obj for _, obj in self.named]
        try:
            self._data, copier = _written(objects)
        except Exception as error:  # whatever a user's __reduce__ raises
            raise UnsupportedError(self._why_not(error)) from error
        self._shared = copier.shared
        self._watched = _Watched(copier.classes, copier.modules)

    def _why_not(self, error):
        name = "these nodes together"
        for one, obj in self.named:
            try:
                _written(obj)
            except Exception as its_own:
                name, error = one, its_own
                break
        return (
            f"{name}: its function remembers something that cannot be copied for each sample of predict "
            f"({type(error).__name__}: {' '.join(str(error).split())}); keep it in lists, numbers and arrays, or {_RUN}"
        )

    def fresh(self) -> list:
        """A new copy of each of `named`; what they share with each other, the copies share, too."""
        return _Loader(self._data, self._shared).load() if self.named else []

    def check_shared(self) -> None:
        """Refuse results of samples that met in something that is not copied.

        Raises
        ------
        UnsupportedError
            A class's attributes, globals that its methods use, those of a module, or the global random numbers
            changed since.
        """
        changed = self._watched.changed()
        if changed and self.named:
            names = ", ".join(dict.fromkeys(name for name, _ in self.named))
            raise UnsupportedError(
                f"{names}: what all samples share changed while they ran ({changed}): keep it in the object itself "
                f"(random numbers: rng = np.random.RandomState(0)), or {_RUN}"
            )


class _Watched:
    """What copies still share: the user's modules and classes, globals of their methods, global random states."""

    def __init__(self, classes, modules):
        self._classes, self._modules = list(classes), list(modules)
        self._before = self._digests()

    def _digests(self):
        found = {
            "numpy.random": pickle.dumps(np.random.get_state()),
            "random": pickle.dumps(random.getstate()),
        }
        for module in self._modules:
            for name, value in list(vars(module).items()):
                if not name.startswith("__") and not isinstance(value, (types.FunctionType, _Cached) + _SHARED):
                    found[f"{module.__name__}.{name}"] = _digest(value)
        for kind in self._classes:
            scope = getattr(sys.modules.get(kind.__module__), "__dict__", {})
            for name, value in vars(kind).items():
                function = getattr(value, "__func__", getattr(value, "fget", value))
                if isinstance(function, types.FunctionType):
                    for used in names_in(function.__code__):
                        if used in scope and not isinstance(scope[used], (types.FunctionType, _Cached) + _SHARED):
                            found[f"global {used}"] = _digest(scope[used])
                elif not (name.startswith("__") or callable(value)) and not hasattr(value, "__get__"):
                    found[f"{kind.__name__}.{name}"] = _digest(value)
        return found

    def changed(self) -> str:
        after = self._digests()
        return ", ".join(sorted(k for k in after if after[k] != self._before.get(k)))


def _digest(value):
    try:
        return _written(value)[0]
    except Exception:  # what cannot be written is not compared
        return None
