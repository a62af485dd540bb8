"""Networks of jaxcnn, Keras and PyTorch, ready to be timed: a forward pass, or a step of training.

A step is forward, backward and an update by SGD with momentum, batch norms in training mode; it returns the loss. A
forward pass returns the logits.
"""

import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from benchmarks import _harness
from jaxcnn import train

__all__ = ["find_keras", "in_half_precision", "run_jaxcnn", "run_keras", "run_torch", "to_values"]

RATE, MOMENTUM = 0.01, 0.9


def to_values(result: Any) -> list[np.ndarray]:
    """Returns what a run computed, one row per image, for the comparison of contenders."""
    array = np.asarray(result)
    return [array.reshape(len(array), -1) if array.ndim else array]


def run_jaxcnn(
    model: nn.Module, variables: Any, task: str, x: np.ndarray, y: np.ndarray, *, native: bool
) -> _harness.Run:
    """Compiles a model of Flax, with or without the compiled kernels of jaxcnn-native."""
    if native and _harness.optional("jaxcnn_native") is None:
        raise _harness.Skipped("jaxcnn-native is not installed")
    os.environ["JAXCNN_NATIVE"] = str(int(native))
    if task == "inference":
        images = jax.device_put(x)
        compiled = jax.jit(model.apply).lower(variables, images).compile()
        return _compiled(compiled, lambda: jax.block_until_ready(compiled(variables, images)))
    tx = optax.sgd(RATE, momentum=MOMENTUM)
    data = jax.device_put({"image": x, "label": y})
    state = train.create_state(jax.random.key(0), model, tx, data, variables=variables)
    step = jax.jit(train.make_train_step(model, tx), donate_argnums=0).lower(state, data).compile()
    holder = [state]

    def run() -> float:
        holder[0], metrics = step(holder[0], data)
        return float(metrics["loss"])

    return _compiled(step, run)


def _compiled(program: jax.stages.Compiled, run: Callable[[], Any]) -> _harness.CompiledRun:
    memory = program.memory_analysis()
    return _harness.CompiledRun(run, None if memory is None else memory.temp_size_in_bytes)


def find_keras() -> Any:
    """Imports Keras on JAX, or raises ``Skipped``."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = _harness.optional("keras")
    if keras is None or keras.backend.backend() != "jax":
        raise _harness.Skipped("Keras on JAX is not installed")
    return keras


def run_keras(model: Any, task: str, x: np.ndarray, y: np.ndarray) -> _harness.Run:
    """Compiles a model of Keras on JAX: a pass jitted without Keras's outer functions, a step by ``train_on_batch``."""
    keras = find_keras()
    if task == "inference":
        images = jax.device_put(x)
        own, rest = (
            [one.value for one in group] for group in (model.trainable_variables, model.non_trainable_variables)
        )

        def infer(own: Any, rest: Any, x: jax.Array) -> jax.Array:
            return model.stateless_call(own, rest, x, training=False)[0]

        compiled = jax.jit(infer).lower(own, rest, images).compile()
        return _compiled(compiled, lambda: jax.block_until_ready(compiled(own, rest, images)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM), loss=loss)
    return lambda: float(model.train_on_batch(x, y))


def run_torch(model: Any, task: str, x: np.ndarray, y: np.ndarray, *, device: str = "cpu") -> _harness.Run:
    """Prepares a module of PyTorch for images (n, c, h, w), channels last in memory."""
    import torch

    model = model.to(device, memory_format=torch.channels_last)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).to(device)  # channels last, as it lies in memory
    labels = torch.from_numpy(y).to(device)
    if task == "inference":
        model.eval()

        def run() -> Any:
            with torch.inference_mode():
                return model(images).cpu().numpy()

        return run
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def in_half_precision(model: Any) -> Any:
    """Wraps a module of PyTorch so that it computes in bfloat16 where that is safe, with parameters in float32."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            with torch.autocast(x.device.type, torch.bfloat16):
                return self.model(x).float()

    return Half()
