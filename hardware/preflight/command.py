"""``cotrain check FILE.py:FUNCTION``: place any nengo.Network and say whether chip and board take it."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any, Optional, Tuple

from cotrain.hardware import files, terminal
from cotrain.hardware.builder import door
from cotrain.hardware.errors import CotrainError, InputError, MisfitError, MissingError
from cotrain.hardware.preflight.report import Finding, Report


def main(target: str, board: str = "nahuku32", json_path: Optional[str] = None, remove_passthrough: bool = True) -> int:
    """Place and check the network that a function makes; print the report.

    Parameters
    ----------
    target : str
        ``FILE.py:FUNCTION``; the function takes no arguments and returns a nengo.Network.
    board : str
        Name of a board.
    json_path : str, optional
        Where to write the report as JSON.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`.

    Returns
    -------
    int
        0 where the network fits, 1 where a limit is broken.

    Raises
    ------
    CotrainError
        The file, function, network, board or JSON path cannot be used.
    """
    return tell(load_network(target), board, json_path, remove_passthrough)


def tell(
    net: Any,
    board: str,
    json_path: Optional[str] = None,
    remove_passthrough: bool = True,
    more: Tuple[Finding, ...] = (),
) -> int:
    """Place and check a nengo.Network and print the report, to which `more` is added; returns as `main`."""
    from cotrain.hardware.chip.limits import find_board

    report = preflight(net, find_board(board), remove_passthrough)
    report = dataclasses.replace(report, findings=more + report.findings)
    terminal.say(report.table())
    if json_path is not None:
        write_json(report, json_path)
    terminal.say(verdict(report) + (f"; written to {json_path}" if json_path is not None else ""))
    return 0 if report.fits else 1


def verdict(report: Report) -> str:
    """Whether it fits, in a line."""
    if report.fits:
        size = f"{terminal.plural(report.cores, 'core')} on {terminal.plural(report.chips, 'chip')}"
        return f"check: it fits {report.board}, with {size}"
    return f"check: it does not fit {report.board}: {terminal.plural(len(report.violations), 'limit')} broken"


def preflight(net: Any, board: Any, remove_passthrough: bool = True) -> Report:
    """Partition ``net``, check it, and return the `Report`; where no cut fits, it is checked as nengo_loihi cuts it."""
    from cotrain.hardware.placement.cores import lower
    from cotrain.hardware.placement.partition import partition
    from cotrain.hardware.preflight.check import check

    try:
        lowered = lower(net, remove_passthrough=remove_passthrough)
    except CotrainError:  # check says the same, as a violation
        return check(net, board, remove_passthrough=remove_passthrough)
    try:
        partition(lowered, board)
    except MisfitError as error:
        report = check(lowered, board)
        unplaced = Finding("not_placed", "", 1, f"no cut fits, so this is how nengo_loihi would cut it: {error}")
        return dataclasses.replace(report, findings=(unplaced,) + report.findings)
    return check(lowered, board)


def load_network(target: str) -> Any:
    """Return the nengo.Network that ``FILE.py:FUNCTION`` makes.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        ``target`` is malformed, the file does not import, the function is not there, fails, or returns something else.
    """
    return as_network(made_by(target), target)


def as_network(made: Any, target: str) -> Any:
    """`made`, which ``FILE.py:FUNCTION`` gave, if it is a nengo.Network.

    Raises
    ------
    InputError
        It is something else.
    """
    import nengo

    if not isinstance(made, nengo.Network):
        path, _, name = target.rpartition(":")
        raise InputError(f"{path}: {name}() returned {type(made).__name__}: expected a nengo.Network")
    return made


def made_by(target: str) -> Any:
    """What the function of ``FILE.py:FUNCTION`` returns.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        ``target`` is malformed, the file does not import, the function is not there, or fails.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        raise InputError(f"{target!r} does not name a network: write FILE.py:FUNCTION, as in my_network.py:make")
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{path}: no such file; check expects FILE.py:FUNCTION")
    module = _import(file)
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__
        ]
        there = f"it has {', '.join(sorted(known))}" if known else "it defines no functions"
        raise InputError(f"{path}: no function {name!r}; {there}")
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {name}() failed: {error_line(error)}") from error


def _import(file):
    name = f"_checked_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise InputError(f"{file}: not a Python file; check expects FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    folder = str(file.resolve().parent)
    _ = door.version_info  # nengo_loihi is imported: the file's own import of it does not start TensorFlow
    sys.modules[name] = module
    sys.path.insert(0, folder)  # what lies next to the file can be imported, as if it were run
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{file}: importing it failed: {error_line(error)}") from error
    finally:
        sys.path.remove(folder)
    return module


def error_line(error: BaseException) -> str:
    """An exception of a class unknown to us as one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def write_json(report: Report, path: files.PathLike) -> None:
    """Write a `Report` as JSON, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    files.write_json(path, report.to_json(), "choose another --json FILE", parents=False)
