"""The layers that are known, by class."""

from jaxcnn.zoo.graphs.keras import (
    activations,
    convolutions,
    images,
    merging,
    normalization,
    operations,
    pooling,
    shapes,
)
from jaxcnn.zoo.graphs.keras.configuration import LayerSpec
from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer

__all__ = ["LAYERS", "find_handler"]


def _refuse_code(call: LayerCall) -> LayerValue:
    raise UnknownLayer(f"{call.layer.kind}, Python code, which is never executed")


LAYERS: dict[str, Handler] = {
    **activations.LAYERS,
    **convolutions.LAYERS,
    **images.LAYERS,
    **merging.LAYERS,
    **normalization.LAYERS,
    **pooling.LAYERS,
    **shapes.LAYERS,
    "Lambda": _refuse_code,
    "TFOpLambda": operations.call_function,
    "SlicingOpLambda": operations.call_function,
    "ClassMethod": operations.call_function,
    "TensorFlowOpLayer": operations.call_node,
}
"""Class of layers to the function that adds its nodes."""


def find_handler(layer: LayerSpec, is_keras_3: bool) -> Handler | None:
    """Returns the function that adds the nodes of a layer; None if its class is unknown."""
    stated = ".ops." in layer.module or layer.module.startswith("keras.ops")
    bare = is_keras_3 and not layer.module and not {"trainable", "dtype"} & set(layer.config)  # in HDF5 files
    if stated or bare:
        return operations.call_operation
    return LAYERS.get(layer.kind)
