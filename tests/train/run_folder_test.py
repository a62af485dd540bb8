"""A run folder says what made it, whatever the model and the data are; old and damaged ones are refused in one line."""

import json
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from jaxcnn import data, models, train
from jaxcnn.graphs import GraphNetwork
from jaxcnn.train.run_folder import RunReference, write_experiment
from tests.support.small_graph import GRAPH
from tests.support.training_models import Net, host_batch
from tests.support.untyped import untyped

BATCH = host_batch(1)
IMAGES, LABELS = BATCH["image"], BATCH["label"]


def fit(folder, batches=None, model=None, **options):
    model = model or models.create("fcn", num_classes=3, units=(4,))
    options = {"steps": 1, "run": folder} | options
    return train.fit(jax.random.key(0), model, optax.sgd(0.1), batches or [BATCH], **options)


def read_run(folder) -> Any:
    return train.read_run(folder)


def stored(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_says_what_made_it(tmp_path):
    fit(tmp_path, classes=("low", "middle", "high"), preprocessing={"size": [9, 9]}, evaluate=BATCH)
    info = read_run(tmp_path)
    assert (info.folder, info.function, info.members) == (tmp_path, "fit", None)
    assert info.model == {"name": "fcn", "options": {"num_classes": 3, "units": [4]}}
    assert info.input == {"shape": [9, 9, 1], "dtype": "float32"}
    assert info.classes == ("low", "middle", "high")
    assert info.preprocessing == {"size": [9, 9]}
    arrays = {"kind": "arrays", "examples": 12, "labels": [0, 2]}
    assert info.data == {"train": arrays, "test": arrays}
    assert info.training["best"] == "accuracy" and info.training["tree"]["params/head/bias"] == "float32(3,)"
    assert info.origin.libraries["jax"] == jax.__version__ and info.origin.device.startswith("cpu")
    json.dumps(stored(tmp_path), allow_nan=False)


@pytest.fixture
def pictures(tmp_path):
    for name in ("cat", "dog", "eel"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("L", (9, 9), 7).save(tmp_path / "pictures" / name / "a.png")
    return tmp_path / "pictures"


def test_data_are_asked_what_they_are(tmp_path, pictures):
    source = data.image_folder(pictures, size=9, channels=1)
    info = _info(tmp_path / "folder", data.Loader(source, 3, seed=0))
    assert info.classes == ("cat", "dog", "eel")
    assert info.preprocessing == {"size": [9, 9], "channels": 1, "fit": "crop", "value_range": [0, 1]}
    assert info.data["train"] == {"kind": "image_folder", "path": str(pictures), "examples": 3}
    info = _info(tmp_path / "arrays", data.Loader((IMAGES, LABELS), 6, seed=0))
    form = {"shape": [9, 9, 1], "dtype": "float32", "labels": [0, 2]}
    assert info.data["train"] == {"kind": "arrays", "examples": 12, **form}
    info = _info(tmp_path / "distorted", data.distorted(IMAGES, LABELS, kind="R").stream(4))
    assert info.data["train"]["kind"] == "distorted" and info.data["train"]["distortion"] == "R"
    examples = [{"image": i, "label": label} for i, label in zip(IMAGES, LABELS, strict=True)]
    prepared = data.PreparedSource(examples, image="image", label="label", classes=("a", "b", "c"))
    info = _info(tmp_path / "prepared", data.Loader(prepared, 4, seed=0))
    assert info.classes == ("a", "b", "c") and info.data["train"] == {"kind": "tfds", "examples": 12}


def _info(folder, batches):
    fit(folder, batches)
    return read_run(folder)


def test_the_caller_knows_better_than_the_data(tmp_path, pictures):
    loader = data.Loader(data.image_folder(pictures, size=9, channels=1), 3, seed=0)
    told = {"classes": ["x", "y", "z"], "preprocessing": {"invert": "auto"}, "description": {"kind": "letters"}}
    fit(tmp_path / "run", loader, **told)
    info = read_run(tmp_path / "run")
    assert (list(info.classes), info.preprocessing, info.data) == tuple(told.values())


def test_what_only_describes_may_be_told_later(tmp_path):
    fit(tmp_path)
    began = stored(tmp_path)
    assert began["classes"] is None
    fit(tmp_path, steps=2, classes="abc")
    assert stored(tmp_path) == began | {"classes": ["a", "b", "c"]}
    fit(tmp_path, steps=3)
    assert read_run(tmp_path).classes == ("a", "b", "c")


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(classes=("a", "b")), "fit: classes must be 3 names, one per logit, got 2"),
        (dict(classes=("a", "b", "a")), "fit: classes must be distinct names"),
        (dict(classes=(0, 1, 2)), "fit: classes must be distinct names"),
        (dict(preprocessing={"mean": np.zeros(3)}), "fit: preprocessing must be a mapping of plain JSON values"),
        (dict(description=[1]), "fit: description must be a mapping of plain JSON values"),
    ],
)
def test_errors_of_what_is_told(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_experiment_lists_its_runs(tmp_path):
    runs = [RunReference(f"{arm}/seed{seed}", arm, seed) for arm in ("cnn", "st_cnn") for seed in range(2)]
    write_experiment(tmp_path, recipe="rts_digits", config={"steps": 5}, runs=runs)
    info = read_run(tmp_path)
    assert isinstance(info, train.ExperimentInfo)
    assert (info.recipe, info.config, info.runs) == ("rts_digits", {"steps": 5}, tuple(runs))
    with pytest.raises(ValueError, match=r"one run, got the experiment .*; it has cnn/seed0, cnn/seed1, .*, \.\.\.\.$"):
        train.load_variables(tmp_path)


@pytest.mark.errors
def test_errors_of_old_folders_name_the_version(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "function": "fit", "members": None}))
    message = r"load_model: .* was written by jaxcnn 0\.1\.0 \(format 1\); this version, .*, reads format 2\.$"
    with pytest.raises(ValueError, match=message):
        train.load_model(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, "jaxcnn": "0.1.7", "config": {}}))
    with pytest.raises(ValueError, match=r"read_run: .* was written by jaxcnn 0\.1\.7 \(format 1\)"):
        read_run(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"read_run: run must be a run folder with run\.json, got"):
        read_run(tmp_path)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": "two"}, "members must be an integer or null, got 'two'"),
        ({"model": None}, "model must be an object, got None"),
        ({"training": []}, r"training must be an object, got \[\]"),
        ({"libraries": 3}, "libraries must be an object, got 3"),
        ({"recipe": {"name": "a", "config": {}}}, "runs must be a list, got nothing"),
        ({"recipe": {"name": "a", "config": {}}, "runs": [3]}, "path must be text, got nothing"),
    ],
)
def test_errors_of_a_damaged_description(folder, tmp_path, change, message):
    (tmp_path / "run.json").write_text(json.dumps(stored(folder) | change))
    with pytest.raises(ValueError, match=rf"read_run: .*run\.json is damaged: {message}\.$"):
        read_run(tmp_path)


