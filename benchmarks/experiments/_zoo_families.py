"""Real files that carry weights only: what the models of the families compute with them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import _harness
from jaxcnn import zoo

__all__ = ["CIFAR_RESNETS", "SQUEEZENET", "build_squeezenet", "count_right", "scale_as_caffe"]

SQUEEZENET = "squeezenet_v1.1_weights_tf_dim_ordering_tf_kernels_top.h5"
CIFAR_RESNETS = {"cifar_resnet20": "cifar10_resnet20-12fca82f.th", "cifar_resnet56": "cifar10_resnet56-4bfd9763.th"}
_SQUEEZED = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}


def build_squeezenet(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Builds SqueezeNet 1.1 of Keras's own layers, with the weights of a file, up to its logits.

    Args:
        path: The file.

    Returns:
        The function of images (n, 227, 227, 3).

    Raises:
        Skipped: If Keras is not installed.
    """
    keras: Any = _harness.optional("keras")
    if keras is None:
        raise _harness.Skipped("Keras is not installed")
    layers = keras.layers
    image = keras.Input((227, 227, 3))
    x = layers.Conv2D(64, 3, 2, activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(3, 2)(x)
    for number, (squeezed, expanded) in _SQUEEZED.items():
        name = f"fire{number}"
        x = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}_squeeze1x1")(x)
        sides = [
            layers.Conv2D(expanded, size, padding="same", activation="relu", name=f"{name}_expand{size}x{size}")(x)
            for size in (1, 3)
        ]
        x = layers.Concatenate()(sides)
        x = layers.MaxPooling2D(3, 2)(x) if number in (3, 5) else x
    x = layers.Conv2D(1000, 1, activation="relu", name="conv10")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    checkpoint = zoo.read(path)
    for name, tensors in checkpoint.metadata["layers"].items():
        if tensors:
            model.get_layer(name.replace("/", "_")).set_weights([checkpoint.tensors[one] for one in tensors])
    return lambda x: np.asarray(model.predict(x, verbose=0))


def count_right(net: zoo.Pretrained, path: Path, most: int) -> tuple[int, int]:
    """Counts the images of CIFAR-10 that a network classifies right.

    Args:
        net: The network, for images normalized as ImageNet's.
        path: The images and labels, as npz.
        most: How many images to take.

    Returns:
        Right ones, and all.
    """
    with np.load(path) as file:
        images, labels = file["images"][:most], file["labels"][:most]
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    x = (images / np.float32(255) - mean) / std
    logits = jax.jit(net.model.apply)(net.variables, x)
    return int((np.asarray(logits).argmax(-1) == labels).sum()), len(labels)


def scale_as_caffe(net: zoo.Pretrained) -> zoo.Pretrained:
    """Returns a network with the preprocessing of Caffe's zoo, which Keras's SqueezeNet has."""
    known = zoo.Preprocessing(
        size=227, color_order="BGR", value_range=(0, 255), mean=(103.939, 116.779, 123.68), std=(1.0,)
    )
    return dataclasses.replace(net, preprocessing=known)
