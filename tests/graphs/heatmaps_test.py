"""Heat maps: class activation maps against their definition, gradient-based ones against those."""

import jax
import numpy as np
import pytest

from jaxcnn import graphs, models
from jaxcnn.graphs import Graph, GraphNetwork, Input, Node, Parameter
from tests.support.selection import daily
from tests.support.untyped import untyped

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
CLASSES = np.array([[0, 4], [2, 2]])


def conv(name, value, shape, **options):
    node = Node(
        name, "conv", (value,), options=options, parameters={"kernel": f"{name}/kernel", "bias": f"{name}/bias"}
    )
    return node, [Parameter(f"{name}/kernel", shape), Parameter(f"{name}/bias", shape[-1:])]


def network(*ends, outputs=("prob",), parameters=()):
    """Builds maps "maps" (4, 4, 6) from two branches, and what the test puts behind them."""
    first, own = conv("conv1", "x", (3, 3, 3, 6), strides=2, padding="SAME")
    second, more = conv("conv2", "relu1", (1, 1, 6, 6))
    nodes = (first, Node("relu1", "relu", ("conv1",)), second, Node("maps", "add", ("relu1", "conv2")), *ends)
    graph = Graph((Input("x", (8, 8, 3)),), nodes, outputs, (*own, *more, *parameters))
    model = GraphNetwork(graph)
    variables = jax.jit(model.init)(jax.random.key(0), X)
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return model, tree.unflatten([jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])


def dense(name, value, shape):
    node = Node(name, "dense", (value,), parameters={"kernel": f"{name}/kernel", "bias": f"{name}/bias"})
    return node, [Parameter(f"{name}/kernel", shape), Parameter(f"{name}/bias", shape[-1:])]


def pooled(pool):
    fc, own = dense("fc", "flat", (6, 5))
    ends = (pool, Node("drop", "dropout", ("pool",), options={"rate": 0.5}), Node("flat", "flatten", ("drop",)))
    return network(*ends, fc, Node("prob", "softmax", ("fc",)), parameters=own)


POOLS = {
    "global": Node("pool", "global_avg_pool", ("maps",)),
    "window": Node("pool", "avg_pool", ("maps",), options={"window": 4}),
    "mean": Node("pool", "reduce_mean", ("maps",), options={"axes": (0, 1), "keepdims": True}),
}


def values(model, variables, *names):
    return model.clone(outputs=names).apply(variables, X)


@pytest.mark.parametrize("pool", daily(POOLS, ["window", "mean"]))
def test_maps_of_a_pooled_network_sum_to_the_logit_less_the_bias(pool):
    model, variables = pooled(POOLS[pool])
    found = untyped(values(model, variables, "maps", "fc"))
    kernel, bias = variables["params"]["fc"]["kernel"], variables["params"]["fc"]["bias"]
    maps = graphs.compute_heat_maps(model, variables, X, classes=CLASSES)
    by_hand = np.stack([np.asarray(found["maps"][i]) @ np.asarray(kernel)[:, CLASSES[i]] for i in range(2)])
    np.testing.assert_allclose(maps, by_hand, rtol=1e-5, atol=1e-5)
    logits = np.take_along_axis(np.asarray(found["fc"]) - np.asarray(bias), CLASSES, -1)
    np.testing.assert_allclose(maps.mean((1, 2)), logits, rtol=1e-5, atol=1e-5)


def test_gradient_maps_equal_class_activation_maps_where_both_exist():
    model, variables = pooled(POOLS["global"])
    both = [graphs.compute_heat_maps(model, variables, X, classes=CLASSES, layer=layer) for layer in (None, "maps")]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-4, atol=1e-5)


def test_maps_that_are_pooled_themselves_average_to_the_logit():
    """As in SqueezeNet: a 1x1 convolution to the classes, rectified, pooled."""
    last, own = conv("conv10", "maps", (1, 1, 6, 5))
    ends = (last, Node("relu10", "relu", ("conv10",)), Node("pool", "global_avg_pool", ("relu10",)))
    model, variables = network(*ends, Node("prob", "softmax", ("pool",)), parameters=own)
    maps = graphs.compute_heat_maps(model, variables, X, classes=CLASSES)
    logits = np.take_along_axis(np.asarray(values(model, variables, "pool")), CLASSES, -1)
    np.testing.assert_allclose(maps.mean((1, 2)), logits, rtol=1e-5, atol=1e-5)


