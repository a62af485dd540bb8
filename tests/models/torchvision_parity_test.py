"""MobileNetV2 against committed results of torchvision, which is not needed to run the tests.

Weights and images are drawn by a recipe; the file holds only what torchvision made of them.
``python -m tests.models.torchvision_parity_test`` writes it anew where torchvision is installed.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.zoo.mappings import pytorch
from jaxcnn.zoo.mappings.matching import NameTable, find_names
from tests.support.paths import FIXTURES

FIXTURE = FIXTURES / "mobilenet_v2.npz"
CASES = {"0.35-64x64": (0.35, (64, 64)), "0.35-57x43": (0.35, (57, 43)), "1.4-35x33": (1.4, (35, 33))}
WATCHED = ("conv1_bn", "block0/depthwise_bn", "block1/expand_bn", "block2/project_bn", "block13/depthwise_bn")
"""Batch norms whose running statistics are compared."""


def model_of(alpha):
    return models.create("mobilenet_v2", num_classes=5, alpha=alpha, dropout=0.0)


def drawn(model, size):
    """Draws variables and images; the stream of RandomState is the same in every version of NumPy."""
    random = np.random.RandomState(8)
    images = random.uniform(-2, 2, (8, *size, 3)).astype(np.float32)

    def draw(path, leaf):
        kind = path[-1].key
        if kind in ("scale", "var"):
            value = random.uniform(0.5, 1.5, leaf.shape)
        elif len(leaf.shape) == 1:
            value = random.uniform(-0.3, 0.3, leaf.shape)
        else:
            fan = np.prod(leaf.shape[:2]) if path[-2].key == "depthwise" else np.prod(leaf.shape[:-1])
            value = random.uniform(-1, 1, leaf.shape) * np.sqrt(6 / fan)
        return value.astype(np.float32)

    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(images.shape))
    return jax.tree_util.tree_map_with_path(draw, tree), images


def at(statistics, path):
    """Returns the statistics of one batch norm."""
    for step in path.split("/"):
        statistics = statistics[step]
    return statistics


def close(got, want, tolerance=1e-4):
    assert float(np.abs(np.asarray(got) - want).max()) < tolerance * float(np.abs(want).max())


@pytest.mark.nightly  # tests/models/mobilenet_v2_test.py compares with torchvision itself daily
@pytest.mark.parametrize("case", CASES)
def test_equals_the_committed_results_of_torchvision(case):
    alpha, size = CASES[case]
    stored, model = np.load(FIXTURE), model_of(alpha)
    variables, images = drawn(model, size)
    close(jax.jit(model.apply)(variables, images), stored[f"{case}-eval"])
    train = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))
    logits, moved = train(variables, images)
    close(logits, stored[f"{case}-train"])
    for path in WATCHED:
        for kind in ("mean", "var"):
            close(at(moved["batch_stats"], path)[kind], stored[f"{case}-{path}-{kind}"])


def names_of(model):
    """Returns the table of torchvision's names."""
    rules = pytorch.TABLES["MobileNetV2"]
    return NameTable(pytorch.PYTORCH, rules(model) if callable(rules) else rules)


def state_of(model, variables):
    """Returns torchvision's state of our variables, as NumPy arrays."""
    table = names_of(model)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, *modules, kind = (step.key for step in path)
        order = (2, 3, 0, 1) if modules[-1] == "depthwise" else axes[leaf.ndim]
        found[find_names("/".join(modules), kind, table)[0]] = leaf.transpose(order)
    return found


def write_fixture():
    import torch

    torchvision = importlib.import_module("torchvision")

    stored = {"torchvision": torchvision.__version__}
    for case, (alpha, size) in CASES.items():
        net = torchvision.models.mobilenet_v2(weights=None, width_mult=alpha, num_classes=5, dropout=0.0)
        model = model_of(alpha)
        table = names_of(model)
        variables, images = drawn(model, size)
        state = {name: torch.tensor(value) for name, value in state_of(model, variables).items()}
        counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
        net.load_state_dict(state | counters)
        x = torch.tensor(images).permute(0, 3, 1, 2)
        counts = {}
        for name, module in net.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                count = lambda module, inputs, output, to=counts, name=name: to.update({name: output[:, 0].numel()})
                module.register_forward_hook(count)
        with torch.no_grad():
            stored[f"{case}-eval"] = net.eval()(x).numpy()
            stored[f"{case}-train"] = net.train()(x).numpy()
        moved = net.state_dict()
        for path in WATCHED:
            name = find_names(path, "mean", table)[0].removesuffix(".running_mean")
            old, new, n = state[f"{name}.running_var"], moved[f"{name}.running_var"], counts[name]
            stored[f"{case}-{path}-mean"] = moved[f"{name}.running_mean"].numpy()
            # PyTorch adds the unbiased variance, we the biased one.
            stored[f"{case}-{path}-var"] = (0.9 * old + (new - 0.9 * old) * (n - 1) / n).numpy()
    np.savez_compressed(FIXTURE, **stored)


if __name__ == "__main__":
    write_fixture()
