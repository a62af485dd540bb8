"""The runner: arms x seeds, resumed piece by piece, compared; and how short an experiment's own file stays."""

import ast
import dataclasses
import io
import json
import shutil
import tokenize

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import train
from jaxcnn.layers import SpatialTransformer
from jaxcnn.recipes import _results, _runner
from jaxcnn.report.networks import LabeledImages, classify, list_networks, measure
from tests.support import toy_recipe
from tests.support.paths import ROOT
from tests.support.untyped import untyped

FILES = ("results.json", "metrics.jsonl", "report.html")


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    find = _runner.find_recipe
    monkeypatch.setattr(_runner, "find_recipe", lambda name: toy_recipe.RECIPE if name == "toy" else find(name))
    monkeypatch.setattr(_runner, "write_run_page", toy_recipe.write_plain_page)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_runner, "find_recipe", lambda name: toy_recipe.RECIPE)
        patch.setattr(_runner, "write_run_page", toy_recipe.write_plain_page)
        info = _runner.open_experiment(toy_recipe.RECIPE, toy_recipe.Config(), folder)
        results, page = _runner.run_experiment(info, progress=False)
    assert page == folder / "report.html"
    return info, results


def test_an_experiment_leaves_runs_lines_results_and_page(experiment):
    info, results = experiment
    assert json.loads((info.folder / "results.json").read_text()) == results
    assert [run.path for run in info.runs] == ["linear/seed0", "linear/seed1", "hidden/seed0", "hidden/seed1"]
    lines = [json.loads(line) for line in (info.folder / "metrics.jsonl").read_text().splitlines()]
    tests = [line for line in lines if line["split"] == "test"]
    assert [(line["arm"], line["seed"], line["step"]) for line in tests] == [
        (arm, seed, step) for arm in toy_recipe.ARMS for seed in (0, 1) for step in (3, 6)
    ]
    found = results["arms"]["hidden"]
    assert found["errors"] == [
        100 * (1 - line["accuracy"]) for line in tests if line["arm"] == "hidden" and line["step"] == 6
    ]
    assert found["parameters"] == 4 * 4 + 4 + 4 * 2 + 2 and found["mean"] == np.mean(found["errors"])
    assert "Which half is brighter" in (info.folder / "report.html").read_text()


def test_every_run_describes_itself(experiment):
    info, _ = experiment
    about = untyped(train.read_run(info.folder / "hidden" / "seed1"))
    assert about.classes == ("left", "right") and about.preprocessing == {
        "size": [2, 2],
        "channels": 1,
        "value_range": [0, 1],
    }
    assert about.data["recipe"]["name"] == "toy" and about.data["test"] == {"kind": "recipe", "examples": 8}


def test_a_killed_experiment_continues_with_what_is_missing(experiment, tmp_path):
    info, results = experiment
    folder = tmp_path / "run"
    shutil.copytree(info.folder, folder)
    for name in FILES:
        (folder / name).unlink()
    shutil.rmtree(folder / "hidden" / "seed1")
    kept = (folder / "linear" / "seed0" / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match=r"trained to its end \(jaxcnn train --resume"):
        _runner.write_experiment_page(_runner.read_experiment(folder))
    after, _ = _runner.run_experiment(_runner.read_experiment(folder), progress=False)
    assert {arm: found["errors"] for arm, found in after["arms"].items()} == {
        arm: found["errors"] for arm, found in results["arms"].items()
    }
    assert (folder / "linear" / "seed0" / "metrics.jsonl").read_text() == kept
    assert all((folder / name).is_file() for name in FILES)


def test_evaluating_again_finds_the_recorded_results(experiment):
    info, results = experiment
    images = LabeledImages.of(toy_recipe.RECIPE.test_set(toy_recipe.Config()))
    for network in list_networks(info):
        found = measure(
            classify(*train.load_model(network.folder), images),
            images.labels,
        )
        assert found["error"] == pytest.approx(results["arms"][network.arm]["errors"][network.seed])


def test_a_transform_that_leaves_the_image_is_warned_of():
    model = SpatialTransformer(toy_recipe.Perceptron(), "affine")
    images = jnp.ones((2, 4, 4, 1))
    variables = model.init(jax.random.key(0), images)
    variables["params"]["regression"]["bias"] = jnp.full(6, 5.0)
    said = []
    network = _runner.Network(ROOT, "st_cnn", 1)
    _runner._check_reach(model, variables, {"image": images, "label": np.zeros(2, int)}, network, said.append)
    assert said == ["st_cnn seed 1: the transform reaches 5.0; its sampling frame leaves the image."]


