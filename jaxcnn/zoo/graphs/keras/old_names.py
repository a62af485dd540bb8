"""The configurations of Keras 1 under the names of Keras 2 and later."""

from collections.abc import Mapping
from typing import Any

__all__ = ["modernize"]

_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "AtrousConv1D": "Conv1D",
    "AtrousConv2D": "Conv2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "Deconvolution3D": "Conv3DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3DTranspose": "Conv3DTranspose",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "MaxPool3D": "MaxPooling3D",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "AvgPool3D": "AveragePooling3D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "GlobalMaxPool3D": "GlobalMaxPooling3D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "TimeDistributedDense": "Dense",
}

_OPTIONS = {
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "bias": "use_bias",
    "output_dim": "units",
    "p": "rate",
    "sigma": "stddev",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "length": "size",
    "upsample_length": "size",
}
"""Options that Keras 1 named otherwise."""

_ORDERINGS = {"th": "channels_first", "tf": "channels_last"}
_KERNELS = ("nb_row", "nb_col")
_VOLUMES = ("kernel_dim1", "kernel_dim2", "kernel_dim3")


def modernize(kind: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Converts class and options of a layer of any version to the names of Keras 2.

    Args:
        kind: The class.
        config: The options.

    Returns:
        Both under the newer names; what has no other name stays.

    Example:
        >>> from jaxcnn.zoo.graphs.keras.old_names import modernize
        >>> old = {"nb_filter": 8, "nb_row": 3, "nb_col": 5, "border_mode": "same", "dim_ordering": "th"}
        >>> modernize("Convolution2D", old)
        ('Conv2D', {'filters': 8, 'padding': 'same', 'data_format': 'channels_first', 'kernel_size': [3, 5]})
    """
    kind = kind.split(">")[-1]
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key == "dim_ordering":
            if "data_format" not in config:
                found["data_format"] = _ORDERINGS.get(value, value) if isinstance(value, str) else value
        elif key in _OPTIONS and _OPTIONS[key] not in config:
            found[_OPTIONS[key]] = value
        elif key not in (*_KERNELS, *_VOLUMES):
            found[key] = value
    for names in (_KERNELS, _VOLUMES):
        if names[0] in config and "kernel_size" not in config:
            found["kernel_size"] = [config.get(name) for name in names]
    return _CLASSES.get(kind, kind), found
