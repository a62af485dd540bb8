"""The small Keras model whose three files are the fixture, and the values of its weights.

``python -m tests.support.keras_models`` writes them again with the installed Keras, into one zip file: nine tenths of
them are zeros.
"""

import os
import tempfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from tests.support.paths import FIXTURES

FILES = ("small.h5", "small.weights.h5", "small.keras")
FIXTURE = FIXTURES / "keras_small.zip"

WEIGHTS = {
    "first/kernel": (3, 2, 2, 4),
    "first/bias": (4,),
    "bn/gamma": (4,),
    "bn/beta": (4,),
    "bn/moving_mean": (4,),
    "bn/moving_variance": (4,),
    "dw/kernel": (3, 2, 4, 2),
    "dw/bias": (8,),
    "inner/ic/kernel": (1, 1, 8, 3),
    "inner/ic/bias": (3,),
    "sep/depthwise_kernel": (2, 3, 3, 2),
    "sep/pointwise_kernel": (1, 1, 6, 5),
    "sep/bias": (5,),
    "up/kernel": (2, 3, 2, 5),  # of a transposed convolution: (kh, kw, out, in)
    "up/bias": (2,),
    "out/kernel": (2, 3),
    "out/bias": (3,),
}
"""The weights in Keras's order and with Keras's axes."""


def value(name: str) -> np.ndarray:
    """Returns a weight's value; all values are exact in bfloat16."""
    shape = WEIGHTS[name]
    values = (np.arange(np.prod(shape)) * 7 % 31 + list(WEIGHTS).index(name)) / 4
    return values.reshape(shape).astype(ml_dtypes.bfloat16 if name.startswith("out/") else np.float32)


def model():
    """Builds the model with these values."""
    import keras

    layers = keras.layers
    inner = keras.Sequential([layers.Input((4, 5, 8)), layers.Conv2D(3, 1, name="ic")], name="inner")
    x = image = layers.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, (3, 2), name="first")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same", name="dw")(x)
    x = inner(x)
    x = layers.SeparableConv2D(5, (2, 3), depth_multiplier=2, name="sep")(x)
    x = layers.Conv2DTranspose(2, (2, 3), name="up")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, name="out", dtype="bfloat16")(x)
    built = keras.Model(image, x, name="small")
    for weight in built.weights:
        weight.assign(value(weight.path))
    return built


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    small = model()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(FIXTURE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            path = Path(folder) / name
            small.save_weights(path) if name.endswith(".weights.h5") else small.save(path)
            archive.write(path, name)