def test_gradient_maps_weigh_channels_by_the_sum_of_their_gradients():
    """A dense layer on flattened maps, as in LeNet, has one weight per pixel and channel."""
    fc, own = dense("fc", "flat", (96, 5))
    model, variables = network(Node("flat", "flatten", ("maps",)), fc, outputs=("fc",), parameters=own)
    features = np.asarray(values(model, variables, "maps"))
    weights = np.asarray(variables["params"]["fc"]["kernel"]).reshape(16, 6, 5).sum(0)
    by_hand = np.stack([features[i] @ weights[:, CLASSES[i]] for i in range(2)])
    maps = graphs.compute_heat_maps(model, variables, X, classes=CLASSES)
    np.testing.assert_allclose(maps, by_hand, rtol=1e-4, atol=1e-4)
    jitted = jax.jit(lambda variables, x, classes: graphs.compute_heat_maps(model, variables, x, classes=classes))
    np.testing.assert_allclose(jitted(variables, X, CLASSES), maps, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        graphs.compute_heat_maps(model, variables, X[0], classes=CLASSES[0]), maps[0], rtol=1e-4, atol=1e-4
    )


def test_maps_are_not_taken_from_values_in_the_order_of_a_source_of_channels_first():
    move, flat = Node("moved", "permute", ("maps",), options={"axes": (2, 0, 1)}), Node("flat", "flatten", ("moved",))
    fc, own = dense("fc", "flat", (96, 5))
    model, variables = network(move, flat, fc, outputs=("fc",), parameters=own)
    features = np.asarray(values(model, variables, "maps"))
    weights = np.asarray(variables["params"]["fc"]["kernel"]).reshape(6, 16, 5).sum(1)
    by_hand = np.stack([features[i] @ weights[:, CLASSES[i]] for i in range(2)])
    maps = graphs.compute_heat_maps(model, variables, X, classes=CLASSES)
    np.testing.assert_allclose(maps, by_hand, rtol=1e-4, atol=1e-4)


def test_the_most_probable_class_is_taken_by_default():
    model, variables = pooled(POOLS["global"])
    best = np.asarray(model.apply(variables, X)).argmax(-1)[:, None]
    found = [graphs.compute_heat_maps(model, variables, X, classes=classes) for classes in (None, best)]
    assert found[0].shape == (2, 4, 4, 1)
    np.testing.assert_array_equal(found[0], found[1])


def test_a_network_without_maps_has_the_gradient_of_the_image():
    fc, own = dense("fc", "flat", (192, 5))
    graph = Graph((Input("x", (8, 8, 3)),), (Node("flat", "flatten", ("x",)), fc), ("fc",), tuple(own))
    model = GraphNetwork(graph)
    variables = model.init(jax.random.key(0), X)
    kernel = np.abs(np.asarray(variables["params"]["fc"]["kernel"])).reshape(8, 8, 3, 5).sum(2)
    maps = graphs.compute_heat_maps(model, variables, X, classes=CLASSES)
    np.testing.assert_allclose(maps[0], kernel[..., CLASSES[0]], rtol=1e-5)


def test_other_modules_have_the_maps_of_their_last_layer():
    model = models.create("mobilenet", num_classes=5, alpha=0.25, blocks=((32, 2), (64, 1)))
    x = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    compute = jax.jit(lambda variables, x: graphs.compute_heat_maps(model, variables, x, classes=CLASSES))
    maps = compute(variables, x)
    assert maps.shape == (2, 4, 4, 2)
    logits = np.take_along_axis(np.asarray(jax.jit(model.apply)(variables, x)), CLASSES, -1)
    np.testing.assert_allclose(maps.mean((1, 2)), logits, rtol=1e-4, atol=1e-5)
    plain = models.create("fcn", num_classes=5, units=(4,))
    params = jax.jit(plain.init)(jax.random.key(1), x)
    shape = jax.eval_shape(lambda params, x: graphs.compute_heat_maps(plain, params, x, train=False), params, x).shape
    assert shape == (2, 16, 16, 1)


def test_errors_of_heat_maps():
    model, variables = pooled(POOLS["global"])
    detector = model.clone(outputs=("maps", "conv1"))
    for call, message in (
        (
            lambda: graphs.compute_heat_maps(detector, variables, X),
            r"its outputs are maps \(4, 4, 6\), conv1 \(4, 4, 6\)",
        ),
        (lambda: graphs.compute_heat_maps(model, variables, X[0, 0]), r"x must be images \(\*b, h, w, c\), floating"),
        (
            lambda: graphs.compute_heat_maps(model, variables, X, classes=CLASSES[0]),
            r"classes must be integers \(2, k\)",
        ),
        (
            lambda: graphs.compute_heat_maps(model, variables, X, layer="fc"),
            r"layer must be a layer of maps \(h, w, c\)",
        ),
        (lambda: graphs.compute_heat_maps(model, variables, X, layer="mapz"), "did you mean 'maps'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    autoencoder = models.create("cnn").__class__
    with pytest.raises(ValueError, match="layer must be None, except for networks of files"):
        graphs.compute_heat_maps(autoencoder(), {}, X, layer="conv1")
