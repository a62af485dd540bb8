"""By what a run is recognized when it is continued: its data, optimizer, loss, augmentation and metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn._check import shape_text
from jaxcnn._typing import Array, Batch, PyTree
from jaxcnn.data.description import digest_arrays, digest_text
from jaxcnn.data.random_access import Epochs
from jaxcnn.train.batches import STEP_FIELDS
from jaxcnn.train.computations import describe_computation, digest_computation
from jaxcnn.train.data_description import fingerprint_data
from jaxcnn.train.evaluation import TestData
from jaxcnn.train.optimizers import update_optimizer
from jaxcnn.train.settings import Settings
from jaxcnn.train.sources import IndexedSource, Source, TracedSource, TrainingData
from jaxcnn.train.state import State
from jaxcnn.train.step import augment_batch

__all__ = ["describe_identity"]


def describe_identity(
    settings: Settings,
    state: State,
    data: TrainingData,
    source: Source,
    logits: PyTree,
    tx: optax.GradientTransformationExtraArgs,
) -> dict[str, Any]:
    """Returns what must be the same for a run to be continued, as JSON values.

    Functions are described by their names and by digests of what they compute, data by shapes, fingerprints and the
    first batch. What cannot be known, such as what an iterator will return, is None and is not compared.

    Args:
        settings: The options.
        state: The state of one member at step 0.
        data: The training data as given.
        source: The source made of them.
        logits: Shape and dtype of what the model returns for a batch.
        tx: The optimizer of one member.
    """
    example = source.example()
    batch = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in example.items()}

    def augment(batch: Batch) -> Batch:
        return augment_batch(settings.augment, jax.random.key(0), batch)

    labels = jax.eval_shape(augment, batch)["label"]  # augmentation may make soft labels of them
    metrics = settings.metrics or {}
    return {
        "batch": {name: shape_text(value) for name, value in batch.items()},
        "data": _identify_training_data(data, source),
        "test": _identify_test_data(settings.evaluate),
        "evaluated": settings.evaluate is not None,
        "optimizer": {"digest": _digest_optimizer(tx, state)},
        "loss": describe_computation(settings.loss, logits, labels),
        "augment": None if settings.augment is None else describe_computation(settings.augment, batch, traced=augment),
        "metrics": {name: describe_computation(metric, logits, batch["label"]) for name, metric in metrics.items()},
        "eval_params": None
        if settings.eval_params is None
        else describe_computation(settings.eval_params, state.opt_state, state.params),
        "variables": None if settings.variables is None else {"digest": digest_arrays(settings.variables)},
    }


def _identify_training_data(data: TrainingData, source: Source) -> dict[str, Any] | None:
    fingerprint, digest = fingerprint_data(data, ordered=True), None
    if isinstance(source, TracedSource):
        digest = digest_computation(source.draw, source.argument, jax.random.key(0))
        digest = digest and digest_text(digest + digest_arrays(source.argument))
    elif isinstance(source, IndexedSource):
        first, again = digest_arrays(source.example()), digest_arrays(source.read(0))
        digest = first if first == again else None  # of data that differ from access to access nothing can be said
    return {**(fingerprint or {}), "first": {"digest": digest}}


def _identify_test_data(data: TestData | None) -> dict[str, Any] | None:
    fingerprint = fingerprint_data(data, ordered=False)
    if fingerprint is not None or isinstance(data, type) or not isinstance(data, Epochs):
        return fingerprint
    digests = []
    for _ in range(2):
        batch = next(iter(data.epoch()), {})
        digests.append(digest_arrays({name: batch[name] for name in STEP_FIELDS if name in batch}))
    return {"first": {"digest": digests[0] if digests[0] == digests[1] else None}}


def _digest_optimizer(tx: optax.GradientTransformationExtraArgs, state: State) -> str | None:
    """Computes a digest of what the optimizer does and of the numbers in its state, such as an injected rate."""

    def value_fn(params: PyTree) -> Array:
        return sum((jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(params)), start=jnp.float32(0))

    def update(gradients: PyTree, opt_state: Any, params: PyTree, value: Array) -> Any:
        return update_optimizer(tx, gradients, opt_state, params, value=value, value_fn=value_fn)

    digest = digest_computation(update, state.params, state.opt_state, state.params, jnp.float32(0))
    numbers = [leaf for leaf in jax.tree.leaves(state.opt_state) if np.ndim(leaf) == 0]
    return digest and digest_text(digest + digest_arrays(numbers))
