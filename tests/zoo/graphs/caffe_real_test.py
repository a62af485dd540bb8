"""Real networks of Caffe: their published numbers, and their twins in other formats."""

import gzip

import jax
import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from tests.support.real_data import DATA, needs_data

pytestmark = needs_data
CAFFE = DATA / "caffe"


def run(pretrained, x):
    return jax.jit(pretrained.model.apply)(pretrained.variables, x)


@pytest.mark.parametrize("graph", [None, CAFFE / "lenet_train_test.prototxt"], ids=["of the weights", "prototxt"])
def test_lenet_on_digits(graph):
    """The file says 1 / 256 as the scale; the size of the input follows from the weights."""
    lenet = zoo.load(CAFFE / "lenet_iter_10000.caffemodel", graph=graph)
    assert lenet.input_shape == (28, 28, 1) and lenet.activation == "logits"
    images, labels = (
        np.frombuffer(gzip.decompress((DATA / "mnist" / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    images = images.reshape(-1, 28, 28)[:500]
    x = np.stack([lenet.preprocess(image) for image in images])
    np.testing.assert_array_equal(x[..., 0], images / np.float32(256))
    right = np.asarray(run(lenet, x)).argmax(-1) == labels[:500]
    assert right.sum() == 496


def test_half_resnet_on_photographs():
    """The second output is the share of what none of these photographs shows."""
    resnet = zoo.load(CAFFE / "resnet_50_1by2.caffemodel", mean=(104, 117, 123))
    assert resnet.activation == "probabilities" and resnet.model.graph.outputs == ("prob",)
    files = sorted((DATA / "imagenet_samples" / "images").iterdir())[::40]
    x = np.stack([resnet.preprocess(np.asarray(PIL.Image.open(file).convert("RGB"))) for file in files])
    assert x.shape[1:] == (224, 224, 3)
    second = np.asarray(run(resnet, x))[:, 1]
    assert second.max() <= 0.06, second


# Twins in PyTorch: the same weights through PyTorch's own operations


def _mtcnn_in_pytorch(weights, x):
    """Computes facenet-pytorch's nets: the images and kernels are transposed, and flattened as column, row, channel."""
    torch = pytest.importorskip("torch")
    functional, found = torch.nn.functional, {}
    pools = {1: ((1, 2),), 2: ((1, 3), (2, 3)), 3: ((1, 3), (2, 3), (3, 2))}
    number = 1 if "conv4_1.weight" in weights else 3 if "conv4.weight" in weights else 2
    for i in range(1, 5):
        if f"conv{i}.weight" not in weights:
            break
        x = functional.conv2d(x, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"])
        x = functional.prelu(x, weights[f"prelu{i}.weight"])
        if size := dict(pools[number]).get(i):
            x = functional.max_pool2d(x, size, 2, ceil_mode=True)
    if number == 1:
        for i, name in ((1, "prob1"), (2, "conv4-2")):
            found[name] = functional.conv2d(x, weights[f"conv4_{i}.weight"], weights[f"conv4_{i}.bias"])
    else:
        last = 4 if number == 2 else 5
        x = x.permute(0, 3, 2, 1).flatten(1)
        x = functional.linear(x, weights[f"dense{last}.weight"], weights[f"dense{last}.bias"])
        x = functional.prelu(x, weights[f"prelu{last}.weight"])
        for i in (1, 2, 3)[:number]:
            name = "prob1" if i == 1 else f"conv{last + 1}-{i}"
            found[name] = functional.linear(x, *(weights[f"dense{last + 1}_{i}.{one}"] for one in ("weight", "bias")))
    return {**found, "prob1": found["prob1"].softmax(1)}


@pytest.mark.parametrize(("number", "net", "size"), [(1, "pnet", 37), (2, "rnet", 24), (3, "onet", 48)])
def test_face_detectors_equal_pytorch(number, net, size):
    torch = pytest.importorskip("torch")
    mtcnn = zoo.load(CAFFE / f"mtcnn_det{number}.caffemodel")
    x = np.random.default_rng(number).uniform(-1, 1, (2, size, size + 9 * (number == 1), 3)).astype(np.float32)
    found = run(mtcnn, x)
    weights = torch.load(DATA / "pytorch" / f"mtcnn_{net}.pt", weights_only=True)
    expected = _mtcnn_in_pytorch(weights, torch.from_numpy(x.transpose(0, 3, 2, 1).copy()))
    assert set(found) == set(expected)
    for name, want in expected.items():
        want = want.numpy().transpose(0, 3, 2, 1) if want.ndim == 4 else want.numpy()
        np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-4 * abs(want).max(), err_msg=name)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_face_detectors_equal_tensorflow_weights(number):
    """The copies for TensorFlow, whose inner products read (row, column, channel), through the same network."""
    mtcnn = zoo.load(CAFFE / f"mtcnn_det{number}.caffemodel")
    copies = np.load(DATA / "tensorflow" / f"mtcnn_det{number}.npy", allow_pickle=True, encoding="latin1").item()
    roles, params = {"weights": "kernel", "biases": "bias", "alpha": "slope"}, {}
    for name, parts in copies.items():
        params[name] = {roles[part]: array for part, array in parts.items()}
    if number > 1:
        dense, channels = ("conv4", 64) if number == 2 else ("conv5", 128)
        kernel = params[dense]["kernel"].reshape(3, 3, channels, -1)
        params[dense]["kernel"] = kernel.transpose(2, 0, 1, 3).reshape(9 * channels, -1)
    size = (12, 24, 48)[number - 1]
    x = np.random.default_rng(number).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    twin = jax.jit(mtcnn.model.apply)({"params": params}, x)
    for name, want in run(mtcnn, x).items():
        np.testing.assert_allclose(twin[name], want, rtol=0, atol=1e-4 * abs(np.asarray(want)).max(), err_msg=name)


def _ultraface_in_pytorch(weights, x):
    """Computes the slim net's boxes and scores; batch normalization is not folded there."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def convolve(x, name, **options):
        groups = x.shape[1] if weights[f"{name}.weight"].shape[1] == 1 else 1
        return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), groups=groups, **options)

    def block(x, convolution, norm, **options):
        x = convolve(x, convolution, **options)
        parts = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(functional.batch_norm(x, *parts))

    def separable(x, name, **options):
        return convolve(functional.relu(convolve(x, f"{name}.0", padding=1, **options)), f"{name}.2")

    maps = []
    for i, stride in enumerate((2, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1)):
        x = block(x, f"base_net.{i}.0", f"base_net.{i}.1", stride=stride, padding=1)
        x = block(x, f"base_net.{i}.3", f"base_net.{i}.4") if i else x
        maps += [x] if i in (7, 10, 12) else []
    x = functional.relu(convolve(x, "extras.0.0"))
    maps.append(functional.relu(separable(x, "extras.0.2", stride=2)))
    found = {}
    for key, name, size in (("boxes", "regression_headers", 4), ("scores", "classification_headers", 2)):
        heads = [separable(x, f"{name}.{i}") for i, x in enumerate(maps[:3])]
        heads.append(convolve(maps[3], f"{name}.3", padding=1))
        found[key] = torch.cat([y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, size) for y in heads], 1)
    return {"boxes": found["boxes"], "scores": found["scores"].softmax(2)}


@pytest.mark.nightly
def test_ultraface_equals_pytorch():
    """Its batch norms are folded for Caffe; heads are permuted, reshaped and joined in Caffe's order."""
    torch = pytest.importorskip("torch")
    ultraface = zoo.load(CAFFE / "ultraface_slim-320.caffemodel")
    assert ultraface.model.graph.outputs == ("boxes", "scores") and ultraface.input_shape == (240, 320, 3)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 240, 320, 3)).astype(np.float32)
    weights = torch.load(DATA / "pytorch" / "ultraface_version-slim-320.pth", weights_only=True, map_location="cpu")
    expected = _ultraface_in_pytorch(weights, torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    found = run(ultraface, x)
    for name, want in expected.items():
        assert found[name].shape == want.shape == (2, 4420, {"boxes": 4, "scores": 2}[name])
        np.testing.assert_allclose(found[name], want.numpy(), rtol=0, atol=1e-4 * float(want.abs().max()))
