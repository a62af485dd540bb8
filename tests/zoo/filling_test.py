"""Variables filled with the tensors of a file."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.zoo.filling import fill
from tests.support.untyped import untyped


def test_error_lists_everything_at_once():
    variables = {"params": {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2), "c": jnp.zeros(1)}}
    tensors = {"params/a": np.zeros((3, 2), np.float32), "params/c": np.zeros(1, np.int32), "x": np.zeros(1)}
    message = (
        r"fill: tensors must be one per variable and of its shape, got missing 'params/b'; unexpected 'x'; "
        r"'params/a' float32\(3, 2\) in place of float32\(2, 3\); 'params/c' int32\(1,\) in place of float32\(1,\)\."
    )
    with pytest.raises(ValueError, match=message):
        fill(variables, tensors)


def test_filling_converts_to_the_dtype_of_the_variable():
    filled = fill({"a": jnp.zeros(2, jnp.bfloat16)}, {"a": np.array([1, 2], np.float64)})
    assert filled["a"].dtype == jnp.bfloat16 and filled["a"].tolist() == [1, 2]


def test_error_for_tensors_without_names():
    with pytest.raises(ValueError, match="fill: tensors must be a mapping"):
        fill({}, untyped([1]))
