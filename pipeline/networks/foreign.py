"""The network of an experiment whose model was made elsewhere (``network.name = "model"``)."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Tuple

if TYPE_CHECKING:
    from cotrain.pipeline.networks.readers.model import ForeignModel

OWN_MODEL = "model"  # network.name


def model_for(settings: Any, image_shape: Optional[Tuple[int, ...]] = None) -> ForeignModel:
    """The model that `settings` (pipeline.experiment.NetworkSettings) names; read once.

    Parameters
    ----------
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of its input, where the model leaves it open.

    Returns
    -------
    pipeline.networks.readers.ForeignModel
    """
    shape = None if image_shape is None else tuple(int(n) for n in image_shape)
    path = Path(settings.path)
    stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
    return _read(path, stamp, shape, settings.max_pool)


@functools.lru_cache(maxsize=4)
def _read(path: Path, stamp, shape, max_pool: str):
    # by name, so that lab bundles, which follow imports, do without the readers
    return importlib.import_module("cotrain.pipeline.networks.readers").read_model(path, shape, max_pool)


def own_shape(settings: Any) -> Tuple[int, int, int]:
    """(height, width, channels) that the model says of its input.

    Raises
    ------
    InputError
        It leaves them open.
    """
    return model_for(settings).spec.input_shape
