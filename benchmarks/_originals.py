"""Networks of other frameworks, prepared for a comparison."""

from typing import Any

__all__ = ["stop_keras_dropout", "stop_torch_dropout"]


def stop_torch_dropout(net: Any) -> None:
    """Sets the rates of dropout and of stochastic depth of a network of torchvision to 0."""
    for module in net.modules():
        if _drops(module):
            module.p = 0.0


def stop_keras_dropout(net: Any) -> None:
    """Sets the rates of dropout and of stochastic depth of a network of Keras to 0."""
    for layer in net._flatten_layers():
        if _drops(layer):
            layer.rate = 0.0


def _drops(layer: object) -> bool:
    """Tests whether a layer drops values or branches, which both frameworks name alike."""
    return any(name in type(layer).__name__ for name in ("Dropout", "StochasticDepth"))
