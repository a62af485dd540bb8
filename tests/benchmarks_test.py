"""The benchmark harness: turns, summaries, refusal of wrong values, one schema. No time is asserted."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import _harness
from benchmarks.experiments import augmentation, ensembles, separable
from benchmarks.speed import _augment_peers as augment_peers
from benchmarks.speed import augment, augment_forms, conv, depthwise, depthwise_forms, grid_sample, pooling
from jaxcnn import layers, losses, train
from tests.support.selection import daily

OPTIONS = _harness.Options(rounds=3, warmup=1, sample_seconds=1e-4)


def contender(name, value, calls=None):
    def build():
        def run():
            if calls is not None:
                calls.append(name)
            return [np.float32(value)]

        return run

    return _harness.Contender(name, build, list)


def absent():
    raise _harness.Skipped("not installed")


def test_contenders_take_turns_and_are_compared():
    calls = []
    case = _harness.Case("c", {"n": 1}, [contender("a", 1.0, calls), contender("b", 1.0, calls)], 1e-6)
    entry = _harness.measure(case, OPTIONS)
    assert set(entry["contenders"]) == {"a", "b"}
    assert entry["contenders"]["a"]["ratio"] == {"median": 1.0, "q1": 1.0, "q3": 1.0}
    summary = entry["contenders"]["b"]["milliseconds"]
    assert 0 < summary["q1"] <= summary["median"] <= summary["q3"]
    switches = sum(first != second for first, second in itertools.pairwise(calls))
    assert switches >= 5, "the contenders did not take turns"


def test_a_contender_that_computes_something_else_is_refused():
    case = _harness.Case("c", {}, [contender("a", 1.0), contender("b", 1.1)], 1e-3)
    with pytest.raises(AssertionError, match="b computes something else"):
        _harness.measure(case, OPTIONS)


def test_nan_is_refused():
    case = _harness.Case("c", {}, [contender("a", 1.0), contender("b", np.nan)], 1e-3)
    with pytest.raises(AssertionError, match="computes something else"):
        _harness.measure(case, OPTIONS)


def test_run_writes_the_document_and_its_table(tmp_path, capsys):
    skipped = _harness.Contender("gone", absent, list)
    cases = [_harness.Case("c", {"n": 1}, [contender("a", 1.0), skipped], 1e-6)]
    options = _harness.Options(rounds=3, warmup=1, sample_seconds=1e-4, out=tmp_path)
    results = _harness.run("tiny", cases, options)
    (path,) = tmp_path.glob("tiny-*.json")
    assert json.loads(path.read_text()) == results
    assert {"jax", "jaxlib", "numpy", "torch"} <= set(results["versions"])
    assert results["device"]["platform"] == "cpu"
    assert results["cases"][0]["skipped"] == {"gone": "not installed"}
    assert "| c | gone | skipped: not installed |" in path.with_suffix(".md").read_text()
    assert "gone" in capsys.readouterr().out


def test_check_refuses_another_document():
    with pytest.raises(ValueError, match="check: schema must be of type int"):
        _harness.check({"benchmark": "x"})


@pytest.mark.parametrize("path", sorted(_harness.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_of_the_schema(path):
    results = json.loads(path.read_text())
    _harness.check(results)
    assert results["schema"] == _harness.SCHEMA
    if any(case["contenders"] for case in results["cases"]):
        assert path.with_suffix(".md").read_text() == _harness.table(results)


CASES = [
    grid_sample.cases([(2, 5, 4, 3)]),
    depthwise.cases(depthwise.QUICK),
    depthwise_forms.cases([((2, 8, 6, 3), 3)]),
    augment_forms.cases([(2, 8, 8, 3)])[1:3],
    conv.cases(conv.QUICK),
    pooling.cases(pooling.QUICK),
]


def plain(cases):
    """Marks the cases ``nightly`` that draw one of many operations, each of which is compiled."""
    return daily(cases, [case for case in cases if "Augment" not in case.name and "noise" not in case.name])


@pytest.mark.parametrize(
    "case",
    daily(itertools.chain(*CASES), [cases[0] for cases in CASES if "Augment" not in cases[0].name]),
    ids=lambda case: case.name,
)
def test_contenders_agree(case):
    """The contenders that need nothing else; the benchmarks themselves compare all."""
    own = [contender for contender in case.contenders if not contender.name.startswith(("torch", "jaxcnn, native"))]
    entry = _harness.measure(dataclasses.replace(case, contenders=own), OPTIONS)
    assert len(entry["contenders"]) + len(entry["skipped"]) == len(own)
    assert len(entry["contenders"]) >= 2


def test_summary_of_depthwise():
    """Geometric means of ratios, PyTorch's faster format, and the plain shapes apart."""
    times = {
        "jaxcnn": 1.0,
        "jaxcnn, native": 0.5,
        "lax": 20.0,
        "torch, channels last": 4.0,
        "torch, channels first": 2.0,
    }
    cases = []
    for work, factor in ((depthwise.Work((1, 8, 8, 2)), 1), (depthwise.Work((1, 8, 8, 2), kernel=5, strides=2), 8)):
        for task in depthwise.TASKS:
            contenders = {
                name: {"ratio": {"median": time * factor if "jax" not in name else time}, "temporary_bytes": 10**6}
                for name, time in times.items()
            }
            parameters = {**dataclasses.asdict(work), "task": task}
            cases.append({"name": f"{work.name} {task}", "parameters": parameters, "contenders": contenders})
    every = depthwise.summary({"cases": cases})["forward"]
    assert every["jaxcnn, native"]["torch, geometric mean of the plain 3x3 shapes"] == 4
    found = every["jaxcnn"]
    assert found["lax, least, up to k5"] == 20
    assert found["torch, geometric mean of the plain 3x3 shapes"] == 2
    assert found["torch, geometric mean"] == pytest.approx(2 * 8**0.5, rel=0.01)
    assert found["temporary memory over lax's, largest"] == 1


