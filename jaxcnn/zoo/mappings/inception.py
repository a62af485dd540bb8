"""Names of the Inception networks in the files of PyTorch, Keras and TensorFlow slim."""

from collections.abc import Iterator, Mapping, Sequence

from jaxcnn.models._branches import Branch, Fork, Mixed, Residual, Step, Unit, list_units
from jaxcnn.models.googlenet import GoogLeNet
from jaxcnn.models.inception_resnet_v2 import InceptionResNetV2
from jaxcnn.models.inception_v2 import InceptionV2
from jaxcnn.models.inception_v3 import InceptionV3
from jaxcnn.models.xception import MiniXception, Xception
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_IGNORED", "PYTORCH_TABLES", "TENSORFLOW_IGNORED", "TENSORFLOW_TABLES"]

_LETTERS = "abcdefgh"


# PyTorch


def _name_pytorch_v3(stage: int, block: int, branch: int, part: str, number: int | str) -> str:
    first = "branch3x3" if block == 1 and stage > 3 else "branch1x1"
    second = {3: "branch5x5", 4: "branch7x7", 5: "branch3x3"}[stage]
    third = {3: "branch3x3dbl", 4: "branch7x7dbl", 5: "branch3x3dbl"}[stage]
    if block == 1 and stage > 3:
        second = {4: "branch3x3dbl", 5: "branch7x7x3"}[stage]
    kind = (first, second, third, "branch_pool")[branch - 1]
    several = branch in (2, 3) or (stage == 5 and block == 1)
    letter = _LETTERS[block if stage == 3 else block - 1]
    return f"Mixed_{stage + 2}{letter}.{kind}{f'_{number}' if several else ''}.{part}"


_PYTORCH_V3: Sequence[Rule] = (
    (r"stage1/(conv|bn)(\d)", lambda part, number: f"Conv2d_{('1a', '2a', '2b')[number - 1]}_3x3.{part}"),
    (r"stage2/(conv|bn)1", r"Conv2d_3b_1x1.\1"),
    (r"stage2/(conv|bn)2", r"Conv2d_4a_3x3.\1"),
    (r"stage(\d)/block(\d)/branch(\d)/(conv|bn)(\w+)", _name_pytorch_v3),
    (r"auxiliary/convs/(conv|bn)(\d)", lambda part, number: f"AuxLogits.conv{number - 1}.{part}"),
    (r"auxiliary/logits", "AuxLogits.fc"),
    (r"head", "fc"),
)


def _name_pytorch_v1(stage: int, block: int, branch: int, part: str, number: int) -> str:
    place = {1: "", 2: f".{number - 1}", 3: f".{number - 1}", 4: ".1"}[branch]
    return f"inception{stage}{_LETTERS[block - 1]}.branch{branch}{place}.{part}"


_PYTORCH_V1: Sequence[Rule] = (
    (r"stage1/(conv|bn)1", r"conv1.\1"),
    (r"stage2/(conv|bn)(\d)", lambda part, number: f"conv{number + 1}.{part}"),
    (r"stage(\d)/block(\d)/branch(\d)/(conv|bn)(\d)", _name_pytorch_v1),
    (r"auxiliary(\d)/convs/(conv|bn)1", r"aux\1.conv.\2"),
    (r"auxiliary(\d)/hidden", lambda number: LayerName(f"aux{number}.fc1", flattened=(4, 4))),
    (r"auxiliary(\d)/logits", r"aux\1.fc2"),
    (r"head", "fc"),
)


# Keras, which numbers layers in the order of their creation


def _number_keras_layers(module: InceptionV3 | InceptionResNetV2) -> list[Rule]:
    """Numbers convolutions and norms, which the table lists in Keras's order."""
    names: dict[str, str] = {}
    units = [path for i, steps in enumerate(module.table(), 1) for path, _ in list_units(steps, f"stage{i}")]
    units = [path for path in units if path != "stage6/conv1"]
    for number, path in enumerate(units):
        names[path] = _number("conv2d", number)
        names[_norm_path(path)] = _number("batch_normalization", number)
    return [
        (r"stage6/conv1", "conv_7b"),
        (r"stage6/bn1", "conv_7b_bn"),
        (r"stage(\d)/block(\d+)/project", _name_projection),
        _look_up(names),
        (r"head", "predictions"),
    ]


def _name_projection(stage: int, block: int) -> str:
    return f"block{ {3: 35, 4: 17, 5: 8}[stage] }_{block - 1}_conv"


def _look_up(names: Mapping[str, str]) -> Rule:
    """Makes a rule of names by path."""

    def find(layer: str) -> str:
        return names.get(layer, layer)

    return (r"(stage.*)", find)


def _norm_path(path: str) -> str:
    """Returns the path of the batch norm behind a convolution."""
    layer, _, last = path.rpartition("/")
    return f"{layer}/{last.replace('conv', 'bn', 1)}"


