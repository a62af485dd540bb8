"""The models that are compared with their originals at full size: what builds each of them there."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["MEMBERS", "Member"]

Size = tuple[int, int]


class Member(NamedTuple):
    """The original of a model.

    Attributes:
        name: Our name of the model.
        source: What it is an original of.
        build: What builds it without dropout, a Python expression: of a function of ``torchvision.models``, a class of
            ``keras.applications`` or a function of TensorFlow slim, with its arguments or as it is.
        options: Fields of our model, which turn dropout off.
        sizes: Heights and widths of the images.
        pixels: Smallest and largest value of the images.
    """

    name: str
    source: Literal["torchvision", "keras", "slim"]
    build: str
    options: Mapping[str, Any]
    sizes: tuple[Size, ...]
    pixels: tuple[float, float] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """Name and width."""
        return f"{self.name} {self.options['alpha']}" if "alpha" in self.options else self.name


_BYTES = (0.0, 255.0)
_224: tuple[Size, ...] = ((224, 224), (193, 161))
_NO_DROPS: Mapping[str, Any] = {"dropout": 0.0, "drop_path": 0.0}  # Keras has no option for them: rates of its layers
_NO_DROPOUT: Mapping[str, Any] = {"dropout": 0.0}

_MOBILENETS = [
    *(
        Member("mobilenet", "keras", f"MobileNet(alpha={alpha}, dropout=0.0)", {"alpha": alpha, **_NO_DROPOUT}, _224)
        for alpha in (0.25, 0.5, 0.75, 1.0)
    ),
    Member("mobilenet_v2", "torchvision", "mobilenet_v2(dropout=0.0)", _NO_DROPOUT, _224),
    *(
        Member("keras/mobilenet_v2", "keras", f"MobileNetV2(alpha={alpha})", {"alpha": alpha}, _224)
        for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
    ),
    *(
        Member(f"mobilenet_v3_{size}", "torchvision", f"mobilenet_v3_{size}(dropout=0.0)", _NO_DROPOUT, _224)
        for size in ("large", "small")
    ),
    *(
        Member(name, "torchvision", f"{name}(dropout=0.0)", _NO_DROPOUT, _224)
        for name in ("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3")
    ),
    *(
        Member(
            f"keras/mobilenet_v3_{size.lower()}",
            "keras",
            # as it is by default, for images of any size
            f"MobileNetV3{size}(alpha={alpha}, dropout_rate=0.0, input_shape=(None, None, 3))",
            {"alpha": alpha, **_NO_DROPOUT},
            _224,
            _BYTES,
        )
        for size in ("Large", "Small")
        for alpha in (0.75, 1.0)
    ),
    *(
        Member(
            f"keras/mobilenet_v3_{size.lower()}_minimalistic",
            "keras",
            f"MobileNetV3{size}(minimalistic=True, dropout_rate=0.0, input_shape=(None, None, 3))",
            _NO_DROPOUT,
            _224,
            _BYTES,
        )
        for size in ("Large", "Small")
    ),
]

_CONVNEXT = [
    *(
        Member(name, "torchvision", f"{name}(stochastic_depth_prob=0.0)", {"drop_path": 0.0}, _224)
        for name in ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")
    ),
    *(
        Member(f"keras/convnext_{size.lower()}", "keras", f"ConvNeXt{size}", {}, _224, _BYTES)
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    ),
]

_EFFICIENTNETS = [
    *(
        Member(name, "torchvision", f"{name}(dropout=0.0, stochastic_depth_prob=0.0)", _NO_DROPS, _224)
        for name in (*(f"efficientnet_b{i}" for i in range(8)), *(f"efficientnet_v2_{size}" for size in "sml"))
    ),
    *(Member(f"keras/efficientnet_b{i}", "keras", f"EfficientNetB{i}", _NO_DROPS, _224, _BYTES) for i in range(8)),
    *(
        Member(f"keras/efficientnet_v2_{size.lower()}", "keras", f"EfficientNetV2{size}", _NO_DROPS, _224, _BYTES)
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    ),
]

_CLASSICS = [
    *(
        Member(f"vgg{layers}{bn}", "torchvision", f"vgg{layers}{bn}(dropout=0.0)", _NO_DROPOUT, _224)
        for layers in (11, 13, 16, 19)
        for bn in ("", "_bn")
    ),
    *(Member(f"keras/vgg{layers}", "keras", f"VGG{layers}", {}, _224[:1]) for layers in (16, 19)),
    *(Member(f"tensorflow/{name}", "slim", name, _NO_DROPOUT, _224[:1]) for name in ("vgg_a", "vgg_16", "vgg_19")),
    Member("alexnet", "torchvision", "alexnet(dropout=0.0)", _NO_DROPOUT, _224),
    *(
        Member(name, "torchvision", f"{name}(dropout=0.0)", _NO_DROPOUT, _224)
        for name in ("squeezenet1_0", "squeezenet1_1")
    ),
    Member("tensorflow/alexnet_v2", "slim", "alexnet_v2", _NO_DROPOUT, ((224, 224), (197, 222))),
]

_299: tuple[Size, ...] = ((299, 299), (187, 203))

_INCEPTIONS = [
    Member("inception_v3", "torchvision", "inception_v3(aux_logits=False, dropout=0.0)", _NO_DROPOUT, _299),
    Member("keras/inception_v3", "keras", "InceptionV3", _NO_DROPOUT, _299),
    Member("tensorflow/inception_v3", "slim", "inception_v3(create_aux_logits=False)", _NO_DROPOUT, _299),
    Member("googlenet", "torchvision", "googlenet(aux_logits=False, dropout=0.0)", _NO_DROPOUT, _224),
    Member("tensorflow/inception_v1", "slim", "inception_v1", _NO_DROPOUT, ((224, 224), (211, 197))),
    Member("tensorflow/inception_v2", "slim", "inception_v2", _NO_DROPOUT, _224),
    Member("inception_resnet_v2", "keras", "InceptionResNetV2", _NO_DROPOUT, _299),
    Member("xception", "keras", "Xception", _NO_DROPOUT, _299),
]

_RESIDUAL = [
    *(Member(f"resnet{layers}", "torchvision", f"resnet{layers}", {}, _224) for layers in (18, 34, 50, 101, 152)),
    *(
        Member(name, "torchvision", name, {}, _224)
        for name in (
            *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
            *("densenet121", "densenet161", "densenet169", "densenet201"),
            *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
            *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
            *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
        )
    ),
    *(Member(f"keras/resnet{layers}", "keras", f"ResNet{layers}", {}, _224) for layers in (50, 101, 152)),
    *(Member(f"resnet{layers}_v2", "keras", f"ResNet{layers}V2", {}, _224) for layers in (50, 101, 152)),
    *(Member(f"keras/densenet{layers}", "keras", f"DenseNet{layers}", {}, _224) for layers in (121, 169, 201)),
    *(
        Member(f"tensorflow/resnet_v{version}_{layers}", "slim", f"resnet_v{version}_{layers}", {}, _224)
        for version in (1, 2)
        for layers in (50, 101, 152, 200)
    ),
]

MEMBERS: Mapping[str, Member] = {
    one.title: one for one in (*_CLASSICS, *_INCEPTIONS, *_CONVNEXT, *_EFFICIENTNETS, *_MOBILENETS, *_RESIDUAL)
}
"""Our name of a model, with its width where there are several, to its original."""