@pytest.mark.errors
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"formats": 2}', "\x00"])
def test_errors_of_what_is_no_description(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"^read_run: run must be a run folder, got .* with a damaged run\.json\.$"):
        read_run(tmp_path)


@pytest.mark.errors
def test_errors_of_runs_outside_of_the_experiment(folder, tmp_path):
    runs = [{"path": "../other", "arm": "a", "seed": 0}]
    (tmp_path / "run.json").write_text(
        json.dumps(stored(folder) | {"recipe": {"name": "a", "config": {}}, "runs": runs})
    )
    with pytest.raises(ValueError, match=r"names runs below it, got '\.\./other'"):
        read_run(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    fit(run)
    return run


def test_models_are_rebuilt(folder):
    model, variables = train.load_model(folder)
    assert model == models.create("fcn", num_classes=3, units=(4,))
    assert untyped(model.apply(variables, jnp.asarray(IMAGES))).shape == (12, 3)
    with pytest.raises(
        ValueError, match=r"model must be that of the run, dense1/bias float32\(4,\), got float32\(5,\)"
    ):
        train.load_model(folder, model=models.create("fcn", num_classes=3, units=(5,)))


def test_the_best_checkpoint_is_the_last_where_nothing_was_evaluated(tmp_path):
    right, wrong = dict(BATCH), dict(BATCH, label=(LABELS + 1) % 3)
    result = fit(
        tmp_path / "best", [right] * 20 + [wrong] * 20, steps=40, evaluate=right, evaluate_every=20, best="-loss"
    )
    assert result.best_step == 20
    kernel = lambda **which: train.load_model(tmp_path / "best", **which)[1]["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel(), kernel(checkpoint=20))
    assert not np.array_equal(kernel(), kernel(checkpoint="last"))
    result = fit(tmp_path / "none", steps=2)
    np.testing.assert_array_equal(
        train.load_model(tmp_path / "none")[1]["params"]["head"]["kernel"], result.state.params["head"]["kernel"]
    )


def test_classes_of_ones_own_are_found_where_they_are_imported(tmp_path):
    result = fit(tmp_path, model=Net(rate=0.5))
    assert stored(tmp_path)["model"] == {"class": "tests.support.training_models:Net", "fields": {"rate": 0.5}}
    model, variables = train.load_model(tmp_path)
    assert model == Net(rate=0.5)
    np.testing.assert_array_equal(model.apply(variables, IMAGES), model.apply(result.variables, IMAGES))


def test_networks_as_data_are_rebuilt(tmp_path):
    images = np.repeat(IMAGES[:, :6, :5], 3, -1)
    model = GraphNetwork(GRAPH, outputs=("fc",))
    result = fit(tmp_path, [{"image": images, "label": LABELS}] * 2, model, steps=2)
    found, variables = train.load_model(tmp_path)
    assert found == model
    assert set(variables) == {"params", "batch_stats"}
    apply = jax.jit(found.apply)
    np.testing.assert_array_equal(apply(variables, images), apply(result.variables, images))


def test_classes_that_nobody_can_import_are_passed(tmp_path):
    class Local(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="head")(x.mean((1, 2)))

    fit(tmp_path, model=Local())
    with pytest.raises(ValueError, match=r"load_model: the model of run .* cannot be built: .*<locals>\.Local is not"):
        train.load_model(tmp_path)
    model, variables = train.load_model(tmp_path, model=Local())
    assert untyped(model.apply(variables, jnp.asarray(IMAGES))).shape == (12, 3)


@pytest.mark.nightly
def test_ensembles_are_rebuilt(tmp_path):
    keys, model = jax.random.split(jax.random.key(0), 2), models.create("fcn", num_classes=3, units=(4,))
    rates = {"learning_rate": jnp.array([0.1, 0.2])}
    result = train.fit_ensemble(keys, model, optax.sgd, [BATCH], hparams=rates, steps=2, run=tmp_path, evaluate=BATCH)
    assert read_run(tmp_path).members == 2
    for member, number in ((1, 1), ("best", result.best_member)):
        loaded, variables = train.load_model(tmp_path, member=untyped(member))
        assert loaded == model
        np.testing.assert_array_equal(
            variables["params"]["head"]["kernel"], result.member(untyped(number)).state.params["head"]["kernel"]
        )
    assert train.load_model(tmp_path)[1]["params"]["head"]["kernel"].shape == (2, 4, 3)


HOSTILE = {
    "a function for a class": ({"class": "os:system", "fields": {}}, "os:system is not the address of a class"),
    "a module nobody imported": ({"class": "antigravity:Fly", "fields": {}}, "antigravity:Fly is not imported"),
    "a program": ({"class": "jaxcnn.cli.__main__:main", "fields": {}}, "is not imported"),
    "a function for a layer": (
        {"class": "flax.linen:Sequential", "fields": {"layers": [{"function": "os:system"}]}},
        "os:system is no function of jax.nn",
    ),
    "a partial function": (
        {"class": "flax.linen:Sequential", "fields": {"layers": [{"partial": {"function": "subprocess:call"}}]}},
        "subprocess:call is no function of jax.nn",
    ),
    "a function that writes": (
        {"class": "flax.linen:Sequential", "fields": {"layers": [{"function": "jax.numpy:save"}]}},
        "jax.numpy:save is no function of jax.nn",
    ),
    "a path through modules": (
        {"class": "flax.linen:Sequential", "fields": {"layers": [{"function": "jax.nn:initializers.os"}]}},
        "is no function of jax.nn",
    ),
    "a function in place of a model": ({"function": "jax.nn:relu"}, "is of no Linen module"),
    "a list": ([1], "must be an object"),
    "an unknown kind": ({"lambda": "x"}, "which this version does not know"),
    "an unknown model": ({"name": "resnet0", "options": {}}, "name must be one of"),
    "an unknown option": ({"name": "fcn", "options": {"depth": 3}}, "got depth"),
    "an unknown field": ({"class": "flax.linen:Dense", "fields": {"width": 3}}, "has no field 'width'"),
    "a missing field": ({"class": "flax.linen:Dense", "fields": {}}, "does not take the fields of the run"),
    "no fields": ({"class": "flax.linen:Dense"}, "must be described by name"),
    "a base class": ({"class": "flax.linen:Module", "fields": {}}, "is not the address of a class"),
    "a dtype": ({"name": "fcn", "options": {"dtype": {"dtype": "float33"}}}, "'float33' is no dtype"),
    "a graph": (
        {"class": "jaxcnn.graphs.network:GraphNetwork", "fields": {"graph": {"graph": {}}}},
        "text must be a graph in the format",
    ),
    "an inconsistent graph": (
        {
            "class": "jaxcnn.graphs.network:GraphNetwork",
            "fields": {"graph": {"graph": json.loads(GRAPH.to_json().replace('"softmax"', '"hardmax"'))}},
        },
        "the operation is unknown",
    ),
    "depth": (
        json.loads('{"class": "flax.linen:Sequential", "fields": {"layers": ' + "[" * 900 + "]" * 900 + "}}"),
        "",
    ),
}


@pytest.mark.errors
@pytest.mark.parametrize(("description", "message"), HOSTILE.values(), ids=HOSTILE)
def test_errors_of_hostile_descriptions(folder, tmp_path, description, message):
    """Nothing that a run folder names is imported or run."""
    (tmp_path / "checkpoints").symlink_to(folder / "checkpoints")
    (tmp_path / "metrics.jsonl").symlink_to(folder / "metrics.jsonl")
    (tmp_path / "run.json").write_text(json.dumps(stored(folder) | {"model": description}))
    before = set(sys.modules)
    with pytest.raises(ValueError, match=f"load_model: .*{message}") as caught:
        train.load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert "antigravity" not in sys.modules and "jaxcnn.cli.__main__" not in set(sys.modules) - before
