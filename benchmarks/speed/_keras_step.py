"""A process that trains one of Keras's applications on one backend, a step for every line it reads.

Keras knows one backend per process, so a benchmark that compares two starts two of these and gives them turns.
"""

import json
import os
import sys
from typing import Any

import numpy as np


def main(backend: str, name: str, size: int, batch: int, threads: int) -> None:
    """Builds the network, then answers every line with the loss of one step."""
    os.environ["KERAS_BACKEND"] = backend
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever Keras prints goes to the error stream
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)
    import keras

    build = {"mobilenet": keras.applications.MobileNet, "xception": keras.applications.Xception}[name]
    model = build(weights=None, input_shape=(size, size, 3), classes=1000, classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), loss=loss)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((batch, size, size, 3), np.float32), random.integers(0, 1000, batch)

    def answer(found: dict[str, Any]) -> None:
        os.write(answers, (json.dumps(found) + "\n").encode())

    answer({"parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables))})
    for _ in sys.stdin:
        answer({"loss": float(model.train_on_batch(x, y))})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
