"""Names of parameters, from the names of TensorFlow's variables and nodes."""

import re

__all__ = ["PathRegister", "name_parameter"]

_GENERIC = re.compile(
    r"(?:read|Read|ReadVariableOp|resource|Enter|Identity|Const|Cast|Reshape|Squeeze|ExpandDims|Conv2D|Conv3D|Conv1D|"
    r"conv2d_transpose|conv3d_transpose|conv_transpose|conv1d|depthwise|separable_conv2d|convolution|BiasAdd|MatMul|"
    r"Tensordot|FusedBatchNormV?[23]?|batchnorm|batch_norm|BatchNormWithGlobalNormalization|add|Add|AddV2|mul|Mul|sub|"
    r"Sub|truediv|RealDiv|div|Div|unknown|part_0|y|x|quantized_const|dequantize|weights_quant|"
    r"FakeQuantWithMinMaxVars|FakeQuantWithMinMaxArgs|Dequantize)(?:_\d+)?"
)
_ROLES = re.compile(
    r"(?:weights?|W|w|kernel|filters?|depthwise_weights|pointwise_weights|depthwise_kernel|pointwise_kernel|"
    r"depthwise_filter|biases|bias|b|B|gamma|beta|moving_mean|moving_variance|moving_var|running_mean|running_variance|"
    r"mean|variance|scale|offset|alphas?|slope)(?:_\d+)?"
)
_SEPARABLE = {"depthwise": "depthwise_kernel", "pointwise": "pointwise_kernel"}


class PathRegister:
    """The paths that are taken: none of two is the beginning of the other."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._scopes: set[str] = set()

    def take(self, path: str) -> str:
        """Takes a path, with a number behind the layer's name where it is taken already."""
        scope, _, role = path.rpartition("/")
        found, number = path, 1
        while not self._is_free(found):
            found, number = f"{scope}_{number}/{role}", number + 1
        self._taken.add(found)
        self._scopes.update(_list_scopes(found))
        return found

    def _is_free(self, path: str) -> bool:
        return path not in self._taken and path not in self._scopes and self._taken.isdisjoint(_list_scopes(path))


def _list_scopes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def name_parameter(variable: str, node: str, role: str, *, separable: bool = False) -> str:
    """Names a parameter: the layer of the variable, or else of the node that uses it, and the role.

    Args:
        variable: Name of the variable or constant; empty if it has none.
        node: Name of the node.
        role: Its role.
        separable: Whether the layer has another kernel beside it.

    Returns:
        The path.

    Example:
        >>> from jaxcnn.zoo.graphs.tensorflow.naming import name_parameter
        >>> name_parameter("MobilenetV1/Conv2d_0/weights", "MobilenetV1/MobilenetV1/Conv2d_0/Conv2D", "kernel")
        'MobilenetV1/Conv2d_0/kernel'
        >>> name_parameter("Const_4", "conv1/Conv2D", "kernel")
        'conv1/kernel'
    """
    kind = variable.rpartition("/")[2].partition("_")[0]
    if separable and kind in _SEPARABLE and role == "kernel":
        role = _SEPARABLE[kind]
    scope = _strip(variable) or _strip(node) or [part for part in node.split("/") if part] or ["layer"]
    return "/".join([*scope, role])


def _strip(name: str) -> list[str]:
    """Returns the parts of the name of a layer: without what says that it is read, and without the role."""
    parts = [part for part in name.partition(":")[0].split("/") if part]
    while parts and _GENERIC.fullmatch(parts[-1]):
        parts.pop()
    if len(parts) > 1 and _ROLES.fullmatch(parts[-1]):
        parts.pop()
    return parts