@pytest.mark.nightly
def test_separable_runs_and_its_document_is_whole(tmp_path, capsys):
    options = separable.Options(warmup=1, sample_seconds=1e-4, quick=True, out=tmp_path, images=tmp_path)
    results = separable.run(options)
    _harness.check(results)
    (path,) = tmp_path.glob("separable-*-quick.json")
    assert json.loads(path.read_text()) == results
    assert set(results["arms"]) == {"full", "own M=1", "shared M=1"} == set(results["cases"][0]["contenders"])
    assert (tmp_path / "separable.png").read_bytes().startswith(b"\x89PNG")
    table = path.with_suffix(".md").read_text()
    assert "| 8 | 18,496 | 16,528 | 0.894 * | 18,752 | 1.014 | 19,008 | 1.028 |" in table
    assert "shared M=1 - own M=1" in capsys.readouterr().out


def test_separable_counts_what_the_layers_have():
    for arm in separable.arms(3):
        separable.entry(arm, [1.0], 1.0)  # it compares both
    assert separable.Arm("own", 2).multiplications == 2 * 32 * (9 + 64)


@pytest.mark.nightly
def test_ensembles_compare_five_forms_of_one_step(tmp_path):
    """A small network in place of the experiment's, on two devices."""
    model, tx = layers.Conv(3, (3, 3), padding="VALID"), optax.sgd(0.1)
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 3, 6)).astype(np.float32)
    batches = {"image": images, "label": np.zeros((4, 2), int)}
    loss = lambda logits, labels: losses.cross_entropy(logits[..., 0, 0, :], labels)
    example = jax.tree.map(lambda leaf: leaf[0], batches)
    states = jax.vmap(lambda key: train.create_state(key, model, tx, example))(jax.random.split(jax.random.key(0), 4))

    def step(state, batch):
        value, slope = jax.value_and_grad(
            lambda params: loss(model.apply({"params": params}, batch["image"]), batch["label"]).mean()
        )(state.params)
        updates, _ = tx.update(slope, state.opt_state)
        return state.replace(params=optax.apply_updates(state.params, updates)), {"loss": value}

    task = ensembles.Task("a layer", step, states, batches, 4)
    entry = _harness.measure(ensembles.case(task, 2), OPTIONS)
    assert len(entry["contenders"]) == 5
    ratios = ensembles.summary(entry, 3, ensembles.drift(task, 3))
    assert set(ratios["time over that of one program, the faster of both"]) == {
        ensembles.SINGLE,
        ensembles.STOCK,
        ensembles.STOCK_SPREAD,
    }
    assert ratios["largest difference of a member's parameters, one by one, after 3 steps (norm over norm)"] < 1e-5
    assert ensembles.png(ensembles.plot([entry, entry])).startswith(b"\x89PNG")
    texts = [jax.jit(jax.vmap(f)).lower(states, batches).as_text() for f in (step, ensembles.stock_convolution(step))]
    assert ["feature_group_count = 4" in text for text in texts] == [False, True]


