"""Names of the Inception networks in the files of PyTorch, Keras and TensorFlow slim."""

from collections.abc import Iterator, Mapping, Sequence

from jaxcnn.models._branches import Branch, Fork, Mixed, Step, Unit, list_units
from jaxcnn.models.inception_v3 import InceptionV3
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_IGNORED", "PYTORCH_TABLES", "TENSORFLOW_IGNORED", "TENSORFLOW_TABLES"]

_LETTERS = "abcdefgh"


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


def _number_keras_layers(table: Sequence[Sequence[Step]]) -> list[Rule]:
    """Numbers convolutions and norms in the order in which Keras creates them, which is that of the table."""
    names: dict[str, str] = {}
    units = [path for i, steps in enumerate(table, 1) for path, _ in list_units(steps, f"stage{i}")]
    for number, path in enumerate(units):
        suffix = f"_{number}" if number else ""
        names[path] = f"conv2d{suffix}"
        names[_norm_path(path)] = f"batch_normalization{suffix}"
    return [_look_up(names), (r"head", "predictions")]


def _look_up(names: Mapping[str, str]) -> Rule:
    """Makes a rule of names by path."""

    def find(layer: str) -> str:
        return names.get(layer, layer)

    return (r"(stage.*)", find)


def _norm_path(path: str) -> str:
    """Returns the path of the batch norm behind a convolution."""
    layer, _, last = path.rpartition("/")
    return f"{layer}/{last.replace('conv', 'bn', 1)}"


def _name_slim_branch(branch: Branch) -> Iterator[str]:
    """Lists slim's names of a branch's convolutions: a letter per step, and the size of the kernel."""
    place = 0
    for step in branch:
        units = step.units if isinstance(step, Fork) else (step,)
        for unit in units:
            if isinstance(unit, Unit):
                letters = "1a" if unit.stride > 1 else f"0{_LETTERS[place]}"
                yield f"Conv2d_{letters}_{unit.size[0]}x{unit.size[1]}"
            place += 1


def _name_slim_units(
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
            for k, branch in enumerate(block.branches):
                paths = [path for path, _ in list_units(branch, f"stage{i}/block{j + 1}/branch{k + 1}")]
                own = _name_slim_branch(branch)
                names |= {p: f"{scope}/{mixed}/Branch_{k}/{name}" for p, name in zip(paths, own, strict=True)}
    return names


def _list_slim_rules(names: Mapping[str, str], *rest: Rule) -> list[Rule]:
    """Lists the rules of convolutions, of their norms, and further ones."""
    found = dict(names) | {_norm_path(path): f"{name}/BatchNorm" for path, name in names.items()}
    return [_look_up(found), *rest]


def _list_slim_v3(module: InceptionV3) -> Sequence[Rule]:
    stems = (("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"), ("Conv2d_3b_1x1", "Conv2d_4a_3x3"))
    names = _name_slim_units("InceptionV3", module.table(), stems, {3: "Mixed_5b", 4: "Mixed_6a", 5: "Mixed_7a"})
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
        (r"auxiliary/convs/conv1", "InceptionV3/AuxLogits/Conv2d_1b_1x1"),
        (r"auxiliary/convs/bn1", "InceptionV3/AuxLogits/Conv2d_1b_1x1/BatchNorm"),
        (r"auxiliary/convs/conv2", "InceptionV3/AuxLogits/Conv2d_2a_5x5"),
        (r"auxiliary/convs/bn2", "InceptionV3/AuxLogits/Conv2d_2a_5x5/BatchNorm"),
        (r"auxiliary/logits", lambda: LayerName("InceptionV3/AuxLogits/Conv2d_2b_1x1", as_dense=True)),
        (r"head", lambda: LayerName("InceptionV3/Logits/Conv2d_1c_1x1", as_dense=True)),
    )


def _list_keras(module: InceptionV3) -> Sequence[Rule]:
    return _number_keras_layers(module.table())


PYTORCH_TABLES: Mapping[str, Rules] = {"InceptionV3": _PYTORCH_V3}
PYTORCH_IGNORED: Mapping[str, str] = {"InceptionV3": r"AuxLogits\..*"}
KERAS_TABLES: Mapping[str, Rules] = {"InceptionV3": _list_keras}
TENSORFLOW_TABLES: Mapping[str, Rules] = {"InceptionV3": _list_slim_v3}
TENSORFLOW_IGNORED: Mapping[str, str] = {"InceptionV3": r"InceptionV3/AuxLogits/.*"}
