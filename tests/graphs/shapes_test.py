"""Operations of graphs that move values equal NumPy's functions."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.graphs import GraphError, Node
from jaxcnn.graphs.execution import run_node
from tests.graphs.cases import Case, array, check, compute, draw
from tests.support.untyped import untyped

X, Y, VECTOR = draw(3, 2, 4), draw(3, 5, 4), draw(6)
MAPS = draw(4, 6, 8)


def depth_to_space(x, b, order):
    """Moves channels one pixel at a time."""
    h, w, c = x.shape
    y = np.zeros((h * b, w * b, c // b**2))
    for i, j, k, channel in np.ndindex(h, w, b * b, c // b**2):
        place = k * (c // b**2) + channel if order == "block_first" else channel * b * b + k
        y[i * b + k // b, j * b + k % b, channel] = x[i, j, place]
    return y


def space_to_depth(x, b, order):
    """Moves pixels one value at a time."""
    h, w, c = x.shape
    y = np.zeros((h // b, w // b, c * b * b))
    for i, j, channel in np.ndindex(h, w, c):
        k = i % b * b + j % b
        y[i // b, j // b, k * c + channel if order == "block_first" else channel * b * b + k] = x[i, j, channel]
    return y


CASES = [
    Case("concat", [X, Y], lambda a, b: np.concatenate([a, b], 1), {"axis": 1}),
    Case("concat", [X, X, 2 * X], lambda *xs: np.concatenate(xs, -1)),
    Case("stack", [X, 2 * X], lambda *xs: np.stack(xs)),
    Case("stack", [X, 2 * X], lambda *xs: np.stack(xs, 3), {"axis": 3}),
    Case("stack", [X, 2 * X], lambda *xs: np.stack(xs, -2), {"axis": -2}),
    Case("split", [X], lambda x: [x[..., :1], x[..., 1:]], {"sizes": (1, 3)}, outputs=2),
    Case("split", [X], lambda x: [x[:1], x[1:2], x[2:]], {"sizes": (1, -1, 1), "axis": 0}, outputs=3),
    Case(
        "slice", [X], lambda x: x[1:, ::2, 3:0:-1], {"begin": (1, None, 3), "end": (None, 9, 0), "strides": (1, 2, -1)}
    ),
    Case("slice", [X], lambda x: x[1:2], {"begin": (1,), "end": (2,)}),
    Case("crop_like", [draw(6, 7, 2), X], lambda x, like: x[1:4, 2:4], {"offsets": (1, None)}),
    Case("crop_like", [draw(6, 7, 2), X], lambda x, like: x[1:4, 5:7], {"offsets": (1, 9), "clip": True}),
    Case("crop_like", [draw(3, 9), draw(3, 4)], lambda x, like: x[:, 3:7], {"offsets": (3,), "axes": (-1,)}),
    Case(
        "pad",
        [X],
        lambda x: np.pad(x, ((1, 2), (0, 0), (0, 1)), constant_values=3)[:, :, 1:],
        {"padding": ((1, 2), (0, 0), (-1, 1)), "value": 3.0},
    ),
    *(
        Case(
            "pad",
            [X],
            lambda x, mode=mode: np.pad(x, ((1, 2), (1, 0), (0, 0)), mode=untyped(mode)),
            {"padding": ((1, 2), (1, 0), (0, 0)), "mode": mode},
        )
        for mode in ("reflect", "symmetric", "edge")
    ),
    Case("reshape", [X], lambda x: x.reshape(4, 6), {"shape": (4, 6)}),
    Case("reshape", [X], lambda x: x.reshape(3, 8, 1), {"shape": (None, -1, 1)}),
    Case("reshape", [draw(1)], lambda x: x.reshape(()), {"shape": ()}),
    Case("flatten", [X], np.ravel),
    Case("flatten", [X], lambda x: x.reshape(3, 8), {"begin": 1}),
    Case("flatten", [X], lambda x: x.reshape(6, 4), {"begin": 0, "end": 1}),
    Case("flatten", [draw()], lambda x: x.reshape(1), label="a number"),
    Case("permute", [X], lambda x: x.transpose(2, 0, 1), {"axes": (2, 0, 1)}),
    Case("squeeze", [draw(1, 3, 1)], np.squeeze),
    Case("squeeze", [draw(1, 3, 1)], lambda x: x[0], {"axes": (0,)}),
    Case("squeeze", [draw(1, 3, 1)], lambda x: x[..., 0], {"axes": (-1,)}),
    *(
        Case("expand_dims", [X], lambda x, axis=axis: np.expand_dims(x, axis), {"axis": axis})
        for axis in (0, 2, 3, -1, -4)
    ),
    Case("tile", [X], lambda x: np.tile(x, (2, 1, 3)), {"repeats": (2, 1, 3)}),
    Case("repeat", [X], lambda x: np.repeat(x, 3, 1), {"axis": 1, "count": 3}),
    Case("broadcast_like", [draw(1, 4), X], lambda x, like: np.broadcast_to(x, like.shape)),
    Case("gather", [X], lambda x: x[:, [1, 0, -1]], {"axis": 1, "indices": (1, 0, -1)}),
    Case("gather", [X], lambda x: x[..., 2], {"axis": -1, "indices": 2}),
    Case("reverse", [X], lambda x: x[::-1, :, ::-1], {"axes": (0, -1)}),
    Case("shuffle_channels", [VECTOR], lambda x: x[[0, 2, 4, 1, 3, 5]], {"groups": 3}),
    *(
        Case(op, [MAPS], lambda x, order=order, want=want: want(x, 2, order), {"block": 2, "order": order})
        for op, want in (("depth_to_space", depth_to_space), ("space_to_depth", space_to_depth))
        for order in ("block_first", "channel_first")
    ),
    Case("cast", [X], lambda x: np.trunc(x).astype(np.int32), {"dtype": "int32"}),
    Case("cast", [X], lambda x: x, {"dtype": "float64"}),
]


@pytest.fixture(scope="module")
def found():
    """All cases as one program."""
    return compute(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_operation(case, found):
    check(case, found)


FAULTS = {
    "concat": ([X, Y], {"axis": 0}, ""),
    "stack": ([X, X], {"axis": 5}, "axis must be in"),
    "split": ([X], {"sizes": (1, 5)}, "must add up to the 4 entries of axis -1"),
    "slice": ([X], {"begin": (0,) * 4, "end": (1,) * 4}, "at most one number per axis"),
    "crop_like": ([X, Y], {}, "5 entries from 0 on do not fit"),
    "pad": ([X], {"padding": ((1, 1),)}, "must have a pair per axis"),
    "reshape": ([X], {"shape": (5, -1)}, r"an example of shape \(3, 2, 4\) cannot become \(5, -1\)"),
    "flatten": ([X], {"begin": 3}, "axis must be in"),
    "permute": ([X], {"axes": (0, 1)}, "axes must be an order of the 3 axes"),
    "squeeze": ([X], {"axes": (0,)}, ""),
    "expand_dims": ([X], {"axis": 9}, "axis"),
    "tile": ([X], {"repeats": (2**20, 2**20, 1)}, "too many"),
    "repeat": ([X], {"axis": 0, "count": 2**31}, "too many"),
    "broadcast_like": ([Y, X], {}, ""),
    "gather": ([X], {"indices": (3,)}, r"indices must be in \[-3, 3\)"),
    "shuffle_channels": ([X], {"groups": 3}, "4 channels cannot be 3 groups"),
    "depth_to_space": ([X], {"block": 3}, "cannot be blocks of 3 x 3"),
    "space_to_depth": ([X], {"block": 2}, "cannot be blocks of 2 x 2"),
    "cast": ([X], {"dtype": "number"}, ""),
}


@pytest.mark.parametrize("op", FAULTS)
def test_error_names_the_node(op):
    inputs, options, message = FAULTS[op]
    node = Node("layer 7", op, tuple("abc"[: len(inputs)]), ("y", "z") if op == "split" else (), options=options)
    with pytest.raises(GraphError, match=rf"^node 'layer 7' \({op}\): .*{message}"):
        run_node(node, [jnp.asarray(x) for x in inputs], {}, (2, 3))


@pytest.mark.parametrize("op", ["shuffle_channels", "depth_to_space", "space_to_depth", "repeat"])
@pytest.mark.parametrize("value", [0, -1, "two", None, 1.5, 2**40])
def test_errors_of_counts(op, value):
    name = {"shuffle_channels": "groups", "repeat": "count"}.get(op, "block")
    node = Node("layer 7", op, ("x",), options={name: value} | ({"axis": 0} if op == "repeat" else {}))
    with pytest.raises(GraphError, match="^node 'layer 7'"):
        run_node(node, [jnp.asarray(MAPS)], {}, (2, 3))


def test_error_of_a_wrong_number_of_outputs():
    node = Node("layer 7", "split", ("x",), ("a", "b", "c"), {"sizes": (1, 3)})
    with pytest.raises(GraphError, match="it computes 2 values for 3 outputs"):
        run_node(node, [jnp.asarray(X)], {"kernel": jnp.asarray(array(1))}, (2, 3))