def _list_keras_xception(module: Xception) -> Sequence[Rule]:
    shortcuts = [i for i, (_, shortcut) in enumerate(module.table(), 2) if shortcut == "projection"]
    left_out = 8 - module.middle_blocks  # Keras names the last two blocks 13 and 14

    def name_layer(block: int, part: str) -> str:
        return f"block{block if block < shortcuts[-1] else block + left_out}_{part}"

    def name_shortcut(block: int, norm: str | None) -> str:
        return _number("batch_normalization" if norm else "conv2d", shortcuts.index(block))

    return [
        (r"(conv\d(?:_bn)?)", r"block1_\1"),
        (r"block(\d+)/(sepconv\d(?:_bn)?)", name_layer),
        (r"block(\d+)/shortcut(_bn)?", name_shortcut),
        (r"head", "predictions"),
    ]


def _list_keras_mini_xception(module: MiniXception) -> Sequence[Rule]:
    """Lists the rules of the authors' network, whose layers have numbers only; a shortcut comes before its module."""
    last = len(module.features) + 2

    def name_separable(block: int, place: int, norm: str | None) -> str:
        if norm:
            return _number("batch_normalization", 3 * block - 1 + place)
        return _number("separable_conv2d", 2 * (block - 1) + place - 1)

    def name_shortcut(block: int, norm: str | None) -> str:
        return _number("batch_normalization", 3 * block - 1) if norm else _number("conv2d", block + 1)

    return [
        (r"conv(\d)", lambda number: _number("conv2d", number - 1)),
        (r"conv(\d)_bn", lambda number: _number("batch_normalization", number - 1)),
        (r"block(\d+)/sepconv(\d)(_bn)?", name_separable),
        (r"block(\d+)/shortcut(_bn)?", name_shortcut),
        (r"head", _number("conv2d", last)),
    ]


def _number(kind: str, number: int) -> str:
    """Returns Keras's name of the layer of a number."""
    return f"{kind}_{number}" if number else kind


# TensorFlow slim


def _name_slim_branch(branch: Branch, *, alone: str) -> Iterator[str]:
    """Lists slim's names of a branch's convolutions: a letter per step, and the size of the kernel."""
    units = [unit for step in branch for unit in (step.units if isinstance(step, Fork) else (step,))]
    for place, unit in enumerate(units):
        if isinstance(unit, Unit):
            letters = "1a" if unit.stride > 1 else f"0{_LETTERS[place]}"
            yield alone if len(units) == 1 and unit.stride == 1 else (f"Conv2d_{letters}_{unit.size[0]}x{unit.size[1]}")


def _name_slim_block(path: str, scope: str, block: Mixed | Residual, *, alone: str) -> dict[str, str]:
    """Names the convolutions of a block: path in the model to scope."""
    names: dict[str, str] = {}
    for i, branch in enumerate(block.branches):
        paths = [one for one, _ in list_units(branch, f"{path}/branch{i + 1}")]
        own = _name_slim_branch(branch, alone=alone)
        names |= {one: f"{scope}/Branch_{i}/{name}" for one, name in zip(paths, own, strict=True)}
    if isinstance(block, Residual):
        names[f"{path}/project"] = f"{scope}/{alone}"
    return names


def _name_slim_stages(
    scope: str, table: Sequence[Sequence[Step]], stems: Sequence[Sequence[str]], first: Mapping[int, str]
) -> dict[str, str]:
    """Names the convolutions of a model of stages.

    Args:
        scope: The network's scope.
        table: Its stages.
        stems: Names of the convolutions of the first stages.
        first: The scope of the first block of each other stage, such as ``"Mixed_5b"``.

    Returns:
        Path in the model to scope.
    """
    names: dict[str, str] = {}
    for i, own in enumerate(stems, 1):
        paths = [path for path, _ in list_units(table[i - 1], f"stage{i}")]
        names |= {path: f"{scope}/{name}" for path, name in zip(paths, own, strict=True)}
    for i, start in first.items():
        blocks = [step for step in table[i - 1] if isinstance(step, Mixed)]
        for j, block in enumerate(blocks):
            mixed = start[:-1] + _LETTERS[_LETTERS.index(start[-1]) + j]
            names |= _name_slim_block(f"stage{i}/block{j + 1}", f"{scope}/{mixed}", block, alone="Conv2d_0a_1x1")
    return names


def _list_slim_rules(names: Mapping[str, str], *rest: Rule) -> list[Rule]:
    """Lists the rules of convolutions, of their norms, and further ones."""
    norms = {_norm_path(path): f"{name}/BatchNorm" for path, name in names.items() if not path.endswith("project")}
    found = dict(names) | norms
    return [_look_up(found), *rest]


def _list_slim_auxiliary(scope: str, logits: LayerName) -> list[Rule]:
    """Lists the rules of the auxiliary classifier."""
    return [
        (r"auxiliary/convs/conv1", f"{scope}/AuxLogits/Conv2d_1b_1x1"),
        (r"auxiliary/convs/bn1", f"{scope}/AuxLogits/Conv2d_1b_1x1/BatchNorm"),
        (r"auxiliary/convs/conv2", f"{scope}/AuxLogits/Conv2d_2a_5x5"),
        (r"auxiliary/convs/bn2", f"{scope}/AuxLogits/Conv2d_2a_5x5/BatchNorm"),
        (r"auxiliary/logits", lambda: logits),
    ]


