"""TensorFlow and NengoDL as this project needs them; nothing else imports either by itself.

NengoDL 3.6 (January 2023) wants Keras 2 under the name ``keras``; every TensorFlow that is still maintained brings
Keras 3. The ``tf-keras`` distribution is Keras 2 for those TensorFlows, so it is lent the name while NengoDL is
imported: NengoDL keeps what it took, and ``import keras`` elsewhere still finds Keras 3.

Both functions also silence what TensorFlow and NengoDL print that no user can act on. Every silenced line is listed
below; all others pass.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from cotrain.hardware.errors import MissingError, UnsupportedError

Tensor = Any  # a tf.Tensor, or what tf.function makes of one: TensorFlow is loaded late, and its stubs say little more

# name that NengoDL imports -> module of tf-keras that has the same content (nengo_dl/compat.py)
KERAS_2 = {
    "keras": "tf_keras.src",
    "keras.engine": "tf_keras.src.engine",
    "keras.engine.functional": "tf_keras.src.engine.functional",
    "keras.layers": "tf_keras.src.layers",
}

# (message, category, module), regular expressions as in warnings.filterwarnings. tests/conftest.py gives pytest the
# same list, because pytest replaces a program's own filters.
SPURIOUS_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    # NengoDL says so on every Simulator without a GPU
    ("No GPU support detected", UserWarning, r"nengo_dl\.simulator"),
    # NengoDL runs Keras in graph mode, and Keras warns of attributes that Keras itself reads
    (r"`(Model\.state_updates|layer\.updates)` will be removed", UserWarning, r"tf_keras\.src\."),
    # Nengo 3.2 on NumPy 1.26: it compares versions with distutils and has a copy of an old SciPy
    ("distutils Version classes are deprecated", DeprecationWarning, ""),
    ("The distutils package is deprecated", DeprecationWarning, r"nengo\.utils\.numpy"),
    ("Conversion of an array with ndim > 0", DeprecationWarning, r"nengo\._vendor\.scipy\."),
    ("`product` is deprecated", DeprecationWarning, r"nengo\.utils\.filter_design"),
    # Nengo 4.1, which Python 3.13 needs: NengoDL and nengo-loihi have not been tried with it, this package has
    ("This version of (NengoDL|`nengo_loihi`) has not been tested", UserWarning, r"nengo_(dl|loihi)\.version"),
    (r"numpy\.core is deprecated", DeprecationWarning, r"nengo\.utils\.numpy"),
    # NumPy 2.5 of Nengo and nengo-loihi, Python 3.13 of TensorFlow's tracer
    ("Setting the (dtype|shape) on a NumPy array", DeprecationWarning, r"nengo(_loihi)?\."),
    (r"\w+\.__init__ got an unexpected keyword argument", DeprecationWarning, r"gast\."),
)

# Python log records of TensorFlow (logger "tensorflow")
SPURIOUS_RECORDS = re.compile(
    r"is deprecated|deprecated and will be removed"  # calls made by tf-keras and NengoDL
    r"|triggered tf\.function retracing"  # one a simulator, and each network has its own
    r"|Model failed to serialize as JSON"  # the TensorBoard callback tries; a NengoDL model never serialises
)

# lines that TensorFlow's C++ writes straight to file descriptor 2 while it is imported; it does so whatever
# TF_CPP_MIN_LOG_LEVEL says (2.20 and later)
SPURIOUS_LINES = re.compile(
    rb"before absl::InitializeLog\(\) is called"
    rb"|oneDNN custom operations are on"
    rb"|Could not find cuda drivers|Could not find TensorRT|Unable to register cu\w+ factory"
    rb"|failed call to cuInit"
    rb"|binary is optimized to use available CPU instructions|To enable the following instructions"
)


@functools.cache
def import_tensorflow() -> ModuleType:
    """TensorFlow with Keras 2 as ``tf.keras``, quiet.

    Returns
    -------
    module
        ``tensorflow``.

    Raises
    ------
    MissingError
        TensorFlow or tf-keras is not installed.
    UnsupportedError
        TensorFlow was imported before by other code and has Keras 3 as ``tf.keras``.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # read when tensorflow is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    silence_warnings()
    with _filtered_stderr():
        tensorflow = _import("tensorflow")
        _import("tf_keras")
        tensorflow.config.list_physical_devices()  # its log lines come now and not in the middle of a progress bar
    if not tensorflow.keras.__name__.startswith("tf_keras"):
        raise UnsupportedError(
            "tensorflow was imported before pipeline.compat and has Keras 3: call pipeline.compat.import_tensorflow() "
            "first, or set TF_USE_LEGACY_KERAS=1 before Python starts"
        )
    tensorflow.get_logger().addFilter(_keep_record)
    return tensorflow


@functools.cache
def import_nengo_dl() -> ModuleType:
    """NengoDL on the TensorFlow of `import_tensorflow`, quiet.

    Returns
    -------
    module
        ``nengo_dl``.

    Raises
    ------
    MissingError
        NengoDL, TensorFlow or tf-keras is not installed.
    UnsupportedError
        TensorFlow was imported before by other code and has Keras 3 as ``tf.keras``.
    """
    tensorflow = import_tensorflow()
    log_level = os.environ["TF_CPP_MIN_LOG_LEVEL"]

    def answer_gpu_question(command, *args, **kwargs):
        # NengoDL starts a second Python with a second TensorFlow (2 s, and its noise) only to ask this
        if "list_physical_devices('GPU')" in command[-1]:
            return int(not tensorflow.config.list_physical_devices("GPU"))
        return call(command, *args, **kwargs)

    call = subprocess.call
    with keras_2(), mock.patch("subprocess.call", answer_gpu_question):
        nengo_dl = _import("nengo_dl")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = log_level  # NengoDL sets its own
    return nengo_dl


def make_deterministic(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow run only operations that repeat to the bit.

    Parameters
    ----------
    seed : int
        Non-negative, below 2**32.
    """
    tensorflow = import_tensorflow()
    tensorflow.keras.utils.set_random_seed(seed)
    tensorflow.config.experimental.enable_op_determinism()


def silence_warnings() -> None:
    """Ignore `SPURIOUS_WARNINGS` in this process."""
    for message, category, module in SPURIOUS_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)


@contextmanager
def keras_2() -> Iterator[None]:
    """Lend tf-keras the name ``keras`` in ``sys.modules``."""
    before = {name: module for name, module in sys.modules.items() if _is_keras(name)}
    for name in before:
        del sys.modules[name]
    sys.modules.update({name: importlib.import_module(ours) for name, ours in KERAS_2.items()})
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_keras(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingError(
            f"{error.name} is not installed, and training needs it: run `make setup`, "
            "or install loihi-cotrain as README.md says"
        ) from error


def _is_keras(name: str) -> bool:
    return name == "keras" or name.startswith("keras.")


def _keep_record(record: logging.LogRecord) -> bool:
    return SPURIOUS_RECORDS.search(record.getMessage()) is None


@contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, then write it without `SPURIOUS_LINES`."""
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (AttributeError, OSError, ValueError):  # closed: nothing would be seen
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not SPURIOUS_LINES.search(line):
                    os.write(2, line)