@pytest.mark.parametrize("case", plain(augment.cases(augment.QUICK)), ids=lambda case: case.name)
def test_augmentation_is_examined_and_timed(case):
    """Ours alone; peers are optional, and the benchmark itself examines them all."""
    entry = _harness.measure(dataclasses.replace(case, contenders=case.contenders[:1]), OPTIONS)
    assert set(entry["contenders"]) | set(entry["skipped"]) == {"jaxcnn"}
    assert entry["contenders"] or "there is no augment." in entry["skipped"]["jaxcnn"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda images, number: images, "changed False"),
        (lambda images, number: images[::-1] * 0.5, "drawn anew False"),
        (lambda images, number: images * (0.5 + number / 10), "equal images made different False"),
        (lambda images, number: images + 1, "in range"),
        (lambda images, number: images * np.nan, "in range"),
        (lambda images, number: images[:, 1:], "must stay so"),
    ],
)
def test_augmentation_of_another_kind_is_refused(wrong, message):
    images, numbers = augment.inputs((4, 6, 6, 3), "float32"), itertools.count()
    run = lambda: wrong(images, next(numbers))
    with pytest.raises(AssertionError, match=message):
        augment_peers.examine("other", run, images, per_example=True, tries=range(2))


def test_summary_and_speeds_of_augmentation():
    """The fastest of those that do all of the work stands beside the fastest of all."""
    ratios = {"jaxcnn": 1.0, "kornia": 5.0, "torchvision, per batch": 2.0, "keras": 7.0}
    contenders = {n: {"ratio": {"median": r}, "milliseconds": {"median": 4 * r}} for n, r in ratios.items()}
    parameters = {"shape": [8, 4, 4, 3], "dtype": "float32", "task": augment_peers.PLAIN}
    results = {"cases": [{"name": "c", "parameters": parameters, "contenders": contenders}]}
    whole, every = augment.summary(results).values()
    assert whole == {"c": "5.00 (kornia)"}
    assert every == {"c": "2.00 (torchvision, per batch)"}
    speeds, _ = augment.tables(results).values()
    assert dict(zip(*speeds, strict=True))["jaxcnn"] == "2,000"
    assert dict(zip(*speeds, strict=True))["torchvision, per batch"] == "1,000*"
    assert dict(zip(*speeds, strict=True))["dm_pix"] == ""


def numbered(path, n):
    """Writes images of 16 x 16 whose first pixel is their number, and gives options to read them."""
    images = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    np.savez(path, images=images, labels=(np.arange(n) % 3).astype(np.uint8))
    return augmentation.Options(data=path, batch=4, steps=2, training=8, validation=6)


