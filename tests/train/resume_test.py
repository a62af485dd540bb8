"""A run that is killed ends bit for bit where the uninterrupted one ends; folders that do not fit are refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest

from jaxcnn import train
from tests.support import killed_run
from tests.support.paths import ROOT
from tests.support.training_models import Linear, Net, assert_same, draw, host_batch

TIMING = ("seconds", "rate")


def measured(folder):
    return [{k: v for k, v in line.items() if k not in TIMING} for line in train.read_history(folder)]


def start(folder, cache, *arguments):
    """Starts the run in a process of its own; processes share compiled programs, on whose origin nothing depends."""
    environment = dict(os.environ, JAX_COMPILATION_CACHE_DIR=str(cache), PYTHONPATH=str(ROOT))
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.killed_run", str(folder), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_equal_runs(resumed, folder, whole, uninterrupted):
    assert_same(resumed.state, whole.state)
    assert measured(folder) == measured(uninterrupted)
    assert resumed.evaluation == whole.evaluation


def test_a_run_that_is_killed_at_a_step_ends_where_the_uninterrupted_one_ends(tmp_path):
    whole = killed_run.run(tmp_path / "whole")
    process = start(tmp_path / "killed", tmp_path / "cache", "38")
    _, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, err
    assert 0 < checkpoint_of(tmp_path / "killed") < 38
    assert_equal_runs(killed_run.run(tmp_path / "killed"), tmp_path / "killed", whole, tmp_path / "whole")


@pytest.mark.nightly
@pytest.mark.parametrize("times", [2, 6])
def test_killed_runs_end_where_the_uninterrupted_one_ends(tmp_path, times):
    uninterrupted = killed_run.run(tmp_path / "whole")
    folder, moments = tmp_path / "killed", random.Random(0)
    kills, killed_at = 0, []
    while True:
        process = start(folder, tmp_path / "cache")
        if kills < times:
            # Once before the first checkpoint can exist, then at any moment after the run has got further.
            before = checkpoint_of(folder)
            while kills and process.poll() is None and checkpoint_of(folder) <= before:
                time.sleep(0.005)
            time.sleep(2.0 if kills == 0 else moments.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                killed_at.append(checkpoint_of(folder))
                continue
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0 and "done" in out, err
        break
    assert kills >= 2 and max(killed_at) > 0, killed_at  # it was stopped in the middle, not only before the start
    resumed = killed_run.run(folder)  # finished: nothing is left to do but to read it
    assert_equal_runs(resumed, folder, uninterrupted, tmp_path / "whole")


def checkpoint_of(folder):
    """Step of the last complete checkpoint, -1 without one."""
    return max((int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()), default=-1)


def fit(folder, *, model=None, steps=6, key=0, data=None, tx=None, **options):
    options = {"checkpoint_every": 2, "log_every": 2, "evaluate": host_batch(9), "evaluate_every": 2} | options
    return train.fit(
        jax.random.key(key), model or Net(), tx or optax.adam(1e-2), data or draw, steps=steps, run=folder, **options
    )


def test_more_steps_continue_a_finished_run(tmp_path):
    model = Linear()
    fit(tmp_path / "a", model=model, steps=3)
    longer = fit(tmp_path / "a", model=model, steps=6)
    whole = fit(tmp_path / "b", model=model, steps=6)
    assert_same(longer.state, whole.state)


def test_the_last_and_the_best_checkpoints_are_kept(tmp_path):
    # Accuracy on this data peaks early: labels of the training data are wrong from step 4 on.
    good, bad = host_batch(1, 24), dict(host_batch(1, 24))
    bad["label"] = (bad["label"] + 1) % 3
    batches = [good] * 40 + [bad] * 60
    options = {"evaluate": good, "evaluate_every": 10, "checkpoint_every": 10, "keep": 2}
    result = fit(tmp_path, model=Linear(), data=batches, steps=100, **options)
    found = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert result.best_step is not None and result.best_step <= 50
    assert found == sorted({result.best_step, 90, 100})
    best, last = (train.load_variables(tmp_path, checkpoint=c) for c in ("best", "last"))
    assert_same(last, result.variables)
    assert not np.allclose(best["params"]["head"]["kernel"], last["params"]["head"]["kernel"])


def test_iterables_are_skipped_and_loaders_asked_on_resume(tmp_path):
    batches, model = [host_batch(i) for i in range(6)], Linear()
    whole = fit(tmp_path / "whole", model=model, data=iter(batches))
    fit(tmp_path / "part", model=model, data=iter(batches), steps=3)
    assert_same(fit(tmp_path / "part", model=model, data=iter(batches)).state, whole.state)
    fit(tmp_path / "list", model=model, data=batches, steps=3)
    assert_same(fit(tmp_path / "list", model=model, data=batches).state, whole.state)


def test_errors_of_folders_that_do_not_fit(tmp_path):
    fit(tmp_path / "run", steps=2)
    cases = [
        (dict(key=1), "key is"),
        (dict(model=Net(classes=5)), "model/fields/classes is absent there and 5 here"),
        (dict(tx=optax.sgd(1e-2)), r"tree/opt_state/0/count is int32\(\) there and absent here"),
        (dict(log_every=3), "log_every is 2 there and 3 here"),
        (dict(frozen=("block1",)), r"frozen is \[\] there and \['block1'\] here"),
        (dict(steps=1), "steps must be at least 2"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            fit(tmp_path / "run", **({"steps": 4} | options))
    about = tmp_path / "run" / "run.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match=r"fit: .* was written by jaxcnn \S+ \(format 99\); .* reads format 2\.$"):
        fit(tmp_path / "run")
    about.write_text("{")
    with pytest.raises(ValueError, match=r"damaged run\.json"):
        fit(tmp_path / "run")
    about.unlink()
    with pytest.raises(ValueError, match=r"with checkpoints and no run\.json"):
        fit(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="run must be a folder"):
        fit(tmp_path / "file")


def test_errors_of_a_damaged_checkpoint(tmp_path):
    fit(tmp_path, steps=2, evaluate=None)
    state = tmp_path / "checkpoints" / "2" / "state"
    shutil.rmtree(state)
    state.mkdir()
    with pytest.raises(ValueError, match=r"checkpoints/2 cannot be read .*, and there is no other one; take another"):
        fit(tmp_path, evaluate=None)
    with pytest.raises(ValueError, match="run must be a run folder"):
        train.load_variables(tmp_path / "nowhere")


READ = """
import gc, sys, time
from jaxcnn import train

for _ in range(10):
    try:
        train.load_variables(sys.argv[1])
    except ValueError as error:
        print(str(error).count("cannot be read"))
    gc.collect()
    time.sleep(0.05)  # the threads that read the other arrays
"""


@pytest.mark.nightly
def test_errors_of_a_cut_checkpoint_are_all_that_is_said(tmp_path):
    fit(tmp_path, steps=2, evaluate=None)
    largest = max((tmp_path / "checkpoints").rglob("d/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, 100)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1"] * 10, "")


def test_errors_of_a_damaged_history(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(ValueError, match="one JSON object per line"):
        train.read_history(tmp_path)
    with pytest.raises(ValueError, match="run folder with metrics.jsonl"):
        train.read_history(tmp_path / "nowhere")
