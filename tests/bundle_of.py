"""A bundle of a small network with random parameters, for tests."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from cotrain import hardware
from cotrain.hardware.bundle.pack import pack
from cotrain.pipeline.experiment import NetworkSettings, NeuronSettings
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.networks.rebuild import BUILDER, describe, rebuild

SHAPE = (8, 12)  # pixels


def tiny_bundle(out: Path, n_samples: int = 2, board="nahuku32", **settings) -> Path:
    """Pack LocNet with two convolutions; the archive."""
    network = NetworkSettings(**{"name": "locnet", "filters": (4,), "dense": (12,), **settings})
    spec = spec_for(network, SHAPE)
    rng = np.random.RandomState(1)
    params = {name: np.abs(p) if name.endswith("kernel") else p for name, p in spec.init_params(0).items()}
    description = describe(spec, NeuronSettings(rate_scale_hz=100.0), 0.002, 0)
    built = rebuild(description, params)
    hardware.partition(built.net)
    return pack(
        out, built.net, experiment="tiny", builder=BUILDER, network=description,
        params=params, layers=list(built.layers), images=rng.rand(n_samples, SHAPE[0] * SHAPE[1]),
        names=[f"s{i}" for i in range(n_samples)], n_steps=16, readout_steps=8, board=board,
        packages=("cotrain.pipeline.networks", "cotrain.pipeline.neurons"), version="0", say=lambda text: None,
    ).path  # fmt: skip


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack with the standard library, as a lab would."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
        top = tar.getnames()[0].partition("/")[0]
    return folder / top
