"""A training step of MobileNet and Xception against Keras on its JAX and PyTorch backends, interleaved.

Command: ``python -m benchmarks.speed.separable_models``; ``--quick`` only checks that it runs. Keras is optional; each
of its backends runs in its own process, which sleeps while others are timed. A step is forward, backward and an update
by SGD with momentum, batch norms in training mode, float32, 1000 classes, on the same random images. The contenders
are checked to have the same number of trainable parameters.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import jax
import numpy as np
import optax
import tyro

from benchmarks import _harness
from jaxcnn import models, train

NETWORKS = [("mobilenet", 128, 16), ("xception", 160, 4)]
QUICK = [("mobilenet", 64, 2)]


@dataclasses.dataclass
class JaxcnnStep:
    """Runs a compiled training step and returns the number of parameters."""

    step: jax.stages.Compiled
    state: train.State
    data: Mapping[str, jax.Array]
    parameters: int

    @property
    def temporary_bytes(self) -> int | None:
        """Memory that the program allocates besides its results."""
        memory = self.step.memory_analysis()
        return None if memory is None else memory.temp_size_in_bytes

    def __call__(self) -> int:
        """Runs one step."""
        self.state, metrics = self.step(self.state, self.data)
        if not np.isfinite(metrics["loss"]):
            raise AssertionError("the loss is not finite")
        return self.parameters


@dataclasses.dataclass
class KerasStep:
    """Runs a training step in another process and returns the number of parameters."""

    process: subprocess.Popen[str]
    requests: IO[str]
    answers: IO[str]
    parameters: int

    def __call__(self) -> int:
        """Runs one step."""
        self.requests.write("step\n")
        self.requests.flush()
        if not np.isfinite(json.loads(self.answers.readline())["loss"]):
            raise AssertionError("the loss is not finite")
        return self.parameters


def with_jaxcnn(name: str, size: int, batch: int, *, native: bool) -> _harness.Run:
    """Compiles jaxcnn's training step, with or without the compiled kernels of jaxcnn-native."""
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
    return JaxcnnStep(step, state, data, parameters)


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
    parameters = json.loads(process.stdout.readline())["parameters"]
    return KerasStep(process, process.stdin, process.stdout, parameters)


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
