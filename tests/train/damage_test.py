"""Damaged checkpoints are noticed, the one before is used, and a full disk loses nothing."""

import json
import random
import shutil

import jax
import numpy as np
import optax
import pytest

from jaxcnn import train
from jaxcnn.train import checkpoints
from tests.support.selection import times
from tests.support.training_models import Linear, assert_same, host_batch

BATCH = host_batch(1)


def fit(folder, **options):
    options = {"steps": 4, "checkpoint_every": 2, "log_every": 2, "run": folder} | options
    return train.fit(jax.random.key(0), Linear(), optax.adam(1e-2), [BATCH], **options)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(folder)
    return folder


@pytest.fixture
def folder(intact, tmp_path):
    shutil.copytree(intact, tmp_path / "run")
    return tmp_path / "run"


def data_files(folder, step):
    found = (path for path in (folder / "checkpoints" / str(step)).rglob("*") if path.is_file())
    return sorted(path for path in found if path.stat().st_size)


def test_flipped_bits_never_pass(folder):
    """Of single bits of array files, none may change a value without an error."""
    expected, generator = train.load_variables(folder), random.Random(0)
    # Beside the merged arrays, which are read, lie the copies of each process, sometimes larger.
    path = max((p for p in data_files(folder, 4) if p.parts[-3:-1] == ("state", "d")), key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    noticed = 0
    for _ in range(times(15)):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            assert_same(train.load_variables(folder, checkpoint=4), expected)  # bits that no array uses
        except ValueError as error:
            assert "checkpoints/4 cannot be read (" in str(error) and "\n" not in str(error)
            noticed += 1
    assert noticed >= 5


@pytest.mark.parametrize("damage", ["array", "missing", "progress"])
def test_the_checkpoint_before_is_used(intact, folder, damage):
    arrays, progress = ([p for p in data_files(folder, 4) if part in p.parts[-3:]] for part in ("d", "progress"))
    if damage == "missing":
        shutil.rmtree(arrays[0].parent)
    for path in {"progress": progress, "array": arrays, "missing": []}[damage]:
        path.write_bytes(bytes(byte ^ 0x10 for byte in path.read_bytes()))
    with pytest.warns(
        RuntimeWarning, match=r"checkpoint .*checkpoints/4 cannot be read \(.*\); the one after step 2 is"
    ):
        variables = train.load_variables(folder)
    assert_same(variables, train.load_variables(intact, checkpoint=2))
    with pytest.warns(RuntimeWarning, match="the one after step 2 is used"):
        result = fit(folder)
    assert_same(result.variables, train.load_variables(intact))  # trained again, to the same end
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"2", "4"}
    assert (folder / "damaged" / "4").is_dir()
    assert_same(fit(folder).variables, result.variables)  # and nothing to say any more


def test_errors_where_all_are_damaged(folder):
    for step in (2, 4):
        shutil.rmtree(folder / "checkpoints" / str(step) / "state")
    message = r"checkpoints/4 cannot be read \(.*\), and there is no other one; take another folder to start anew\.$"
    for use in (fit, train.load_variables):
        with pytest.raises(ValueError, match=message):
            use(folder)


def test_errors_of_incomplete_progress():
    packed = {"params": {"kernel": np.ones(3, np.float32)}}
    sealed = checkpoints._seal({"pending": [], "seconds": 1.5}, packed)
    assert checkpoints._unseal(json.loads(json.dumps(sealed)), packed) == {"pending": [], "seconds": 1.5}
    with pytest.raises(ValueError, match="its progress is incomplete"):
        checkpoints._unseal({"seconds": 1.5}, packed)
    with pytest.raises(ValueError, match="its progress has another checksum"):
        checkpoints._unseal({**sealed, "progress": {"seconds": 1.5}}, packed)
    with pytest.raises(ValueError, match="array params/kernel has another checksum"):
        checkpoints._unseal(dict(sealed), {"params": {"kernel": np.ones(3, np.float16)}})
    with pytest.raises(ValueError, match="array params/kernel is missing"):
        checkpoints._unseal(dict(sealed), {"params": {}})


def test_errors_of_a_disk_that_is_full(folder, monkeypatch, capfd):
    """One line names the reason and the checkpoint that is intact; the run continues once there is room."""
    import tensorstore

    opened = tensorstore.open

    def full(*arguments, **options):
        if not options.get("create"):
            return opened(*arguments, **options)
        raise ValueError("RESOURCE_EXHAUSTED: writing failed [OS error 28: No space left on device]\nmore lines")

    with monkeypatch.context() as patch:
        patch.setattr(tensorstore, "open", full)
        with pytest.raises(OSError, match=r"checkpoints/6 cannot be written \(No space left on device\); the one bef"):
            fit(folder, steps=8)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"2", "4"}
    assert capfd.readouterr().err == ""
    assert int(fit(folder, steps=8).state.step) == 8
