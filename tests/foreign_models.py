"""Small models of Keras 3, saved as files with their outputs. Run it as a script: NengoDL's process holds Keras 2.

python foreign_models.py FOLDER
"""

import os
import sys
from pathlib import Path

import numpy as np

N_SAMPLES = 3


def models(keras):
    """{name: model}: inputs of at most 16 by 16 pixels."""
    layers = keras.layers

    def functional(shape, make):
        image = layers.Input(shape)
        return keras.Model(image, make(image))

    def conv_bn(x, filters, **more):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, **more)(x)
        return layers.BatchNormalization()(x)

    def vgg(x):
        for filters in (4, 6):
            x = layers.ReLU()(conv_bn(x, filters))
            x = layers.ReLU()(conv_bn(x, filters))
            x = layers.AveragePooling2D(2)(x)
            x = layers.Dropout(0.2)(x)
        x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
        return layers.Dense(5, activation="softmax")(x)

    def residual(x):
        x = layers.ReLU()(conv_bn(x, 4))
        for filters, stride in ((4, 1), (6, 2)):
            short = x if stride == 1 else layers.Conv2D(filters, 1, strides=stride)(x)
            y = conv_bn(layers.ReLU()(conv_bn(x, filters, strides=stride)), filters)
            x = layers.ReLU()(layers.Add()([y, short]))
        return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))

    def preactivated(x):
        x = layers.Conv2D(4, 3, padding="same")(x)
        for _ in range(2):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            x = layers.Add()([x, layers.Conv2D(4, 3, padding="same")(y)])
        x = layers.ReLU()(layers.BatchNormalization()(x))
        return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))

    def unet(x):
        down = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(down)
        x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
        x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)  # linear, as many U-Nets have it
        x = layers.Concatenate()([x, down])
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        return layers.Conv2D(1, 1, activation="sigmoid")(x)

    def separable(x):
        x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)  # behind the activation: its offset ends at the border
        x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
        x = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(x))
        x = layers.SeparableConv2D(6, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(6, 3, groups=2, activation="relu")(x)
        return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))

    def convolutional(x):
        x = layers.Rescaling(2.0, offset=-1.0)(x)
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
        x = layers.Conv2D(5, 1)(x)
        x = layers.LeakyReLU(negative_slope=0.1)(x)
        return layers.Softmax()(layers.GlobalAveragePooling2D()(x))

    def padded(x):
        x = layers.ZeroPadding2D(((2, 1), (0, 3)))(x)
        x = layers.Conv2D(4, (3, 2), strides=(2, 1), activation="relu")(x)
        x = layers.ZeroPadding2D(((1, 2), (2, 0)))(x)
        x = layers.Conv2D(5, 3, strides=2, activation="relu")(x)
        x = layers.ZeroPadding2D(2)(x)
        x = layers.Conv2D(5, 2, activation="relu")(x)
        x = layers.Cropping2D(((1, 0), (0, 2)))(x)
        x = layers.Conv2D(4, 5, padding="same", activation="relu")(x)
        x = layers.Conv2DTranspose(3, 2, strides=3, padding="valid", activation="relu")(x)
        return layers.Dense(3)(layers.Flatten()(x))

    def decoder(x):
        x = layers.Conv2D(4, 4, strides=2, padding="same", activation="relu")(x)
        x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
        x = layers.UpSampling2D(2)(x)
        x = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
        x = layers.UpSampling2D((2, 1))(x)
        x = layers.Conv2DTranspose(3, (4, 3), strides=(1, 2), padding="same", activation="relu")(x)
        return layers.Conv2D(2, 3, padding="same")(x)

    def shapes(x):
        x = layers.Permute((2, 1, 3))(x)
        x = layers.Reshape((6, 8, 2))(x)
        x = layers.Conv2D(3, 3, activation="relu")(x)
        x = layers.Dense(4, activation="relu")(x)  # of each pixel
        x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
        x = layers.Conv2D(3, 2, activation="relu")(layers.Reshape((3, 4, 2))(x))
        x = layers.Average()([x, layers.Conv2D(3, 1)(x)])
        x = layers.Activation("relu")(x)
        return layers.Dense(2, activation="sigmoid")(layers.Flatten()(x))

    normalise = layers.Normalization(mean=[0.4, 0.5], variance=[0.04, 0.09])
    block = keras.Sequential(
        [layers.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()]
    )
    return {
        "vgg": functional((8, 12, 1), vgg),
        "residual": functional((8, 8, 2), residual),
        "preactivated": functional((6, 6, 2), preactivated),
        "unet": functional((8, 12, 1), unet),
        "separable": functional((12, 12, 2), separable),
        "convolutional": functional((9, 10, 3), convolutional),
        "dense": keras.Sequential([
            layers.Input((5, 6, 1)), layers.Flatten(), layers.Dense(20, activation="relu"), layers.BatchNormalization(),
            layers.Dense(12, activation="relu"), layers.Dense(4, activation="softmax"),
        ]),
        "one_hidden": keras.Sequential([layers.Input((30,)), layers.Dense(10, activation="relu"), layers.Dense(4)]),
        "padded": functional((9, 8, 2), padded),
        "decoder": functional((12, 10, 2), decoder),
        "shapes": functional((8, 6, 2), shapes),
        "nested": functional((8, 8, 2), lambda x: layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(
            block(layers.ReLU()(block(layers.Conv2D(4, 1, activation="relu")(normalise(x)))))
        )))),
    }  # fmt: skip


def with_random_weights(model, seed: int):
    """Kernels of gain 1, and every bias, mean and variance of a size that shows."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        kind, shape = weight.path.split("/")[-1], tuple(weight.shape)
        if len(shape) > 1:
            fan_in = np.prod(shape[:-1]) if "transpose" not in weight.path else np.prod(shape) / shape[-2]
            fan_in = np.prod(shape[:2]) if kind == "depthwise_kernel" else fan_in
            value = rng.normal(0, np.sqrt(2 / fan_in), shape)
        elif kind in ("gamma", "moving_variance", "variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.uniform(-0.3, 0.3, shape)
        if shape and kind not in ("count",):
            weight.assign(value.astype(np.float32))
    return model


def main(folder: Path) -> None:
    """Save every model as .keras, some as .h5, and what they give for random images."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, model) in enumerate(models(keras).items()):
        with_random_weights(model, i)
        shape = model.input_shape[1:]
        images = np.random.default_rng(100 + i).random((N_SAMPLES, *shape)).astype(np.float32)
        outputs = np.asarray(model(images))
        model.save(folder / f"{name}.keras")
        if name in ("residual", "nested"):
            model.save(folder / f"{name}.h5")
        np.savez(folder / f"{name}.npz", images=images, outputs=outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
