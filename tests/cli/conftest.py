"""Run folders of every kind: of `jaxcnn train`, and two that a user made in Python."""

import fcntl
import importlib.util
import os
import sys

import jax
import numpy as np
import optax
import PIL.Image
import pytest

from jaxcnn import data, train
from jaxcnn.cli import main
from tests.support.toy_recipe import Perceptron
from tests.support.untyped import untyped

SMALL = {"steps": 4, "seeds": 1, "batch": 8, "test-repeats": 1, "evaluate-every": 2}

USER_MODULE = """
import flax.linen as nn

class UserNet(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(12)(x.reshape(len(x), -1))
"""


@pytest.fixture(scope="session")
def small():
    """Options of the smallest run."""
    return [word for name, value in SMALL.items() for word in (f"--{name}", str(value))] + ["--no-progress"]


@pytest.fixture(scope="session")
def run(tmp_path_factory, small):
    """A run of `jaxcnn train`, for all tests, in whatever worker they run: the first one trains, others wait."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, trained = shared / "cli" / "run", shared / "cli" / "trained"
    folder.parent.mkdir(exist_ok=True)
    with open(shared / "cli" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not trained.exists():
            assert main(["train", *small, "--run", str(folder)]) == 0
            trained.touch()
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A dark stroke on paper, and a light one on the canvas."""
    paper = np.full((120, 90, 3), 250, np.uint8)
    paper[20:100, 40:48] = 10
    canvas = np.zeros((42, 42), np.uint8)
    canvas[10:30, 20:24] = 255
    PIL.Image.fromarray(paper).save(tmp_path / "paper.png")
    PIL.Image.fromarray(canvas).save(tmp_path / "canvas.png")
    return tmp_path / "paper.png", tmp_path / "canvas.png"


@pytest.fixture(scope="session")
def colors(tmp_path_factory):
    """A folder of pictures in two classes that a linear model learns at once."""
    root = tmp_path_factory.mktemp("colors")
    for name, color in (("blue sky", (20, 40, 250)), ("red brick", (240, 30, 10))):
        (root / name).mkdir()
        for i in range(4):
            PIL.Image.new("RGB", (9, 7), tuple(abs(v - 5 * i) for v in color)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def color_run(colors, tmp_path_factory):
    """A run of `train.fit` on the user's own pictures."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    loader = data.Loader(data.image_folder(colors, size=4), 8, seed=0)
    train.fit(
        jax.random.key(0), Perceptron(), optax.sgd(0.1), loader, steps=5, evaluate=loader, evaluate_every=5, run=folder
    )
    return folder


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory):
    """A run of `train.fit_ensemble` on arrays, with a model of the user's own that is not imported any more."""
    folder = tmp_path_factory.mktemp("ensemble")
    source = folder / "user_net.py"
    source.write_text(USER_MODULE)
    spec = untyped(importlib.util.spec_from_file_location("user_net", source))
    module = importlib.util.module_from_spec(spec)
    sys.modules["user_net"] = module
    spec.loader.exec_module(module)
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 3, 1), np.uint8)
    labels = np.arange(24) % 12
    np.savez(folder / "test.npz", images=images, labels=labels)
    batch = {"image": images / np.float32(255), "label": labels}
    keys = jax.random.split(jax.random.key(0), 2)
    train.fit_ensemble(
        keys, module.UserNet(), lambda: optax.sgd(0.1), [batch], steps=2, evaluate=batch, run=folder / "run"
    )
    del sys.modules["user_net"]
    return folder
