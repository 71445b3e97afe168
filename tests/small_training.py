"""Data and experiments that train in a second: a bright rectangle on black, as a box and as a mask."""

import dataclasses

import numpy as np
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.experiment import Experiment, FinetuneSettings, NetworkSettings, TrainSettings
from cotrain.pipeline.tasks.scaling import TargetScaler

IDENTITY = TargetScaler(np.zeros(1, np.float32), np.ones(1, np.float32))
TINY = [  # of demo-locnet, on the command line
    "--set", "data.height=16", "--set", "data.width=32", "--set", "data.n_groups=40", "--set", "network.filters=[2, 4]",
    "--set", "network.dense=[8]", "--set", "train.epochs=2", "--set", "finetune.epochs=1",
    "--set", "finetune.n_steps=20", "--set", "finetune.readout_steps=5", "--set", "deploy.n_bootstrap=50",
]  # fmt: skip


def boxes_data(n=24, shape=(8, 8), seed=0):
    """A bright rectangle on black; its box is the target."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 4, (n, 2))
    high = low + rng.integers(2, 5, (n, 2))
    images = np.zeros((n, *shape, 1), np.float32)
    for image, (y0, x0), (y1, x1) in zip(images, low, high, strict=True):
        image[y0:y1, x0:x1] = 0.8
    targets = (np.concatenate([low, high], axis=1) / 8).astype(np.float32)
    names = np.array([f"image_{i:04d}" for i in range(n)])
    split = np.array(["train"] * (n - 8) + ["validation"] * 4 + ["test"] * 4)
    return Dataset("synthetic-planes", "boxes", images, targets, names, names, split)


def masks_data(n=24, seed=0):
    """The rectangle's pixels are the target; four slices a volume."""
    data = boxes_data(n, seed=seed)
    groups = np.array([f"volume_{i // 4}" for i in range(n)])
    return dataclasses.replace(
        data,
        name="synthetic-hippocampus",
        task="masks",
        targets=(data.images[..., 0] > 0).astype(np.float32),
        groups=groups,
        slices=None,
    )


def labels_data(n=24, seed=0):
    """Masks of two classes: the rectangle's left column, and the rest of it."""
    data = masks_data(n, seed)
    first = data.targets > np.roll(data.targets, 1, axis=2)
    return dataclasses.replace(data, targets=np.where(first, 1, 2 * data.targets), class_names=("edge", "rest"))


def classes_data(n=24, seed=0):
    """How wide the rectangle is."""
    data = boxes_data(n, seed=seed)
    width = np.rint(8 * (data.targets[:, 3] - data.targets[:, 1])).astype(np.int64)
    return dataclasses.replace(data, task="classes", targets=width - 2, class_names=("narrow", "middle", "wide"))


LOSS = {"boxes": "mae", "masks": "ce-dice", "classes": "cross-entropy"}


def experiment_for(task, **changes):
    network = {
        "boxes": NetworkSettings(name="locnet", filters=(3, 4), dense=(12,)),
        "masks": NetworkSettings(name="cae", filters=(3, 4), bottleneck_layers=1),
        "classes": NetworkSettings(name="convnet", filters=(3, 4), strides=(1, 2), dense=(6,)),
    }[task]
    base = Experiment(
        name="test",
        network=network,
        train=TrainSettings(
            epochs=3,
            batch_size=8,
            loss={"boxes": "mae", "masks": "ce-dice", "classes": "cross-entropy"}[task],
            learning_rate=0.01,
            augment=False,
        ),
        finetune=FinetuneSettings(
            epochs=2, batch_size=8, n_steps=12, readout_steps=6, learning_rate=0.01, augment=False
        ),
    )
    return dataclasses.replace(base, **changes)


def quiet(_):
    pass
