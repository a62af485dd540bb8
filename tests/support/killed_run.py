"""One run of the kill tests: ``python -m tests.support.killed_run FOLDER [STEP]``, which kills itself at the step.

It is small, with all that a state can hold.
"""

import os
import signal
import sys
import time

import jax
import optax

from jaxcnn import train
from tests.support.training_models import Net, draw

STEPS = 60


def test_batch():
    return draw(jax.random.key(99), 30)


def slow(step):
    """A host batch that takes a moment, so that a kill can hit any part of the run."""
    time.sleep(0.02)
    return jax.device_get(draw(jax.random.fold_in(jax.random.key(5), step)))


class Batches:
    def __init__(self, last=None):
        self.last = last

    def __getitem__(self, step):
        if step == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return slow(step)


def run(folder, *, last=None):
    return train.fit(
        jax.random.key(3),
        Net(),
        optax.adam(1e-2),
        Batches(last),
        steps=STEPS,
        evaluate=test_batch(),
        evaluate_every=7,
        checkpoint_every=5,
        log_every=4,
        keep=2,
        ema=0.9,
        run=folder,
    )


if __name__ == "__main__":
    run(sys.argv[1], last=int(sys.argv[2]) if len(sys.argv) > 2 else None)
    print("done")
