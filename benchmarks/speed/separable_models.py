"""A training step of MobileNet and Xception against Keras on its JAX and PyTorch backends, in turns.

Command: ``python -m benchmarks.speed.separable_models``, with ``--quick`` to see that it runs. Keras is optional; each
of its backends runs in a process of its own, which sleeps while others have their turn. A step is forward, backward
and an update by SGD with momentum, batch norms in training mode, float32, 1000 classes, on the same random images.
"What is computed" is compared by the number of trainable parameters.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import tyro

from benchmarks import _harness
from jaxcnn import models, train

NETWORKS = [("mobilenet", 128, 16), ("xception", 160, 4)]
QUICK = [("mobilenet", 64, 2)]


def with_jaxcnn(name: str, size: int, batch: int, *, native: bool) -> _harness.Run:
    """Compiles our training step, with the compiled kernels of jaxcnn-native or without."""
    if native and _harness.optional("jaxcnn_native") is None:
        raise _harness.Skipped("jaxcnn-native is not installed")
    os.environ["JAXCNN_NATIVE"] = str(int(native))
    random = np.random.default_rng(0)
    x, y = random.standard_normal((batch, size, size, 3), np.float32), random.integers(0, 1000, batch)
    model, tx = models.create(name, num_classes=1000), optax.sgd(0.01, momentum=0.9)
    data = jax.device_put({"image": x, "label": y})
    state = jax.jit(lambda key, data: train.create_state(key, model, tx, data))(jax.random.key(0), data)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step = jax.jit(train.make_train_step(model, tx), donate_argnums=0).lower(state, data).compile()

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, data)
        if not np.isfinite(metrics["loss"]):
            raise AssertionError("the loss is not finite")
        return parameters

    memory = step.memory_analysis()
    run.temporary_bytes = None if memory is None else memory.temp_size_in_bytes  # pyright: ignore[reportFunctionMemberAccess]
    return run


def with_keras(backend: str, name: str, size: int, batch: int, threads: int) -> _harness.Run:
    """Starts a process with Keras on a backend."""
    if any(importlib.util.find_spec(needed) is None for needed in ("keras", backend)):
        raise _harness.Skipped(f"Keras or {backend} is not installed")
    command = [sys.executable, "-m", "benchmarks.speed._keras_step", backend, name, *map(str, (size, batch, threads))]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None and process.stdout is not None
    said, heard = process.stdin, process.stdout
    parameters = json.loads(heard.readline())["parameters"]

    def run() -> Any:
        said.write("step\n")
        said.flush()
        if not np.isfinite(json.loads(heard.readline())["loss"]):
            raise AssertionError("the loss is not finite")
        return parameters

    run.process = process  # pyright: ignore[reportFunctionMemberAccess]
    return run


def cases(networks: Sequence[tuple[str, int, int]], threads: int) -> list[_harness.Case]:
    """Lists the networks."""
    found = []
    for name, size, batch in networks:
        count = lambda parameters: [np.float64(parameters)]  # noqa: E731
        ours = functools.partial(with_jaxcnn, name, size, batch)
        contenders = [
            _harness.Contender("jaxcnn", functools.partial(ours, native=False), count),
            _harness.Contender("jaxcnn, native", functools.partial(ours, native=True), count),
        ]
        for backend in ("jax", "torch"):
            build = functools.partial(with_keras, backend, name, size, batch, threads)
            contenders.append(_harness.Contender(f"keras, {backend}", build, count))
        parameters = {"network": name, "size": size, "batch": batch, "dtype": "float32"}
        found.append(_harness.Case(f"{name} {size} px batch {batch} training step", parameters, contenders, 0.0))
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("separable_models", cases(QUICK if options.quick else NETWORKS, options.threads), options)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
