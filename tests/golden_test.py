"""Parameter trees are golden: names, shapes and dtypes, per layer and model.

A name or shape that changes breaks every checkpoint in the world. ``python -m tests.golden_test``
writes the trees anew.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import models
from jaxcnn.models.registry import ARCHITECTURES
from tests.contract import items
from tests.support.selection import daily

FOLDER = Path(__file__).parent / "golden"
UPDATE = "python -m tests.golden_test"
SIZES = {"lenet": (28, 28, 1), "mini_xception": (64, 64, 1)}
SIZES |= {name: (75, 75, 3) if "inception" in name else (64, 64, 3) for name in ARCHITECTURES}
MEMBERS = (
    # of families, where all trees are alike: one of each class
    "alexnet",
    "cifar_resnet20",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "keras/efficientnet_b0",
    "keras/resnet50",
    "inception_v3",
    "mnasnet0_5",
    "googlenet",
    "tensorflow/inception_v2",
    "inception_resnet_v2",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnet50_v2",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11_bn",
    "xception",
)
NAMES = [name for name in models.names() if name in MEMBERS or name not in ARCHITECTURES]
SMALL = [name for name in NAMES if name not in ARCHITECTURES]
SIZE = (60, 60, 1)  # of the cluttered digits; models are taken with their default options


def tree(module, shape):
    """Returns every variable of a module as ``collection/path: dtype(shape)``, computing nothing."""
    variables = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    found = jax.tree_util.tree_leaves_with_path(variables)
    names = ("/".join(str(step.key) for step in path) for path, _ in found)
    return {name: f"{leaf.dtype}{leaf.shape}" for name, (_, leaf) in zip(names, found, strict=True)}


def file_of(name):
    return name.replace("/", "_")


def model_tree(name):
    return tree(models.create(name), (1, *SIZES.get(name, SIZE)))


def layer_trees():
    """Returns the trees of all layers, by the name of their file."""
    found = {}
    for name, uses in items.LAYERS.items():
        for number, (build, _) in enumerate(uses):
            if leaves := tree(build(), items.IMAGE.shape):
                found[f"{name}-{number}"] = leaves
    return found


def compare(stored, current):
    differing = sorted(name for name in stored | current if stored.get(name) != current.get(name))
    shown = [f"{name}: stored {stored.get(name)}, now {current.get(name)}" for name in differing]
    assert not differing, "\n".join(
        ["Parameter trees changed; checkpoints written before will not load.", *shown, f"If that is meant: {UPDATE}"]
    )


def test_parameter_trees_of_layers():
    stored = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    trees_of_models = {f"models.{file_of(name)}" for name in NAMES}
    assert trees_of_models <= set(stored), f"trees are missing; write them: {UPDATE}"
    compare({name: leaves for name, leaves in stored.items() if name not in trees_of_models}, layer_trees())


@pytest.mark.parametrize("name", daily(NAMES, (*SMALL, "resnet18")))  # counts of others are held by registry_test.py
def test_parameter_trees_of_models(name):
    key = f"models.{file_of(name)}"
    compare({key: json.loads((FOLDER / f"{key}.json").read_text())}, {key: model_tree(name)})


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_name(name):
    """Flax numbers what has no name (Dense_0): such a tree does not read like the paper."""
    stored = json.loads((FOLDER / f"models.{file_of(name)}.json").read_text())
    unnamed = [path for path in stored if any(step.rpartition("_")[0][:1].isupper() for step in path.split("/"))]
    assert not unnamed, f"{name}: modules without an explicit name: {unnamed}"


@pytest.mark.nightly  # of some models registry_test.py holds it daily
@pytest.mark.parametrize("name", NAMES)
def test_param_dtype_reaches_every_parameter(name):
    leaves = tree(models.create(name, param_dtype=jnp.bfloat16), (1, *SIZES.get(name, SIZE)))
    parameters = {path: leaf for path, leaf in leaves.items() if path.startswith("params/")}
    assert parameters and all(leaf.startswith("bfloat16") for leaf in parameters.values()), parameters


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, leaves in ({f"models.{file_of(name)}": model_tree(name) for name in NAMES} | layer_trees()).items():
        (FOLDER / f"{name}.json").write_text(json.dumps(leaves, indent=1) + "\n")
    sys.stdout.write(f"wrote {len(list(FOLDER.iterdir()))} trees to {FOLDER}\n")