_SEVEN = (("Conv2d_1a_7x7",), ("Conv2d_2b_1x1", "Conv2d_2c_3x3"))
_THREE = (("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"), ("Conv2d_3b_1x1", "Conv2d_4a_3x3"))
"""Names of the first convolutions, by the size of the very first one."""


def _list_slim_v1(module: GoogLeNet) -> Sequence[Rule]:
    names = _name_slim_stages("InceptionV1", module.table(), _SEVEN, {3: "Mixed_3b", 4: "Mixed_4b", 5: "Mixed_5b"})
    if "stage5/block1/branch3/conv2" in names:  # which slim gives the letter of the one before
        names["stage5/block1/branch3/conv2"] = "InceptionV1/Mixed_5b/Branch_2/Conv2d_0a_3x3"
    return _list_slim_rules(names, (r"head", lambda: LayerName("InceptionV1/Logits/Conv2d_0c_1x1", as_dense=True)))


def _list_slim_v2(module: InceptionV2) -> Sequence[Rule]:
    first = {3: "Mixed_3b", 4: "Mixed_4a", 5: "Mixed_5a"}
    names = _name_slim_stages("InceptionV2", module.table(), ((), _SEVEN[1]), first)
    return [
        (r"stage1/sepconv1", "InceptionV2/Conv2d_1a_7x7"),
        *_list_slim_rules(names, (r"head", lambda: LayerName("InceptionV2/Logits/Conv2d_1c_1x1", as_dense=True))),
    ]


def _list_slim_v3(module: InceptionV3) -> Sequence[Rule]:
    names = _name_slim_stages("InceptionV3", module.table(), _THREE, {3: "Mixed_5b", 4: "Mixed_6a", 5: "Mixed_7a"})
    exceptions = {  # scopes that slim numbers otherwise
        "stage3/block2/branch2/conv1": "Mixed_5c/Branch_1/Conv2d_0b_1x1",
        "stage3/block2/branch2/conv2": "Mixed_5c/Branch_1/Conv_1_0c_5x5",
        "stage4/block1/branch1/conv1": "Mixed_6a/Branch_0/Conv2d_1a_1x1",
        "stage4/block1/branch2/conv3": "Mixed_6a/Branch_1/Conv2d_1a_1x1",
        "stage5/block2/branch2/conv2b": "Mixed_7b/Branch_1/Conv2d_0b_3x1",
    }
    names |= {path: f"InceptionV3/{name}" for path, name in exceptions.items() if path in names}
    return _list_slim_rules(
        names,
        *_list_slim_auxiliary("InceptionV3", LayerName("InceptionV3/AuxLogits/Conv2d_2b_1x1", as_dense=True)),
        (r"head", lambda: LayerName("InceptionV3/Logits/Conv2d_1c_1x1", as_dense=True)),
    )


def _list_slim_resnet_v2(module: InceptionResNetV2) -> Sequence[Rule]:
    scope, table = "InceptionResnetV2", module.table()
    names = _name_slim_stages(scope, table, _THREE, {})
    for i, (mixed, kind, repeat) in enumerate(
        (("Mixed_5b", "block35", "Repeat"), ("Mixed_6a", "block17", "Repeat_1"), ("Mixed_7a", "block8", "Repeat_2")), 3
    ):
        blocks = [step for step in table[i - 1] if isinstance(step, Mixed | Residual)]
        for j, block in enumerate(blocks):
            own = f"{repeat}/{kind}_{j}" if j else mixed
            if isinstance(block, Residual) and not block.activate:
                own = "Block8"  # the last one, which is not among the repeated ones
            names |= _name_slim_block(f"stage{i}/block{j + 1}", f"{scope}/{own}", block, alone="Conv2d_1x1")
    names["stage6/conv1"] = f"{scope}/Conv2d_7b_1x1"
    return _list_slim_rules(
        names,
        *_list_slim_auxiliary(scope, LayerName(f"{scope}/AuxLogits/Logits")),
        (r"head", f"{scope}/Logits/Logits"),
    )


PYTORCH_TABLES: Mapping[str, Rules] = {"GoogLeNet": _PYTORCH_V1, "InceptionV3": _PYTORCH_V3}
PYTORCH_IGNORED: Mapping[str, str] = {"GoogLeNet": r"aux\d\..*", "InceptionV3": r"AuxLogits\..*"}
KERAS_TABLES: Mapping[str, Rules] = {
    "InceptionResNetV2": _number_keras_layers,
    "InceptionV3": _number_keras_layers,
    "MiniXception": _list_keras_mini_xception,
    "Xception": _list_keras_xception,
}
TENSORFLOW_TABLES: Mapping[str, Rules] = {
    "GoogLeNet": _list_slim_v1,
    "InceptionResNetV2": _list_slim_resnet_v2,
    "InceptionV2": _list_slim_v2,
    "InceptionV3": _list_slim_v3,
}
TENSORFLOW_IGNORED: Mapping[str, str] = dict.fromkeys(TENSORFLOW_TABLES, r"Inception\w+/AuxLogits/.*")