@pytest.mark.nightly
def test_augmentation_runs_and_its_document_is_whole(tmp_path, capsys):
    options = augmentation.Options(warmup=1, sample_seconds=1e-4, quick=True, out=tmp_path, images=tmp_path)
    results = augmentation.run(options)
    _harness.check(results)
    (path,) = tmp_path.glob("augmentation-*-quick.json")
    assert json.loads(path.read_text()) == results
    assert set(results["arms"]) == {"none", "affine"} == set(results["cases"][0]["contenders"])
    assert all(len(arm["test_errors"]) == 2 for arm in results["arms"].values())
    assert results["training"]["images"] == {"training": 16, "pool": 883, "validation": 16, "test": 898}
    rates = results["training"]["validation_errors"]
    assert rates[f"{results['training']['learning_rate']:g}"] == min(rates.values())
    assert (tmp_path / "augmentation_experiment-quick.png").read_bytes().startswith(b"\x89PNG")
    assert "against no augmentation: of 1 arms" in path.with_suffix(".md").read_text()
    assert "affine: " in capsys.readouterr().out


def test_augmentation_keeps_its_images_apart(tmp_path):
    trainer = augmentation.Trainer(options := numbered(tmp_path / "few.npz", 40), augmentation.load(options))
    number = lambda part: set(np.round(255 * part["image"][:, 0, 0, 0]).astype(int))
    parts = [number(part) for part in (trainer.given.pool, trainer.given.validation, trainer.given.test)]
    assert [len(part) for part in parts] == [14, 6, 20]
    assert set.union(*parts) == set(range(40))
    mine, other = number(trainer.chosen(0)), number(trainer.chosen(1))
    assert mine == number(trainer.chosen(0)) != other
    assert mine | other <= parts[0]
    assert len(mine) == len(other) == 8
    with pytest.raises(ValueError, match="augmentation: data must hold at least 27 images, got 26"):
        augmentation.load(numbered(tmp_path / "fewer.npz", 26))


@pytest.mark.nightly
def test_augmentation_arms_change_images_and_mixup_labels(tmp_path):
    trainer = augmentation.Trainer(options := numbered(tmp_path / "few.npz", 40), augmentation.load(options))
    key, image = jax.random.key(0), trainer.example["image"][0]
    for name, arm in trainer.arms.items():
        if arm.function is not None:
            changed = jax.eval_shape(arm.function, key, image)
            assert (changed.shape, changed.dtype) == (image.shape, image.dtype), name
    start = trainer.start(key, 0.1)
    after = {name: trainer.step(name)(start, trainer.example) for name in ("none", "flip", "mixup")}
    assert len({float(result["loss"]) for _, result in after.values()}) == 3
    slower, _ = trainer.step("none")(trainer.start(key, 0.01), trainer.example)
    far, near = (
        float(optax.tree.norm(jax.tree.map(jnp.subtract, state.params, start.params)))
        for state in (after["none"][0], slower)
    )
    assert far == pytest.approx(10 * near, rel=1e-3), "the compiled step does not take the rate of its state"


def test_augmentation_tells_better_from_worse_seed_by_seed():
    """Intervals are those of the gaps, so what all seeds share does not widen them."""
    plain = [1.0, 5.0, 9.0]
    arm = lambda test: augmentation.summarize_arm([{"test": error, "training": 0.0} for error in test], plain)
    found = {"none": arm(plain), "a": arm([0.9, 4.8, 8.85]), "b": arm([2.0, 6.1, 10.0]), "c": arm([0.0, 6.0, 9.0])}
    assert [augmentation.verdict(entry) for entry in found.values()] == [0, 1, -1, 0]
    assert found["c"]["interval"] == pytest.approx(4.303 / 3**0.5, abs=0.01)
    timed = {"contenders": {name: {"ratio": {"median": 1.0 + i}} for i, name in enumerate(found)}}
    said = augmentation.summary(found, timed)["What it shows"]
    assert "(better) for 1 (a), above 0 (worse) for 1 (b), and contains 0 for 1 (c)" in said["against no augmentation"]
    assert "without augmentation 5.00 % are wrong" in said["best and worst"]
    assert said["price"].startswith("a step of a takes 2.00 times")
    assert said["price"].endswith("the slowest arm, c, 4.00 times.")
