"""Run folders that `zoo.load` loads, and other heads of their networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import pytest

from jaxcnn import data, models, train, zoo
from jaxcnn.graphs import Graph, GraphNetwork, Input, Node, Parameter
from tests.support.selection import daily
from tests.support.untyped import untyped

FIT = {"size": [8, 8], "channels": 3, "value_range": [-1, 1], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.25]}


def fit(folder, model, shape=(8, 8, 3), **options):
    x = jax.random.uniform(jax.random.key(0), (4, *shape))
    batch = {"image": x, "label": jnp.arange(4) % 3}
    train.fit(jax.random.key(0), model, optax.sgd(0.1), [batch], steps=2, run=folder, classes="abc", **options)
    return x


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    model = models.create("cnn", num_classes=3, features=(4,), kernel_sizes=(3,))
    return folder, model, fit(folder, model, preprocessing=FIT)


def test_a_run_folder_loads(run):
    folder, model, x = run
    found = zoo.load(folder)
    _, variables = train.load_model(folder)
    assert found.model == model and found.labels == ("a", "b", "c") and found.activation == "logits"
    assert found.input_shape == (8, 8, 3) and found.provenance["format"] == "run folder"
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(apply(found.variables, x), apply(variables, x))
    assert zoo.load(folder, labels=["x", "y", "z"]).labels == ("x", "y", "z")
    assert "run folder" in found._repr_html_() and "(8, 8, 3)" in found._repr_html_()


@pytest.mark.parametrize("fit_by", daily(["crop", "stretch"], ["crop"]))
def test_an_image_becomes_what_the_run_read(run, fit_by, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "image.png")
    small = data.ImageFolder((str(tmp_path / "image.png"),), (0,), ("",), size=(8, 8), fit=fit_by)[0]["image"]
    expected = (small / 127.5 - 1 - np.array(FIT["mean"])) / np.array(FIT["std"])
    fit(tmp_path / "run", models.create("fcn", num_classes=3, units=(4,)), preprocessing={**FIT, "fit": fit_by})
    found = zoo.load(tmp_path / "run")
    np.testing.assert_allclose(found.preprocess(image), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.preprocess(image / 255), expected, rtol=1e-5, atol=1e-5)
    stated = untyped(zoo.load(tmp_path / "run").preprocessing)
    nothing = np.full((8, 8, 3), 51, np.uint8)
    np.testing.assert_allclose(
        found.preprocess(nothing)[0, 0], (0.2 - np.array(stated.mean)) / np.array(stated.std), rtol=1e-4
    )


def test_a_run_on_digits_cuts_them_out(tmp_path):
    model = models.create("fcn", num_classes=3, units=(4,))
    reader = {"reader": "digit", "size": [42, 42], "channels": 1, "value_range": [0, 1]}
    fit(tmp_path / "run", model, (42, 42, 1), preprocessing=reader)
    paper = np.full((120, 90, 3), 250, np.uint8)
    paper[20:100, 40:48] = 10
    PIL.Image.fromarray(paper).save(tmp_path / "paper.png")
    found = zoo.load(tmp_path / "run").preprocess(paper)
    np.testing.assert_array_equal(found, data.read_digit(tmp_path / "paper.png"))


def test_another_head_keeps_all_other_parameters(run):
    folder, _, x = run
    found = zoo.load(folder)
    other = found.with_head(jax.random.key(1), 7)
    assert untyped(other.model.apply(other.variables, x)).shape == (4, 7) and other.labels is None
    assert other.activation == "logits"
    params = [one.variables["params"] for one in (found, other)]
    assert sorted(params[0]) == sorted(params[1])
    for name in params[0]:
        same = jax.tree.map(lambda a, b: a.shape == b.shape and bool((a == b).all()), *(one[name] for one in params))
        assert all(jax.tree.leaves(same)) == (name != "head"), name
    again = found.with_head(jax.random.key(1), 3)
    assert not (again.variables["params"]["head"]["kernel"] == params[0]["head"]["kernel"]).any()
    features = zoo.load(folder, head=None)
    assert features.activation == "features" and "head" not in features.variables["params"]
    pooled = untyped(features.model.apply(features.variables, x))
    head = params[0]["head"]
    logits = pooled @ head["kernel"] + head["bias"].reshape(1, -1)
    np.testing.assert_allclose(untyped(found.model.apply(found.variables, x)), logits, rtol=1e-5, atol=1e-5)
    back = features.with_head(jax.random.key(2), 5)
    assert untyped(back.model.apply(back.variables, x)).shape == (4, 5)


SMALL = {
    "fcn": {"units": (4,)},
    "gwap_cnn": {"features": (4,), "class_specific": False},
    "mobilenet": {"alpha": 0.25, "blocks": ((32, 2), (64, 1))},
    "st_fcn": {"units": (4,), "localizer_units": (4,)},
}


@pytest.mark.parametrize("name", SMALL)
def test_other_models_get_another_head(name):
    options = {"num_classes": 4, **SMALL[name]}
    model = models.create(name, **options)
    shape = (24, 24, 3)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    before = zoo.Pretrained(model, variables, activation="logits", input_shape=shape)
    bare = before.with_head(jax.random.key(0), None)
    assert bare.model == models.create(name, **{**options, "num_classes": None})
    old, new = (sum(leaf.size for leaf in jax.tree.leaves(one.variables["params"])) for one in (before, bare))
    assert new < old


def test_a_network_of_a_file_is_kept_by_a_run_folder(tmp_path):
    nodes = (
        Node("pool", "global_avg_pool", ("x",)),
        Node("fc", "dense", ("pool",), parameters={"kernel": "fc/kernel"}),
    )
    graph = Graph((Input("x", (8, 8, 3)),), nodes, ("fc",), (Parameter("fc/kernel", (3, 3)),))
    fit(tmp_path / "run", GraphNetwork(graph))
    found = zoo.load(tmp_path / "run")
    assert found.model == GraphNetwork(graph)
    assert found.with_head(jax.random.key(0), None).model.graph.outputs == ("features",)


def test_of_an_ensemble_the_best_member_is_loaded(tmp_path):
    x = jax.random.uniform(jax.random.key(0), (4, 4, 4, 1))
    batch = {"image": x, "label": jnp.arange(4) % 3}
    model, keys = models.create("fcn", num_classes=3, units=(4,)), jax.random.split(jax.random.key(0), 2)
    options = {"steps": 2, "evaluate": batch, "run": tmp_path / "run"}
    train.fit_ensemble(keys, model, lambda: optax.sgd(0.1), [batch], **options)
    found = zoo.load(tmp_path / "run")
    _, best = train.load_model(tmp_path / "run", member="best")
    jax.tree.map(np.testing.assert_array_equal, found.variables, best)
    assert "Of 2 members: the best." in found.provenance["notes"]


def test_errors_of_run_folders(run, tmp_path):
    folder, model, _ = run
    with pytest.raises(ValueError, match="options of a run folder must be labels or head, got outputs, mean"):
        zoo.load(folder, outputs=["a"], mean=[0.0])
    with pytest.raises(ValueError, match="options of a run folder must be labels or head, got channels, stem"):
        zoo.load(folder, channels=1, stem=8)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run\.json"):
        zoo.load(tmp_path)
    unknown = zoo.Pretrained(model, {"params": {}})
    with pytest.raises(ValueError, match="input_shape must be known to build 'cnn' again"):
        unknown.with_head(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="num_classes must be None or a positive integer, got 0"):
        zoo.load(folder).with_head(jax.random.key(0), 0)
    with pytest.raises(ValueError, match="preprocess: image must be one image"):
        zoo.load(folder).preprocess(np.zeros((2, 2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="must be uint8 in .* or floating in .* got other values"):
        zoo.load(folder).preprocess(np.full((2, 2, 3), 2.0))
