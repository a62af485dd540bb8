"""Representations of what holds many arrays are short, in a shell and in a notebook."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import data, report, train, zoo
from jaxcnn._representation import short_repr

BATCH = {"image": jnp.eye(64), "label": jnp.arange(64)}


@pytest.fixture(scope="module")
def result():
    optimizer = optax.adam(0.1)
    return train.fit(
        jax.random.key(0), nn.Dense(64), optimizer, [BATCH], steps=20, log_every=1, evaluate=BATCH, evaluate_every=1
    )


def test_a_result_and_its_state_are_described_by_counts(result):
    assert repr(result.state).startswith("State(step=20, key=key<fry>(), params={2 arrays, 4,160 values}, ")
    assert len(repr(result)) < 700 and "evaluation={'accuracy': 1, 'loss': " in repr(result)
    page = result._repr_html_()
    assert "<table>" in page and "<td" in page and "4,160" in page and len(page) < 2000


def test_states_without_values_are_described_too(result):
    traced = []
    jax.eval_shape(lambda state: traced.append(repr(state)) or state.step, result.state)
    assert "step=int32()" in traced[0]
    gone = dataclasses.replace(result.state, step=jnp.array(3))
    gone.step.delete()
    assert repr(gone).startswith("State(step=int32(), ")


def test_checkpoints_records_and_data_are_described_by_counts(result, tmp_path):
    zoo.save(result.variables, tmp_path / "w")
    checkpoint = zoo.read(tmp_path / "w")
    assert repr(checkpoint).startswith("Checkpoint(tensors={2 arrays, 4,160 values}, metadata={'format': 'safetensors'")
    assert "params/kernel" in checkpoint._repr_html_() and "(64, 64)" in checkpoint._repr_html_()
    many = zoo.Checkpoint({f"<{i}>": np.zeros(2) for i in range(30)}, {"format": "x"})
    assert "and 10 more" in many._repr_html_() and "&lt;19&gt;" in many._repr_html_()
    assert (
        repr(zoo.records(source="keras")).startswith("<160 records: keras/mobilenet_v1_0.25_128, ")
        and len(repr(zoo.records())) < 200
    )
    generator = data.distorted(*data.digits(size=20), kind="R", canvas=42)
    assert "images=float32(1437, 20, 20, 1)" in repr(generator) and len(repr(generator.stream(4))) < 600
    folder = data.ImageFolder(tuple(f"{i}.png" for i in range(1000)), (0,) * 1000, ("a",))
    assert repr(folder).startswith(
        "ImageFolder(paths=('0.png', ... 1,000 items), labels=(0, ... 1,000 items), classes=('a',)"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (np.float32(2), "2"),
        (jnp.ones(3), "float32(3,)"),
        (np.array(5), "5"),
        ({"a": {"b": np.ones((2, 2))}}, "{1 array, 4 values}"),
        ({"a": 1, "b": "x"}, "{'a': 1, 'b': 'x'}"),
        ([], "[]"),
        ((1,), "(1,)"),
        (list(range(9)), "[0, ... 9 items]"),
        (None, "None"),
        ("x" * 1000, "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    ],
)
def test_values_of_fields(value, text):
    kind = dataclasses.make_dataclass("Kind", ["field"])
    assert short_repr(kind(value)) == f"Kind(field={text})"


def test_figures_display_in_notebooks():
    figure = report.confusion({"net": np.eye(2, dtype=int)}, classes=["a", "b"])
    drawn = getattr(figure, "_repr_png_")()  # noqa: B009
    assert drawn.startswith(b"\x89PNG") and len(drawn) > 1000
