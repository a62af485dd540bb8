"""Labels that are not classes of the model are named at once, in place of a loss that is nan."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from jaxcnn import data, losses, train
from tests.support.training_models import Linear, Net, draw, host_batch
from tests.support.untyped import untyped

BATCH = host_batch(1)


def fit(batches, **options):
    given: Any = {"steps": 3, **options}
    return train.fit(jax.random.key(0), Linear(), optax.sgd(0.1), batches, **given)


def labeled(label):
    return dict(BATCH, label=np.asarray(label))


KINDS = {
    "a list": lambda batch: dict(batches=[BATCH, batch]),
    "an iterator": lambda batch: dict(batches=iter([BATCH, batch, BATCH])),
    "a loader": lambda batch: dict(batches=data.Loader((batch["image"], batch["label"]), 4, seed=0)),
    "a device": lambda batch: dict(batches=data.prefetch(iter([BATCH, batch, BATCH]))),
    "a callable": lambda batch: dict(batches=lambda key: dict(draw(key), label=jnp.asarray(batch["label"]))),
    "a test batch": lambda batch: dict(batches=[BATCH], evaluate=batch),
    "test batches": lambda batch: dict(batches=[BATCH], evaluate=lambda: iter([BATCH, batch])),
}


@pytest.mark.errors
@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_labels_out_of_range(kind):
    what = "evaluate" if "test" in kind else "data"
    for label, advice in ((5, r"; models\.create\(\.\.\., num_classes=6\) has as many"), (-1, "")):
        wrong = labeled(np.where(np.arange(12) == 7, label, BATCH["label"]))
        message = (
            f"fit: {what} must be labeled from 0 to 2, as the model has 3 classes, got the label {label}.*{advice}"
        )
        with pytest.raises(ValueError, match=message):
            fit(**KINDS[kind](wrong))


@pytest.mark.errors
def test_errors_of_labels_that_are_no_integers():
    wrong = labeled(BATCH["label"].astype(np.float32))
    for options in (dict(batches=[wrong]), dict(batches=[BATCH], evaluate=wrong)):
        message = r"must be labeled by integers \(n,\), or by probabilities \(n, 3\), got labels float32\(12,\)"
        with pytest.raises(ValueError, match=message):
            fit(**options)
    wide = np.array([2**32 + 1] + [0] * 11)
    with pytest.raises(ValueError, match="Loader: source must be labeled by 32-bit integers, got 0 to 4294967297"):
        _ = data.Loader((BATCH["image"], wide), 12, seed=0)[0]


@pytest.mark.errors
def test_errors_of_test_data_without_examples():
    """They are refused before training, not after it."""
    nothing = {name: values[:0] for name, values in BATCH.items()}
    for evaluate in (nothing, [nothing, nothing]):
        with pytest.raises(ValueError, match="fit: evaluate must be at least one example, got none"):
            fit([BATCH], evaluate=evaluate)
    fit([BATCH], evaluate=[nothing, BATCH])


def test_labels_of_other_losses_may_be_anything():
    """Such as the numbers of a regression, or -1 for examples that do not count."""
    ignoring = lambda logits, labels: jnp.where(labels < 0, 0.0, losses.cross_entropy(logits, jnp.maximum(labels, 0)))
    assert np.isfinite(fit([labeled(BATCH["label"] - 1)], loss=ignoring).history[-1]["loss"])
    smooth = functools.partial(losses.cross_entropy, label_smoothing=0.1)
    with pytest.raises(ValueError, match="data must be labeled from 0 to 2"):
        fit([labeled(BATCH["label"] - 1)], loss=smooth)


def folder(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        for file in ("a.png", "b.png"):
            Image.new("L", (9, 9), 7).save(root / name / file)
    return data.image_folder(root, size=9, channels=1)


@pytest.mark.errors
def test_errors_of_test_data_with_other_classes(tmp_path):
    """A test folder that lacks a class numbers the others differently."""
    known, fewer = folder(tmp_path / "train", "a", "b", "c"), folder(tmp_path / "test", "a", "c")
    loaders = [data.Loader(source, 2, seed=0) for source in (known, fewer)]
    message = r"evaluate must be labeled by the classes of the training data, a, b, c \(image_folder takes classes=\)"
    with pytest.raises(ValueError, match=f"{message}, got a, c"):
        fit(loaders[0], evaluate=loaders[1])
    with pytest.warns(UserWarning, match="has no images of 'b'"):
        same = data.image_folder(tmp_path / "test", size=9, channels=1, classes=known.classes)
    fit(loaders[0], evaluate=data.Loader(same, 2, seed=0))
    four = folder(tmp_path / "four", "a", "b", "c", "d")
    with pytest.raises(ValueError, match="data must be labeled from 0 to 2, .* got the label 3, of class 'd'"):
        fit(data.Loader(four, 2, seed=0))


WRONG = {
    "a tuple": ((BATCH["image"], BATCH["label"]), r"got a tuple of 2 \(numpy.ndarray\)"),
    "other names": ({"images": BATCH["image"], "labels": BATCH["label"]}, "got the names 'images', 'labels'"),
    "lists": ({"image": BATCH["image"].tolist(), "label": BATCH["label"]}, "got a list of 12 as 'image'"),
    "lengths": (dict(BATCH, label=BATCH["label"][:5]), r"of one length, got image float32\(12, 9, 9, 1\), label int32"),
    "weights": (dict(BATCH, weight=np.ones(5)), r"of one length, .*, weight float64\(5,\)"),
}


@pytest.mark.errors
@pytest.mark.parametrize("name", WRONG)
def test_errors_of_batches_of_another_form(name):
    batch, message = WRONG[name]
    expected = r'must be made of batches \{"image": \(n, \.\.\.\), "label": \(n, \.\.\.\)\}.*'
    for options in (dict(batches=[batch]), dict(batches=iter([batch])), dict(batches=[BATCH], evaluate=[batch])):
        with pytest.raises(ValueError, match=f"^fit: (data|evaluate) {expected}{message}"):
            fit(**options)
    state = train.create_state(jax.random.key(0), Linear(), optax.sgd(0.1), BATCH)
    with pytest.raises(ValueError, match=f"^train step: batch {expected}"):
        train.make_train_step(Linear(), optax.sgd(0.1))(state, batch)
    with pytest.raises(ValueError, match=f"^evaluation step: batch {expected}"):
        train.make_eval_step(Linear())(state, batch)


@pytest.mark.errors
def test_errors_of_tensors_and_callables():
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(value) for name, value in BATCH.items()}
    with pytest.raises(
        ValueError, match=r"got a torch.Tensor \(\.numpy\(\) makes an array of it; images have channels"
    ):
        fit([tensors])
    with pytest.raises(ValueError, match=r"data must be a callable key -> batch, got a function that cannot be called"):
        fit(lambda: BATCH)
    with pytest.raises(ValueError, match="create_state: batch must be made of NumPy or JAX arrays, got a torch.Tensor"):
        train.create_state(jax.random.key(0), Net(), optax.sgd(0.1), tensors)
    with pytest.raises(ValueError, match='create_state: batch must be a mapping with "image", got a tuple of 2'):
        train.create_state(jax.random.key(0), Net(), optax.sgd(0.1), untyped((1, 2)))
