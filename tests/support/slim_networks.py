"""Shrunken networks of TF-slim, which write the fixtures of the families; also whole ones, to compare by hand.

Run with TensorFlow, tf_keras and tf_slim, which have an environment of their own::

    python -m tests.support.slim_networks                  # writes tests/fixtures/families anew
    python -m tests.support.slim_networks FOLDER NAME ...  # writes networks of NETWORKS, as checkpoints too

A fixture holds no weights, which follow from their names: names and shapes, logits, and the moving means after a step
of training.
"""

import contextlib
import functools
import importlib
import json
import sys
import types
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.support.paths import FIXTURES

__all__ = ["FOLDER", "NETWORKS", "SlimNetwork", "draw_images", "draw_weight"]

FOLDER = FIXTURES / "families"


class SlimNetwork(NamedTuple):
    """A network of slim.

    Attributes:
        build: Function of slim's module, images, and whether to train, which returns the logits.
        module: Module of ``tf_slim.nets``.
        scope: Name of the function that returns the scope of arguments.
        sizes: Heights and widths of images; at the last one it also trains.
        channels: Channels of the images.
        images: Number of images.
    """

    build: Callable[[Any, Any, bool], Any]
    module: str
    scope: str
    sizes: Sequence[tuple[int, int]] = ((33, 47),)
    channels: int = 1
    images: int = 4


def _resnet(
    module: Any, images: Any, train: bool, *, version: int, output_stride: int | None = None, classes: int = 5
) -> Any:
    """Builds a ResNet of four blocks of one or two units, narrow except for the first convolution."""
    block = getattr(module, f"resnet_v{version}_block")
    units, strides = ((2, 1, 2, 1), (2, 2, 2, 1))
    blocks = [block(f"block{i + 1}", 2 * 2**i, units[i], strides[i]) for i in range(4)]
    network = getattr(module, f"resnet_v{version}")
    scope = f"resnet_v{version}_50"
    return network(images, blocks, classes, train, output_stride=output_stride, scope=scope)[0][:, 0, 0]


def _whole(module: Any, images: Any, train: bool, *, name: str, classes: int = 1000) -> Any:
    logits = getattr(module, name)(images, num_classes=classes, is_training=train)[0]
    return logits[:, 0, 0] if len(logits.shape) == 4 else logits


