"""A run is continued only by the call that started it: other data, optimizers, losses and the like are refused."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import augment, data, losses, metrics, train
from jaxcnn.train.computations import digest_computation
from tests.support.paths import ROOT
from tests.support.training_models import Linear, draw, host_batch

WHOLE = host_batch(0, 40)
IMAGES, LABELS = WHOLE["image"], WHOLE["label"]
TEST = host_batch(9)


def fit(folder, batches=None, *, tx=None, steps=1, **options):
    batches = batches if batches is not None else data.Loader((IMAGES, LABELS), 8, seed=0)
    return train.fit(jax.random.key(0), Linear(), tx or optax.sgd(0.1), batches, steps=steps, run=folder, **options)


def darker(key, images, *, by=0.5):
    return images * by


def smooth(logits, labels, by):
    return losses.cross_entropy(logits, labels, label_smoothing=by)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    fit(run, evaluate=TEST, augment=darker, loss=functools.partial(smooth, by=0.1))
    return run


SAME = {"evaluate": TEST, "augment": darker, "loss": functools.partial(smooth, by=0.1)}

OTHERS = {
    "batch size": (dict(batches=data.Loader((IMAGES, LABELS), 10, seed=0)), r"batch/image is 'float32\(8, 9, 9, 1\)'"),
    "examples": (dict(batches=data.Loader((IMAGES[::-1], LABELS[::-1]), 8, seed=0)), "data are other examples here"),
    "labels": (dict(batches=data.Loader((IMAGES, LABELS[::-1]), 8, seed=0)), "data are other examples here"),
    "order": (dict(batches=data.Loader((IMAGES, LABELS), 8, seed=1)), "data/order/seed is 0 there and 1 here"),
    "rate": (dict(tx=optax.sgd(0.2)), "optimizer computes something else here"),
    "schedule": (dict(tx=optax.sgd(optax.constant_schedule(0.1))), "tree/opt_state/1/count is absent there"),
    "optimizer of equal state": (dict(tx=optax.chain(optax.sgd(0.1), optax.clip(1.0))), "optimizer computes|tree/"),
    "loss": (dict(loss=functools.partial(smooth, by=0.2)), "loss computes something else here"),
    "default loss": (dict(loss=losses.cross_entropy), "loss is .*smooth there and jaxcnn.losses:cross_entropy here"),
    "augmentation": (dict(augment=functools.partial(darker, by=0.25)), "augment computes something else here"),
    "no augmentation": (dict(augment=None), "augment is .* there and None here"),
    "test set": (dict(evaluate=host_batch(10)), "test are other examples here"),
    "no test set": (dict(evaluate=None), "best is 'accuracy' there and None here"),
    "metrics": (dict(metrics={"accuracy": metrics.accuracy}), "metrics/loss is .* there and 'absent'|absent here"),
    "start": (dict(variables={"params": {}}), None),
}


@pytest.mark.errors
@pytest.mark.parametrize("name", [name for name, (_, message) in OTHERS.items() if message])
def test_errors_of_another_run(folder, name):
    options, message = OTHERS[name]
    with pytest.raises(ValueError, match=f"run .* was made with another configuration: .*({message})"):
        fit(folder, steps=2, **(SAME | options))


def test_the_same_call_continues(folder, tmp_path):
    """Other objects with the same content are the same run; so is the loader when it is prefetched."""
    loader = data.prefetch(data.Loader((IMAGES.copy(), LABELS.copy()), 8, seed=0))
    again = lambda key, images: darker(key, images)
    options = SAME | {"evaluate": dict(TEST), "augment": again, "loss": lambda x, y: smooth(x, y, 0.1)}
    assert int(fit(folder, loader, steps=2, **options).state.step) == 2


def test_sources_on_the_device_are_recognized(tmp_path):
    stream = lambda images: data.distorted(images, LABELS, kind="R").stream(4)
    fit(tmp_path / "stream", stream(IMAGES))
    fit(tmp_path / "stream", stream(IMAGES.copy()), steps=2)
    with pytest.raises(ValueError, match="data are other examples here"):
        fit(tmp_path / "stream", stream(IMAGES + 1), steps=3)
    scaled = lambda by: lambda key: dict(draw(key), image=by * draw(key)["image"])
    fit(tmp_path / "function", scaled(1.0))
    fit(tmp_path / "function", scaled(1.0), steps=2)
    with pytest.raises(ValueError, match="the first batch of data is another one here"):
        fit(tmp_path / "function", scaled(2.0), steps=3)


def test_an_injected_rate_counts(tmp_path):
    """It is a number in the state of the optimizer, which a checkpoint would replace silently."""
    inject = lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    fit(tmp_path, tx=inject(0.1))
    with pytest.raises(ValueError, match="optimizer computes something else here"):
        fit(tmp_path, tx=inject(0.2), steps=2)


def test_data_that_differ_from_access_to_access_do_not_hinder(tmp_path):
    class Noisy:
        def __getitem__(self, step):
            return dict(host_batch(0), image=np.random.default_rng().random((12, 9, 9, 1), np.float32))

    fit(tmp_path, Noisy())
    assert int(fit(tmp_path, Noisy(), steps=2).state.step) == 2


def test_test_data_of_ones_own_are_recognized_by_their_first_batch(tmp_path):
    class Passes:
        def __init__(self, seed):
            self.seed = seed

        def epoch(self):
            return iter([host_batch(self.seed)])

    fit(tmp_path, evaluate=Passes(1))
    fit(tmp_path, evaluate=Passes(1), steps=2)
    with pytest.raises(ValueError, match="the first batch of test is another one here"):
        fit(tmp_path, evaluate=Passes(2), steps=3)


def test_other_versions_are_said_and_not_refused(tmp_path):
    fit(tmp_path)
    path = tmp_path / "run.json"
    stored = json.loads(path.read_text())
    stored["libraries"]["jax"] = "0.9.9"
    stored["training"]["optimizer"]["digest"] = "of another version"
    path.write_text(json.dumps(stored))
    with pytest.warns(
        UserWarning, match=rf"was started with jax 0\.9\.9 \(here {jax.__version__}\); .* Optimizer comp"
    ):
        assert int(fit(tmp_path, steps=2).state.step) == 2


def test_classes_that_changed_are_refused(tmp_path):
    """Of what only describes, class names and pre-processing decide what a prediction means."""
    fit(tmp_path, classes=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"classes is \['a', 'b', 'c'\] there and \['c', 'a', 'b'\] here"):
        fit(tmp_path, steps=2, classes=("c", "a", "b"))


DIGEST = """
import jax, optax
from jaxcnn import augment
from jaxcnn.train.computations import digest_computation
from tests.train.identity_test import chain
print(digest_computation(chain, jax.random.key(0), jax.ShapeDtypeStruct((2, 9, 9, 1), "float32")))
"""


def chain(key, images):
    steps = augment.sequence([augment.random_flip_left_right, augment.random_rotation])
    return augment.batched(steps)(key, images)


def test_digests_do_not_depend_on_the_process():
    """Else no run could be continued; hashes of text differ from process to process."""
    environment = dict(os.environ, PYTHONHASHSEED="1", PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True)
    here = digest_computation(chain, jax.random.key(0), jax.ShapeDtypeStruct((2, 9, 9, 1), "float32"))
    assert here is not None and len(here) == 32
    assert done.stdout.strip() == here, done.stderr


def test_digests_see_what_is_computed():
    x = jax.ShapeDtypeStruct((3,), "float32")
    table = jnp.arange(3.0)
    functions = [
        lambda x: x - 2.0,
        lambda x: 2.0 - x,
        lambda x: x - 3.0,
        lambda x: x - table,
        lambda x: x - (table + 1.0),
        lambda x: jax.lax.cond(x[0] > 0, lambda y: y, lambda y: -y, x),
        lambda x: jax.lax.cond(x[0] > 0, lambda y: y, lambda y: y * 2.0, x),
        jax.jit(lambda x: jnp.cumsum(x)),
        jax.jit(lambda x: jnp.cumsum(x, axis=0)[::-1]),
        jax.nn.relu,
        jax.nn.gelu,
    ]
    digests = [digest_computation(function, x) for function in functions]
    assert len(set(digests)) == len(functions) and None not in digests
    assert digest_computation(lambda x: functions[0](x), x) == digests[0]
    assert digest_computation(lambda x: x.nonsense, x) is None
