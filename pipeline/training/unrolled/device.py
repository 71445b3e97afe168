"""Where the layer-by-layer trainer computes: on the CPU with compiled loops, or on a GPU with TensorFlow alone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from cotrain.hardware.errors import MissingError
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.training.backend import Job

DEVICES = {"cpu": "/CPU:0", "gpu": "/GPU:0"}  # names of TensorFlow


def device_for(job: Job) -> str:
    """ "cpu" or "gpu": what a job's settings say, of which "auto" is a GPU where TensorFlow sees one.

    Raises
    ------
    MissingError
        A GPU is wanted, and TensorFlow sees none.
    """
    wanted = job.settings.device
    found = import_tensorflow().config.list_physical_devices("GPU")
    if wanted == "gpu" and not found:
        section = getattr(job.settings, "SECTION", "train")
        raise MissingError(
            f"{section}.device is gpu, and TensorFlow sees none: install TensorFlow's CUDA libraries (docs/gpu.md), or "
            "set it to auto or cpu"
        )
    return wanted if wanted != "auto" else "gpu" if found else "cpu"


def precision_for(job: Job) -> str:
    """ "float32" or "bfloat16".

    Without AMX, oneDNN's convolutions take 1.4 times as long in bfloat16 as in float32 (an ANN step of a CAE on a CPU
    with AVX512-BF16, measured), though they move half the memory.
    """
    wanted = job.settings.precision
    if wanted != "auto":
        return wanted
    return "bfloat16" if device_for(job) == "gpu" or _has_amx() else "float32"


def _has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not on this platform
        return False


def layers_for(job: Job) -> ModuleType:
    """What runs layers of neurons on a job's device: a module with `rates` and `spikes`."""
    if device_for(job) == "gpu":
        from cotrain.pipeline.training.unrolled import operations

        return operations
    from cotrain.pipeline.training.unrolled import layerwise

    return layerwise