@contextlib.contextmanager
def _narrow(module: Any, divisor: int, classes: int) -> Iterator[None]:
    """Makes slim's module build convolutions with a fraction of their filters, except for the logits."""
    slim, layers = (importlib.import_module(one) for one in ("tf_slim", "tf_slim.layers"))

    def conv2d(inputs: Any, filters: int, *arguments: Any, **options: Any) -> Any:
        return layers.conv2d(inputs, filters if filters == classes else filters // divisor, *arguments, **options)

    own, module.layers = module.layers, types.SimpleNamespace(conv2d=slim.add_arg_scope(conv2d))
    try:
        yield
    finally:
        module.layers = own


def _sliding(module: Any, images: Any, train: bool, *, name: str, divisor: int = 1, classes: int = 1000) -> Any:
    """Builds a VGG or AlexNet, with a fraction of its filters; logits are the means of its maps."""
    with _narrow(module, divisor, classes):
        network = getattr(module, name)
        logits, _ = network(images, classes, is_training=train, dropout_keep_prob=1.0, spatial_squeeze=False)
    return importlib.import_module("tensorflow").reduce_mean(logits, (1, 2))


def _inception(
    module: Any, images: Any, train: bool, *, name: str, classes: int = 1001, divisor: int = 1, **options: Any
) -> Any:
    """Builds an Inception network, with a fraction of its filters, whose window of pooling is that of its last maps."""
    if name == "inception_v1":  # which has no multiplier
        with _narrow(module, divisor, classes):
            return module.inception_v1(images, classes, train, dropout_keep_prob=1.0)[0]
    options |= {"depth_multiplier": 1 / divisor, "min_depth": 1} if divisor > 1 else {}
    options |= {"create_aux_logits": False} if name == "inception_v3" else {}
    return getattr(module, name)(images, classes, train, dropout_keep_prob=1.0, **options)[0]


_LARGE = ((224, 224), (197, 243))

FIXTURE_NETWORKS: Mapping[str, SlimNetwork] = {
    f"resnet_v{version}{suffix}": SlimNetwork(
        functools.partial(_resnet, version=version, **options), f"resnet_v{version}", "resnet_arg_scope"
    )
    for version in (1, 2)
    for suffix, options in (("", {}), ("_stride_8", {"output_stride": 8}))
} | {
    "vgg_a": SlimNetwork(
        functools.partial(_sliding, name="vgg_a", divisor=16, classes=5),
        "vgg",
        "vgg_arg_scope",
        sizes=((231, 262),),
        images=2,
    ),
    "alexnet_v2": SlimNetwork(
        functools.partial(_sliding, name="alexnet_v2", divisor=16, classes=5),
        "alexnet",
        "alexnet_v2_arg_scope",
        sizes=((197, 230),),
        images=2,
    ),
    "inception_v1": SlimNetwork(
        functools.partial(_inception, name="inception_v1", divisor=8, classes=5),
        "inception_v1",
        "inception_v1_arg_scope",
        sizes=((197, 211),),
    ),
    "inception_v2": SlimNetwork(
        functools.partial(_inception, name="inception_v2", divisor=16, classes=5),
        "inception_v2",
        "inception_v2_arg_scope",
        sizes=((97, 117),),
    ),
    "inception_v3": SlimNetwork(
        functools.partial(_inception, name="inception_v3", divisor=16, classes=5),
        "inception_v3",
        "inception_v3_arg_scope",
        sizes=((139, 123),),
    ),
}
"""Those of the fixtures."""

NETWORKS: Mapping[str, SlimNetwork] = {
    **{
        name: SlimNetwork(functools.partial(_inception, name=name), name, f"{name}_arg_scope", sizes, channels=3)
        for name, sizes in (
            ("inception_v1", ((224, 224), (211, 197))),
            ("inception_v2", ((224, 224), (193, 161))),
            ("inception_v3", ((299, 299), (187, 203))),
        )
    },
    **{
        f"resnet_v{version}_{layers}": SlimNetwork(
            functools.partial(_whole, name=f"resnet_v{version}_{layers}", classes=999 + version),
            f"resnet_v{version}",
            "resnet_arg_scope",
            _LARGE,
            channels=3,
        )
        for version in (1, 2)
        for layers in (50, 101, 152, 200)
    },
    **{
        name: SlimNetwork(
            functools.partial(_sliding, name=name), module, f"{scope}_arg_scope", ((224, 224), (231, 262)), channels=3
        )
        for module, scope, names in (
            ("vgg", "vgg", ("vgg_a", "vgg_16", "vgg_19")),
            ("alexnet", "alexnet_v2", ("alexnet_v2",)),
        )
        for name in names
    },
}
"""Whole ones."""


def draw_weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """Draws the values of a variable, which its name determines; batch norms differ between channels."""
    random = np.random.RandomState(zlib.crc32(name.encode()))  # its numbers stay the same in every version of NumPy
    kind = name.rpartition("/")[2]
    if kind in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        return random.uniform(-0.3, 0.3, shape).astype(np.float32)
    fan = int(np.prod(shape[:2] if kind == "depthwise_weights" else shape[:-1]))
    return random.standard_normal(shape).astype(np.float32) * np.float32(np.sqrt(2 / fan))


def draw_images(images: int, height: int, width: int, channels: int) -> np.ndarray:
    """Draws the images that a network is compared on."""
    return np.random.RandomState(1).uniform(-2, 2, (images, height, width, channels)).astype(np.float32)


def write(name: str, network: SlimNetwork, folder: Path, *, checkpoint: bool = False) -> None:
    """Runs a network and writes its fixture."""
    tf = _import_tensorflow()
    slim = importlib.import_module("tf_slim")
    module = importlib.import_module(f"tf_slim.nets.{network.module}")
    found: dict[str, Any] = {}
    for size in network.sizes:
        for train in (False, True) if size == network.sizes[-1] else (False,):
            with tf.Graph().as_default(), tf.Session() as session:
                x = draw_images(network.images, *size, network.channels)
                images = tf.placeholder(tf.float32, (network.images, *size, network.channels))
                with slim.arg_scope(getattr(module, network.scope)()):
                    logits = network.build(module, images, train)
                variables = {v.op.name: v for v in tf.global_variables()}
                for key, variable in variables.items():
                    variable.load(draw_weight(key, variable.shape.as_list()), session)
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
                if checkpoint and not train and size == network.sizes[0]:
                    tf.train.Saver().save(session, str(folder / name / "model.ckpt"), write_meta_graph=False)
                of_size = f"{size[0]}x{size[1]}"
                if not train:
                    found[f"logits/{of_size}"] = session.run(logits, {images: x})
                    continue
                found[f"training/{of_size}"] = session.run([logits, updates], {images: x})[0]
                for key, variable in variables.items():
                    if key.endswith("moving_mean"):
                        found[f"after/{key}"] = session.run(variable)
                shapes = {key: variable.shape.as_list() for key, variable in variables.items()}
                found["shapes"] = np.array(json.dumps(shapes))
    np.savez_compressed(folder / f"{name}.npz", **found)


def _import_tensorflow() -> Any:
    """Imports TensorFlow 1's functions; tf_slim asks for its layers where tf_keras no longer has them."""
    legacy = importlib.import_module("tf_keras.src.legacy_tf_layers")
    sys.modules["tf_keras.legacy_tf_layers"] = legacy
    for part in ("base", "convolutional", "core", "normalization", "pooling"):
        whole = importlib.import_module(f"tf_keras.src.legacy_tf_layers.{part}")
        sys.modules[f"tf_keras.legacy_tf_layers.{part}"] = whole
    tf = importlib.import_module("tensorflow").compat.v1
    tf.disable_eager_execution()
    tf.disable_control_flow_v2()
    return tf


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for one in sys.argv[2:]:
            write(one, NETWORKS[one], Path(sys.argv[1]), checkpoint=True)
    else:
        FOLDER.mkdir(exist_ok=True)
        for one, network in FIXTURE_NETWORKS.items():
            write(one, network, FOLDER)
