"""Ctrl-C and SIGTERM leave a checkpoint, and one process at a time writes to a folder."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from jaxcnn import train
from jaxcnn.train.locking import lock_folder
from tests.support.paths import ROOT
from tests.support.training_models import Linear, assert_same, host_batch

BATCHES = [host_batch(i) for i in range(3)]


@pytest.fixture(autouse=True)
def _handle_ctrl_c():
    """Handles Ctrl-C as Python does, also in a test run in the background of a shell, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Source:
    """Batches by number; one of them does something else first."""

    def __init__(self, at=-1, act=lambda: None):
        self.at, self.act = at, act

    def __getitem__(self, step):
        if step == self.at:
            self.act()
        return BATCHES[step % 3]


def fit(source, folder, *, steps=50, **options):
    tx = optax.adam(1e-2)
    return train.fit(jax.random.key(0), Linear(), tx, source, steps=steps, run=folder, checkpoint_every=50, **options)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_writes_a_checkpoint(tmp_path, number, error, capsys):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error) as caught:
        fit(Source(7, lambda: signal.raise_signal(number)), tmp_path)
    text = f"fit: stopped after step 7 of 50; the same call with run='{tmp_path}' continues"
    assert (capsys.readouterr().err, caught.value.args) == (f"{text}.\n", (143,)) or caught.value.args == (text,)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["7"]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    result = fit(Source(), tmp_path)
    assert_same(result.state, fit(Source(), None).state)
    losses = lambda lines: [(line["step"], line["loss"]) for line in lines]
    assert losses(result.history) == losses(fit(Source(), None).history)


def test_a_signal_between_batches_waits_for_the_end_of_the_step(tmp_path):
    """The evaluation of a step belongs to its checkpoint, else a resumed run would lack it."""

    def evaluate():
        os.kill(os.getpid(), signal.SIGINT)
        return iter(BATCHES)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 5 of 50"):
        fit(Source(), tmp_path, evaluate=evaluate, evaluate_every=5)
    assert [line["step"] for line in train.read_history(tmp_path) if line["split"] == "test"] == [5]


def test_a_handler_of_the_program_is_called(tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: seen.append(arguments[0]))
    try:
        with pytest.raises(SystemExit):
            fit(Source(3, lambda: signal.raise_signal(signal.SIGTERM)), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["3"]


def test_without_a_folder_ctrl_c_is_pythons_own():
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(Source(3, lambda: signal.raise_signal(signal.SIGINT)), None)
    assert caught.value.args == ()


HOLD = """
import sys, time
from pathlib import Path
from jaxcnn.train.locking import lock_folder

with lock_folder("fit", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_errors_of_a_folder_in_use(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdout.readline()
    try:
        message = (
            rf"fit: run must be used by one process at a time, got .*, which process {holder.pid} on .* uses now\.$"
        )
        with pytest.raises(ValueError, match=message):
            fit(Source(), tmp_path)
        assert not (tmp_path / "run.json").exists()
    finally:
        holder.kill()  # the lock of a process that is killed is dropped
        holder.communicate()
    fit(Source(), tmp_path, steps=2)
    with lock_folder("fit", tmp_path), pytest.raises(ValueError, match="one process at a time"):
        fit(Source(), tmp_path, steps=3)


def test_a_finished_run_is_only_read(tmp_path):
    """It may lie on a disk that cannot be written to, and be read by many at once."""
    result = fit(Source(), tmp_path, steps=4, evaluate=BATCHES)
    found = lambda: {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(tmp_path.rglob("*"))}
    with lock_folder("fit", tmp_path):
        before = found()
        again = fit(Source(), tmp_path, steps=4, evaluate=BATCHES)
        assert found() == before
    assert_same(again.state, result.state)
    assert again.evaluation == result.evaluation
    np.testing.assert_array_equal(
        again.best_variables["params"]["head"]["bias"], result.variables["params"]["head"]["bias"]
    )
