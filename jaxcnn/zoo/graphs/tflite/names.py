"""Readable names of layers and values, from the names that TensorFlow Lite's converter leaves."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["find_layer_name", "find_prefix", "find_value_name", "remove_prefix"]

_KERNEL_WORDS = re.compile(
    r"^(conv2d|conv2d_transpose|separable_conv2d|depthwise|depthwiseconv2d|matmul|tensordot|batchmatmul(v2)?|kernel|weights"
    r"|depthwise_weights|convolution|conv2dbackpropinput|conv2d_fold|depthwise_fold|weights_quant|depthwise_kernel"
    r"|pointwise_kernel|convolution_\d+|conv2d_\d+_fold)\d*$",
    re.IGNORECASE,
)
_OPERATION_WORDS = re.compile(
    r"^(biasadd|bias|biases|relu6?|tanh|fusedbatchnorm(v\d)?|batchnorm_fold|add_fold|fakequantwithminmaxvars(perchannel)?"
    r"|readvariableop|identity|squeeze|act_quant|resource|lastvaluequant|movingavgquantize|kernel_quant|batchnorm|mul|add"
    r"|batchnorm_fold_\d+|beta|gamma|mul_fold|sub|concat|reshape|shape|default|variable)[\d_]*$",
    re.IGNORECASE,
)
_WRAPPERS = re.compile(r"^(statefulpartitionedcall|partitionedcall|serving_default_.*)(_\d+)?(:\d+)?$", re.IGNORECASE)
_NAMELESS = re.compile(
    r"^(unknown(_\d+)?|arith\.constant\d*|tfl\.pseudo_q?const\d*|cst\d*|const(ant)?(_\d+)?|identity(_\d+)?|"
    r"(tfl|tf)\.[\w.]*\d*|\d+)\d*$",
    re.IGNORECASE,
)


def _parts(name: str) -> list[list[str]]:
    """Splits a name that the converter has joined, and leaves out wrappers."""
    found = []
    for part in name.split(";"):
        words = [word for word in part.split("/") if word and not _WRAPPERS.match(word)]
        if words and not _NAMELESS.match(words[-1]) and len(part) < 512:
            found.append(words)
    return found


def find_layer_name(names: Iterable[str]) -> str | None:
    """Finds the name of a layer with a kernel.

    Args:
        names: The names of its kernel, of its output and of its bias, the most telling first.

    Returns:
        The path of the layer; None where no name tells it.

    Example:
        >>> from jaxcnn.zoo.graphs.tflite.names import find_layer_name
        >>> find_layer_name(["net/bn_1/FusedBatchNormV3;StatefulPartitionedCall/net/conv_1/depthwise"])
        'net/conv_1'
    """
    fallback = None
    for name in names:
        parts = _parts(name)
        for words in parts:
            places = [at for at, word in enumerate(words) if at and _KERNEL_WORDS.match(word)]
            if places:
                return "/".join(words[: places[0]])
        if parts and fallback is None:
            fallback = _strip(parts[-1])
    return "/".join(fallback) if fallback else None


def _strip(words: Sequence[str]) -> list[str]:
    words = list(words)
    while len(words) > 1 and (_OPERATION_WORDS.match(words[-1]) or _KERNEL_WORDS.match(words[-1])):
        words.pop()
    return words


def find_value_name(name: str) -> str | None:
    """Finds the name of the value of an operation without a kernel.

    Args:
        name: The source's name of the tensor.

    Returns:
        The name; None where it tells nothing.

    Example:
        >>> from jaxcnn.zoo.graphs.tflite.names import find_value_name
        >>> find_value_name("StatefulPartitionedCall/net/block_1/add;StatefulPartitionedCall/net/block_1/Relu")
        'net/block_1/add'
    """
    parts = _parts(name)
    return "/".join(parts[0]) if parts else None


def find_prefix(paths: Iterable[str]) -> tuple[str, ...]:
    """Finds the words that all paths begin with, such as the name of the model.

    Args:
        paths: Paths of layers.

    Returns:
        The words; empty for fewer than two paths.

    Example:
        >>> from jaxcnn.zoo.graphs.tflite.names import find_prefix
        >>> find_prefix(["model/conv_1", "model/block/conv_2"])
        ('model',)
    """
    split = [path.split("/") for path in paths]
    if len(split) < 2:
        return ()
    shared: list[str] = []
    for words in zip(*[one[:-1] for one in split], strict=False):
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    return tuple(shared)


def remove_prefix(path: str, prefix: Sequence[str]) -> str:
    """Removes the words that all paths begin with.

    Args:
        path: A path.
        prefix: The words.

    Returns:
        The rest, or the path where it begins otherwise.

    Example:
        >>> from jaxcnn.zoo.graphs.tflite.names import remove_prefix
        >>> remove_prefix("model/block/conv_2", ("model",))
        'block/conv_2'
    """
    words = path.split("/")
    if len(words) > len(prefix) and tuple(words[: len(prefix)]) == tuple(prefix):
        return "/".join(words[len(prefix) :])
    return path