def arm(mean, std, errors):
    return untyped(
        {"parameters": 1, "errors": errors, "mean": mean, "std": std, "seconds": 2.0, "compile_seconds": 1.0}
    )


def test_arms_are_compared_with_the_first():
    arms = {"cnn": arm(20.0, 2.0, [18.0, 20.0, 22.0]), "st_cnn": arm(5.04, 1.0, [4.0, 5.0, 6.0])}
    found = _results.compare(arms["cnn"], arms["st_cnn"])
    assert found["gap"] == pytest.approx(14.96)
    assert found["gap_in_standard_errors"] == pytest.approx(14.96 / np.sqrt((4 + 1) / 3))
    results = untyped({"config": {"steps": 7000, "batch": 8}, "arms": arms, "test_images": 3600})
    assert _results.comparison_sentence(results) == (
        "Test error falls from 20.0 % for cnn to 5.0 % for st_cnn (mean of 3 seeds), at the same budget of 7,000 steps "
        "of 8 images each; no network is trained to convergence."
    )
    assert _results.result_rows(results)[1] == ("st_cnn", "5.04 ± 1.00", "1", "3", "2", "1")


@pytest.mark.parametrize(
    ("cnn", "st_cnn", "chance"),
    [
        (arm(89.9, None, [89.9]), arm(88.9, None, [88.9]), True),  # a short run: 1.4 standard errors of 3600 images
        (arm(89.9, None, [89.9]), arm(80.0, None, [80.0]), False),
        (arm(20.0, 8.0, [12.0, 20.0, 28.0]), arm(10.0, 8.0, [2.0, 10.0, 18.0]), True),  # 1.5 of the seeds
        (arm(20.0, 0.1, [19.9, 20.1]), arm(19.0, 0.1, [18.9, 19.1]), True),  # seeds agree, few images decide
        (arm(20.0, None, [20.0]), arm(20.0, None, [20.0]), True),
    ],
)
def test_a_difference_that_chance_explains_is_not_called_a_fall(cnn, st_cnn, chance):
    config = {"steps": 40, "batch": 8}
    results = untyped({"config": config, "arms": {"cnn": cnn, "st_cnn": st_cnn}, "test_images": 3600})
    said = _results.comparison_sentence(results)
    assert ("a difference that chance explains" in said) == chance and ("falls" in said) != chance


def test_one_arm_is_compared_with_none_and_one_seed_has_no_spread():
    arms = {"cnn": arm(20.0, None, [20.0])}
    results = untyped({"config": {"steps": 7, "batch": 8}, "arms": arms})
    assert _results.comparison_sentence(results) == "Trained for 7 steps of 8 images."
    assert _results.compare(arms["cnn"], arms["cnn"]) == {"gap": 0.0, "gap_in_standard_errors": None}
    assert _results.result_rows(results)[0][1] == "20.00"


def code_lines(text):
    """Counts the lines of a file that hold code: no blank lines, comments or docstrings."""
    nodes = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )
    prose = {line for node in nodes for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({n for t in tokens if t.type not in layout for n in range(t.start[0], t.end[0] + 1)} - prose)


@pytest.mark.parametrize("path", sorted((ROOT / "jaxcnn" / "recipes").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_an_experiment_is_a_short_file(path):
    assert code_lines(path.read_text()) <= 80, "What is not this experiment's own belongs into recipes/_runner.py."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"rate": float("inf")}, "rate must be a positive number, got inf"),
        ({"arms": ()}, r"arms must be distinct, got \(\)"),
        ({"arms": ("linear", "linear")}, "arms must be distinct"),
        ({"arms": ("mlp",)}, "arms must be one of"),
    ],
)
def test_errors_of_a_configuration(options, message):
    with pytest.raises(ValueError, match=f"Config: {message}"):
        toy_recipe.Config(**options)


def test_folders_and_recipes_that_do_not_fit(experiment, tmp_path):
    info, _ = experiment
    with pytest.raises(ValueError, match=r"folder must be new or empty \(--resume continues a run\)"):
        _runner.open_experiment(toy_recipe.RECIPE, toy_recipe.Config(), info.folder)
    with pytest.raises(ValueError, match="must be that of an experiment, got .*, one run of train.fit"):
        _runner.read_experiment(info.folder / "linear" / "seed0")
    with pytest.raises(ValueError, match=r"recipe must be one of \('rts_digits',\), got 'os'"):
        _runner.find_recipe("os")
    with pytest.raises(ValueError, match="recipe toy must hold the options of this version, got {'stesp': 3}"):
        toy_recipe.RECIPE.configure({"stesp": 3})
    assert dataclasses.asdict(toy_recipe.RECIPE.configure({"arms": ["hidden"]}))["arms"] == ("hidden",)
