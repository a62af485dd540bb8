"""Prior boxes, against loops that follow the definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.graphs import Graph, GraphError, GraphNetwork, Input, Node


def boxes_by_loops(rows, columns, height, width, *, least, most=(), ratios=(), flip, offset=0.5, steps=None):
    """Follows SSD's definition: per pixel and smallest size first the square, then that of the mean, then ratios."""
    step_y, step_x = steps or (height / rows, width / columns)
    shapes = []
    for place, size in enumerate(least):
        shapes.append((size, size))
        if most:
            shapes.append((np.sqrt(size * most[place]),) * 2)
        for ratio in ratios:
            shapes.append((size * np.sqrt(ratio), size / np.sqrt(ratio)))
            if flip:
                shapes.append((size / np.sqrt(ratio), size * np.sqrt(ratio)))
    result = []
    for row in range(rows):
        for column in range(columns):
            x, y = (column + offset) * step_x, (row + offset) * step_y
            for w, h in shapes:
                result += [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
    return np.array(result)


def run(options, maps=(2, 3, 5), image=(20, 30, 3)):
    node = Node("priors", "prior_box", ("maps", "image"), options=options)
    network = GraphNetwork(Graph((Input("maps", maps), Input("image", image)), (node,), ("priors",)))
    return np.asarray(network.apply({}, {"maps": jnp.zeros((2, *maps)), "image": jnp.zeros((2, *image))}))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("steps", [None, (8.0, 9.0)])
def test_prior_boxes_equal_loops(flip, steps):
    options = {"min_sizes": (4.0, 6.0), "max_sizes": (9.0, 11.0), "aspect_ratios": (2.0, 3.0), "flip": flip}
    options |= {"variances": (0.1, 0.1, 0.2, 0.2), "step_size": steps}
    found = run(options)
    expected = boxes_by_loops(2, 3, 20, 30, least=(4, 6), most=(9, 11), ratios=(2, 3), flip=flip, steps=steps)
    np.testing.assert_allclose(found[1, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0, 1], np.tile([0.1, 0.1, 0.2, 0.2], len(expected) // 4), rtol=1e-6)


def test_prior_boxes_of_stated_image_size_are_clipped():
    found = run({"min_sizes": (30.0,), "clip": True, "offset": 0.0, "image_size": (40, 60)})[0]
    expected = boxes_by_loops(2, 3, 40, 60, least=(30,), flip=True, offset=0.0)
    assert expected.min() < 0
    np.testing.assert_allclose(found[0], np.clip(expected, 0, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], 0.1, rtol=1e-6)


def test_too_many_boxes_are_an_error():
    with pytest.raises(GraphError, match="too many"):
        run({"min_sizes": (1.0,) * 5000}, maps=(100, 100, 1))
