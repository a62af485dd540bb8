"""The table of models: name to builder."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._suggest import suggest
from jaxcnn._typing import Dtype
from jaxcnn.layers.transformer import SpatialTransformer
from jaxcnn.models import (
    alexnet,
    cifar_resnet,
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception_resnet_v2,
    inception_v2,
    inception_v3,
    mnasnet,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
    resnet_v2,
    shufflenet_v2,
    squeezenet,
    vgg,
    xception,
)
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models.small.classifiers import CNN, FCN, LeNet
from jaxcnn.models.small.transformers import ConvLocalizer, DenseLocalizer, TransformedClassifier
from jaxcnn.models.small.weighted_pooling import WeightedPoolingCNN
from jaxcnn.models.xception import MiniXception

__all__ = ["ARCHITECTURES", "create", "names", "resolve_name"]

_TRANSFORMER_OPTIONS = tuple(
    name
    for name in SpatialTransformer.__dataclass_fields__
    if name not in ("localizer", "dtype", "param_dtype", "parent", "name", "_")
)


class Builder(NamedTuple):
    """How a model is built, and what it can be configured with."""

    build: Callable[..., nn.Module]
    option_sources: tuple[Callable[..., object], ...]  # whose parameters are options of the model


def _build_st_fcn(
    *, localizer_units: Sequence[int] = (32, 32), dtype: Dtype | None, param_dtype: Dtype, **options: Any
) -> nn.Module:
    dtypes = Dtypes(dtype=dtype, param_dtype=param_dtype)
    return _build_transformed(DenseLocalizer(localizer_units, **dtypes), FCN, dtypes, options)


def _build_st_cnn(
    *,
    localizer_features: Sequence[int] = (20, 20),
    localizer_units: int = 20,
    localizer_downsample: int = 2,
    localizer_pool_last: bool = False,
    dtype: Dtype | None,
    param_dtype: Dtype,
    **options: Any,
) -> nn.Module:
    dtypes = Dtypes(dtype=dtype, param_dtype=param_dtype)
    localizer = ConvLocalizer(localizer_features, localizer_units, localizer_downsample, localizer_pool_last, **dtypes)
    return _build_transformed(localizer, CNN, dtypes, options)


def _build_transformed(
    localizer: nn.Module, classifier: Callable[..., nn.Module], dtypes: Dtypes, options: dict[str, Any]
) -> nn.Module:
    """Divides the options between the transformer and the classifier behind it."""
    of_transformer = {name: value for name, value in options.items() if name in _TRANSFORMER_OPTIONS}
    of_classifier = {name: value for name, value in options.items() if name not in _TRANSFORMER_OPTIONS}
    transformer = SpatialTransformer(localizer, **of_transformer, **dtypes)
    return TransformedClassifier(transformer, classifier(**of_classifier, **dtypes))


ARCHITECTURES: Mapping[str, Architecture] = {
    **inception_v3.ARCHITECTURES,
    **mnasnet.ARCHITECTURES,
    **googlenet.ARCHITECTURES,
    **inception_resnet_v2.ARCHITECTURES,
    **inception_v2.ARCHITECTURES,
    **xception.ARCHITECTURES,
    **mobilenet.ARCHITECTURES,
    **cifar_resnet.ARCHITECTURES,
    **mobilenet_v2.ARCHITECTURES,
    **mobilenet_v3.ARCHITECTURES,
    **densenet.ARCHITECTURES,
    **regnet.ARCHITECTURES,
    **resnet.ARCHITECTURES,
    **resnet_v2.ARCHITECTURES,
    **shufflenet_v2.ARCHITECTURES,
    **convnext.ARCHITECTURES,
    **efficientnet.ARCHITECTURES,
    **alexnet.ARCHITECTURES,
    **squeezenet.ARCHITECTURES,
    **vgg.ARCHITECTURES,
}
"""The networks of the families, by name."""

_BUILDERS = {
    "cnn": Builder(CNN, (CNN,)),
    "fcn": Builder(FCN, (FCN,)),
    "gwap_cnn": Builder(WeightedPoolingCNN, (WeightedPoolingCNN,)),
    "lenet": Builder(LeNet, (LeNet,)),
    "mini_xception": Builder(MiniXception, (MiniXception,)),
    "st_cnn": Builder(_build_st_cnn, (_build_st_cnn, CNN, SpatialTransformer)),
    "st_fcn": Builder(_build_st_fcn, (_build_st_fcn, FCN, SpatialTransformer)),
    **{name: Builder(functools.partial(one.kind, **one.options), (one.kind,)) for name, one in ARCHITECTURES.items()},
}

_NOT_OPTIONS = {"num_classes", "dtype", "param_dtype", "parent", "name", "localizer", "options", "_"}


def create(
    name: str,
    *,
    num_classes: int | None = 10,
    dtype: Dtype | None = None,
    param_dtype: Dtype = jnp.float32,
    **options: Any,
) -> nn.Module:
    """Builds a model by name.

    Args:
        name: One of ``names()``. Networks of torchvision, and those that only Keras has, have plain names, other
            versions their source in front, such as ``"keras/resnet50"``; plain names may have their source, too.
        num_classes: Number of logits; None builds a model that returns pooled features.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
        **options: Fields of the model, such as ``features=(16, 32)``; models behind a spatial
            transformer take those of ``layers.SpatialTransformer`` as well.

    Returns:
        A Linen module: ``model.init(key, x)``, ``model.apply(variables, x, train=False)`` -> logits
        (*b, num_classes).

    Raises:
        ValueError: If the name or an option is unknown, or ``num_classes`` is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("st_cnn", num_classes=10, transform="similarity", downsample=2)
        >>> sorted(jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 60, 60, 1)))["params"])
        ['classifier', 'transformer']
    """
    name = resolve_name(name)
    if name not in _BUILDERS:
        raise ValueError(f"models.create: name must be one of {names()}, got {name!r}{suggest(name, names())}.")
    possible = num_classes is None or is_integer_at_least(num_classes, 1)
    check(possible, "models.create", "num_classes", "None or a positive integer", repr(num_classes))
    builder = _BUILDERS[name]
    allowed = {p for source in builder.option_sources for p in inspect.signature(source).parameters} - _NOT_OPTIONS
    for option in options:
        check(option in allowed, "models.create", f"options of {name!r}", f"among {tuple(sorted(allowed))}", option)
    return builder.build(**{"num_classes": num_classes, "dtype": dtype, "param_dtype": param_dtype} | options)


def resolve_name(name: str) -> str:
    """Returns the name in the table of a model that may be named with its source: ``xception`` for ``keras/xception``.

    Args:
        name: A name.

    Returns:
        The name in the table, or the same where there is none.
    """
    source, _, plain = name.rpartition("/")
    found = ARCHITECTURES.get(plain)
    return plain if name not in _BUILDERS and source and found is not None and found.source == source else name


def names() -> tuple[str, ...]:
    """Returns the names that ``create`` accepts, sorted.

    Returns:
        The names.

    Example:
        >>> from jaxcnn import models
        >>> "st_cnn" in models.names()
        True
    """
    return tuple(sorted(_BUILDERS))
