"""Caffe's networks: real files, files in its formats of all ages written here, damaged ones."""

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.formats.caffe.caffemodel import is_caffe, read_caffe
from tests.support import fuzzing
from tests.support import protobufs as pb
from tests.support.paths import FIXTURES
from tests.support.real_data import DATA, needs_data

LIMIT = 1 << 24


def read(path, content=None):
    if content is not None:
        path.write_bytes(content)
    assert is_caffe(path, path.read_bytes()[:4096])
    result = read_caffe(path, max_bytes=LIMIT)
    for array in result.tensors.values():
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return result


def values(*shape, dtype=np.float32):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def blob(array, *, old=False):
    """Writes the message of a blob, without its number."""
    if old:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(pb.number(field, size) for field, size in enumerate(sizes, 1))
    else:
        shape = pb.block(7, pb.packed(1, array.shape))
    return shape + pb.array(8 if array.dtype == np.float64 else 5, array)


def layer(name, kind, *blobs, parameters=b"", bottom=("x",)):
    parts = [pb.block(1, name), pb.block(2, kind), *(pb.block(3, text) for text in bottom), pb.block(4, name)]
    return pb.block(100, *parts, *(pb.block(7, blob(array)) for array in blobs), parameters)


def old_layer(name, kind, *blobs, parameters=b"", bottom=("x",)):
    parts = [*(pb.block(2, text) for text in bottom), pb.block(3, name), pb.block(4, name), pb.number(5, kind)]
    return pb.block(2, *parts, *(pb.block(6, blob(array, old=True)) for array in blobs), parameters)


# Files written here


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_with_weights(tmp_path, dtype):
    conv, bias = values(6, 3, 2, 5, dtype=dtype), values(6, dtype=dtype)
    matrix, slope = values(4, 7, dtype=dtype), values(4, dtype=dtype)
    content = pb.block(1, "net") + b"".join(
        [
            layer("conv", "Convolution", conv, bias, parameters=pb.block(106, pb.number(1, 6), pb.number(4, 2))),
            layer("ip", "InnerProduct", matrix, parameters=pb.block(117, pb.number(1, 4))),
            layer("turned", "InnerProduct", matrix, parameters=pb.block(117, pb.number(6, 1))),
            layer("prelu", "PReLU", slope),
            layer("one", "PReLU", np.array(0.5, dtype)),
            layer("scale", "Scale", slope, bias),
            layer("sum", "Scale", slope, bottom=("x", "y")),
            layer("bias", "Bias", slope),
            layer("embed", "Embed", matrix),
            layer("other", "Custom", conv, slope),
            layer("relu", "ReLU", parameters=pb.block(123, pb.single(1, 0.1))),
        ]
    )
    result = read(tmp_path / "net", content)
    expected = {
        "conv/weights": conv.transpose(2, 3, 1, 0),
        "conv/biases": bias,
        "ip/weights": matrix.T,
        "turned/weights": matrix,
        "prelu/slope": slope,
        "one/slope": np.array(0.5, dtype),
        "scale/scale": slope,
        "scale/bias": bias,
        "sum/bias": slope,
        "bias/bias": slope,
        "embed/weights": matrix,
        "other/blobs/0": conv,
        "other/blobs/1": slope,
    }
    assert list(result.tensors) == list(expected)
    for name, array in expected.items():
        assert result.tensors[name].dtype == dtype
        np.testing.assert_array_equal(result.tensors[name], array, err_msg=name)
    assert result.metadata["layouts"] == {"conv/weights": "OIHW", "ip/weights": "OI"}
    assert result.metadata["notes"] == [
        "The inputs of inner products stay in the order of Caffe's flattened images: channel, row, column."
    ]
    assert result.graph["name"] == "net" and result.graph["layers"][-1] == {
        **{"name": "relu", "type": "ReLU", "bottom": ["x"], "top": ["relu"]},
        "relu_param": {"negative_slope": np.float32(0.1)},
    }
    assert result.graph["layers"][0]["convolution_param"] == {"num_output": 6, "kernel_size": [2]}


def test_layers_of_older_files(tmp_path):
    conv, bias, matrix = values(6, 3, 2, 5), values(6), values(4, 7)
    content = old_layer("conv", 4, conv, bias, parameters=pb.block(10, pb.number(4, 2)))
    content += old_layer("ip", 14, matrix, bias[:4])
    content += old_layer("pool", 17, parameters=pb.block(19, pb.number(1, 1), pb.number(2, 3)))
    content = pb.block(1, "old") + content + pb.block(3, "data") + b"".join(pb.number(4, size) for size in (1, 3, 8, 8))
    result = read(tmp_path / "net", content)
    np.testing.assert_array_equal(result.tensors["conv/weights"], conv.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(result.tensors["conv/biases"], bias)
    np.testing.assert_array_equal(result.tensors["ip/weights"], matrix.T)
    np.testing.assert_array_equal(result.tensors["ip/biases"], bias[:4])
    assert [entry["type"] for entry in result.graph["layers"]] == ["Convolution", "InnerProduct", "Pooling"]
    assert result.graph["layers"][2]["pooling_param"] == {"pool": "AVE", "kernel_size": 3}
    assert result.graph["input"] == ["data"] and result.graph["input_dim"] == [1, 3, 8, 8]


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_kernels(tmp_path, multiplier):
    array = values(3 * multiplier, 1, 2, 2)
    content = layer("a", "Convolution", array, parameters=pb.block(106, pb.number(5, 3)))
    result = read(tmp_path / "net", content).tensors["a/weights"]
    assert result.shape == (2, 2, 3, multiplier)
    for channel in range(3):
        for j in range(multiplier):
            np.testing.assert_array_equal(result[:, :, channel, j], array[channel * multiplier + j, 0])


def test_grouped_and_transposed_kernels(tmp_path):
    array = values(6, 2, 2, 3)
    grouped = pb.block(106, pb.number(5, 3))
    content = layer("a", "Convolution", array, parameters=grouped) + layer("b", "Deconvolution", array)
    content += layer("c", "Deconvolution", values(3, 1, 2, 2), parameters=grouped)
    content += layer("d", "Convolution", values(4, 1, 2, 2))  # one channel, but no groups
    content += layer("e", "Convolution", values(4, 2, 2, 3, 5))
    result = read(tmp_path / "net", content)
    np.testing.assert_array_equal(result.tensors["a/weights"], array.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(result.tensors["b/weights"], array.transpose(2, 3, 0, 1))
    shapes = {name: result.tensors[f"{name}/weights"].shape for name in "cde"}
    assert shapes == {"c": (2, 2, 3, 1), "d": (2, 2, 1, 4), "e": (2, 3, 5, 2, 4)}
    layouts = {"a": "OIHW", "b": "IOHW", "c": "IOHW", "d": "OIHW", "e": "OIDHW"}
    assert result.metadata["layouts"] == {f"{name}/weights": layout for name, layout in layouts.items()}
    assert result.metadata["notes"] == [
        "a/weights: a grouped kernel, (kh, kw, in / group, out); groups: 3",
        "b/weights: a kernel of a deconvolution, (kh, kw, in, out / group); groups: 1",
    ]


@pytest.mark.parametrize(("factor", "inverse"), [(4.0, 0.25), (1.0, 1.0), (0.0, 0.0)])
def test_statistics_of_a_batch_normalization_are_divided_by_their_factor(tmp_path, factor, inverse):
    mean, variance = values(5), np.abs(values(5))
    content = layer("bn", "BatchNorm", mean, variance, np.array([factor], np.float32))
    result = read(tmp_path / "net", content)
    assert list(result.tensors) == ["bn/mean", "bn/variance"]
    np.testing.assert_array_equal(result.tensors["bn/mean"], mean * np.float32(inverse))
    np.testing.assert_array_equal(result.tensors["bn/variance"], variance * np.float32(inverse))
    assert result.metadata["notes"] == [f"bn: mean and variance are divided by the stored factor {factor:g}"]


def test_one_note_for_all_batch_normalizations(tmp_path):
    factors = {"first": 2.0, "second": 4.0, "third": 2.0}
    arrays = {name: np.array([each], np.float32) for name, each in factors.items()}
    layers = [layer(name, "BatchNorm", values(5), values(5), each) for name, each in arrays.items()]
    notes = read(tmp_path / "net", b"".join(layers)).metadata["notes"]
    assert notes == ["first and 2 others: mean and variance are divided by the stored factor 2 to 4"]


def test_mean_image(tmp_path):
    image = values(1, 3, 4, 5)
    result = read(tmp_path / "mean.binaryproto", blob(image, old=True))
    np.testing.assert_array_equal(result.tensors["mean"], image[0].transpose(1, 2, 0))
    assert result.metadata["format"] == "caffe-mean" and result.metadata["layouts"] == {"mean": "CHW"}


def test_description_equals_the_binary_form(tmp_path):
    text = b"""
        # A net.
        name: "net"
        input: "data"  input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 6 pad: 1 kernel_size: 3 weight_filler { type: "constant" value: 0 } } }
        layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 } }
        layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "pool" top: "sum"
          eltwise_param { operation: SUM coeff: 1 coeff: -1 } include { phase: TEST } }
    """
    filler = pb.block(7, pb.block(1, "constant"), pb.single(2, 0))
    binary = pb.block(1, "net") + pb.block(3, "data") + pb.block(8, pb.packed(1, [1, 3, 8, 8]))
    conv = pb.block(106, pb.number(1, 6), pb.number(3, 1), pb.number(4, 3), filler)
    binary += layer("conv", "Convolution", bottom=["data"], parameters=conv)
    pool = pb.block(121, pb.number(1, 0), pb.number(2, 2))
    binary += layer("pool", "Pooling", bottom=["conv"], parameters=pool)
    eltwise = pb.block(110, pb.number(1, 1), pb.single(2, 1), pb.single(2, -1)) + pb.block(8, pb.number(1, 1))
    binary += layer("sum", "Eltwise", bottom=["pool", "pool"], parameters=eltwise)
    description, net = read(tmp_path / "net.prototxt", text), read(tmp_path / "net", binary)
    assert description.graph == net.graph and description.tensors == {}
    assert description.metadata["format"] == "caffe-prototxt" and "no weights" in description.metadata["notes"][0]


def test_older_description_equals_the_older_binary_form(tmp_path):
    text = b"""
        name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 force_backward: true
        layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 weight_decay: 0 param: "w"
          convolution_param { num_output: 6 kernel_size: 2 bias_term: false } }
        layers { name: "sum" type: ELTWISE bottom: "conv" bottom: "conv" top: "sum" blob_share_mode: PERMISSIVE }
        layers { name: "loss" type: SOFTMAX_LOSS bottom: "sum" bottom: "label" top: "loss" loss_weight: 0.5
          include { phase: TRAIN max_level: 2 } loss_param { normalize: true } }
    """
    conv = pb.block(10, pb.number(1, 6), pb.number(4, 2), pb.number(2, 0))
    conv += pb.single(7, 1) + pb.single(8, 0) + pb.block(1001, "w")
    loss = pb.single(35, 0.5) + pb.block(32, pb.number(1, 0), pb.number(3, 2)) + pb.block(42, pb.number(2, 1))
    binary = pb.block(1, "old") + old_layer("conv", 4, parameters=conv, bottom=["data"])
    binary += old_layer("sum", 25, parameters=pb.number(1002, 1), bottom=["conv", "conv"])
    binary += old_layer("loss", 21, parameters=loss, bottom=["sum", "label"])
    binary += pb.block(3, "data") + b"".join(pb.number(4, size) for size in (1, 3, 8, 8)) + pb.number(5, 1)
    description, net = read(tmp_path / "net.prototxt", text), read(tmp_path / "net", binary)
    assert description.graph == net.graph
    assert [entry["bottom"] for entry in net.graph["layers"]] == [["data"], ["conv", "conv"], ["sum", "label"]]


def test_fields_that_may_occur_several_times_are_lists(tmp_path):
    text = b'layer { name: "a" type: "ReLU" param { lr_mult: 1 } loss_weight: 1 propagate_down: false }'
    spec = pb.block(6, pb.single(3, 1)) + pb.single(5, 1) + pb.number(11, 0)
    binary = pb.block(100, pb.block(1, "a"), pb.block(2, "ReLU"), spec)
    description, net = read(tmp_path / "net.prototxt", text), read(tmp_path / "net", binary)
    assert description.graph == net.graph
    assert net.graph["layers"][0]["param"] == [{"lr_mult": 1.0}]


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False), ("t", True), ("f", False), ("0", False)])
def test_every_spelling_of_true_and_false(tmp_path, word, value):
    text = f'layer {{ type: "Convolution" convolution_param {{ bias_term: {word} }} }}'
    layers = read(tmp_path / "net", text.encode()).graph["layers"]
    assert layers[0]["convolution_param"]["bias_term"] is value


def test_descriptions_that_begin_with_something_unusual(tmp_path):
    body = b'layer { name: "a" type: "ReLU" relu_param { negative_slope: +0.1 } }'
    beginnings = [b"debug_info: true\n", b"state { phase: TEST }\n", b"\xef\xbb\xbf", b"# Gr\xf6\xdfe\n"]
    beginnings += [b"# a long comment\n" * 400, b"\n" * 5000]
    for number, beginning in enumerate(beginnings):
        layers = read(tmp_path / f"{number}.prototxt", beginning + body).graph["layers"]
        assert layers[0]["relu_param"] == {"negative_slope": 0.1}, beginning[:20]


@pytest.mark.parametrize(
    ("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2"), (3, "<i4"), (4, "<u4"), (5, "?")], ids=str
)
def test_raw_values_and_further_fields_of_a_fork(tmp_path, kind, dtype):
    array = (values(6, 2, 3, 3) * 8).astype(dtype)
    raw = pb.block(7, pb.packed(1, array.shape)) + pb.number(10, kind) + pb.block(12, array.tobytes())
    content = pb.block(1, "net") + pb.number(11, 2) + pb.single(15, 1) + pb.block(17, "-1,-1,-1")
    content += pb.block(100, pb.block(1, "a"), pb.block(2, "Convolution"), pb.block(7, raw), pb.number(150, 2))
    result = read(tmp_path / "net", content).tensors["a/weights"]
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(result, array.transpose(2, 3, 1, 0))


def test_parameters_of_a_fork_under_a_number_of_others(tmp_path):
    other = pb.block(141, pb.number(3, 8))  # a whole number where Caffe has the filler of a bias
    result = read(tmp_path / "net", layer("a", "PReLU", values(2)) + layer("up", "Interp", parameters=other))
    assert result.graph["layers"][1] == {"name": "up", "type": "Interp", "bottom": ["x"], "top": ["up"]}
    assert result.metadata["notes"] == ["1 messages bias_param are of another kind than Caffe's and were left out."]


def test_older_description(tmp_path):
    text = b'layers { name: "a" type: CONVOLUTION convolution_param { kernel_size: 2 } } layers { type: SOFTMAX_LOSS }'
    layers = read(tmp_path / "net", text).graph["layers"]
    assert [entry["type"] for entry in layers] == ["Convolution", "SoftmaxWithLoss"]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (layer("a", "PReLU", values(2)) * 2, "two layers named 'a'"),
        (layer("a", "Convolution", values(2)), "expected the shape of a kernel"),
        (layer("a", "Convolution", values(4, 1, 1, 1), parameters=pb.block(106, pb.number(5, 3))), "has 3 groups"),
        (layer("a", "Convolution", values(4, 1, 1, 1), parameters=pb.block(106, pb.number(5, 0))), "has 0 groups"),
        (layer("a", "InnerProduct", values(2, 2, 2)), "expected a matrix"),
        (layer("a", "BatchNorm", values(2), values(2), values(2)), "expected one value"),
        (pb.block(100, pb.block(1, "a"), pb.block(7, pb.block(7, pb.packed(1, [3])), bytes(0))), "but holds 0"),
        (pb.block(100, pb.block(7, pb.block(7, pb.packed(1, [-1])), pb.array(5, values(1)))), "impossible shape"),
        (pb.block(100, pb.block(7, pb.block(7, pb.packed(1, [1 << 40] * 3)))), "but holds 0"),
        (pb.block(1, "net"), "no layer"),
        (blob(values(2, 3)), "expected an image"),
        (b"layer { name: 'x' }", "no layers, or layers without a type"),
        (b"layer { ", "expected the name of a field"),
        (b'layer { type: "a" convolution_param { bias_term: no } }', "bias_term must be true or false, got 'no'"),
        (b'layer { type: "a" convolution_param { pad: "1" } }', "pad must be an integer of at least 0, got '1'"),
        (b'layer { type: "a" convolution_param { pad: -1 } }', "pad must be an integer of at least 0, got -1"),
        (b'layer { type: "a" convolution_param: 3 }', "convolution_param must be a message, got 3"),
        (layer("a", "Convolution", parameters=pb.block(106, pb.block(1))), "does not fit its kind"),
        (pb.block(100, pb.block(7, pb.block(7, pb.packed(1, [1])), pb.block(12, bytes(4)))), "raw bytes of type None"),
        (pb.block(100, pb.block(7, pb.number(10, 2), pb.block(12, bytes(3)))), "3 raw bytes of type .FLOAT16."),
    ],
)
def test_impossible_files_are_refused(tmp_path, content, reason):
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(FormatError, match=reason):
        read_caffe(tmp_path / "net", max_bytes=LIMIT)


@pytest.mark.errors
def test_memory_is_bounded_and_missing_files_are_not_found(tmp_path):
    (tmp_path / "net").write_bytes(layer("a", "PReLU", values(100)))
    with pytest.raises(FormatError, match="more than is left of max_bytes=399"):
        read_caffe(tmp_path / "net", max_bytes=399)
    assert read_caffe(tmp_path / "net", max_bytes=400).tensors["a/slope"].shape == (100,)
    with pytest.raises(FileNotFoundError):
        read_caffe(tmp_path / "none", max_bytes=LIMIT)


def test_other_formats_are_not_taken_for_caffe(tmp_path):
    fixtures = FIXTURES / "tensorflow"
    others = [path for path in fixtures.rglob("*") if path.is_file()]
    np.save(tmp_path / "a.npy", values(3))
    np.savez(tmp_path / "b.npz", values(3))
    (tmp_path / "c").write_bytes(b"")
    (tmp_path / "d.yaml").write_text("name: net\nsteps: 3\n")
    (tmp_path / "tfhub_module.pb").write_bytes(b"\x08\x03")
    (tmp_path / "graph.pbtxt").write_text('node { name: "a" op: "NoOp" }')
    for path in [*others, *tmp_path.iterdir()]:
        assert not is_caffe(path, path.read_bytes()[:4096]), path


@pytest.mark.errors
@pytest.mark.parametrize("kind", ["net", "old", "mean", "text"])
def test_damaged_file(tmp_path, kind):
    conv = layer("conv", "Convolution", values(4, 2, 3, 3), values(4), parameters=pb.block(106, pb.packed(4, [3])))
    norm = layer("bn", "BatchNorm", values(4), values(4), np.ones(1, np.float32)) + layer(
        "ip", "InnerProduct", values(3, 4)
    )
    contents = {
        "net": pb.block(1, "net") + conv + norm,
        "old": old_layer("conv", 4, values(4, 2, 3, 3), values(4)) + old_layer("ip", 14, values(3, 4)),
        "mean": blob(values(1, 3, 6, 6), old=True),
        "text": b'name: "n"\nlayer { name: "a" type: "ReLU" bottom: "x" relu_param { negative_slope: 0.1 } }\n' * 3,
    }
    outcome = fuzzing.fuzz(read_caffe, contents[kind], tmp_path / "net", cases=40)
    assert outcome.refused and outcome.read


# Real files


@needs_data
@pytest.mark.parametrize("number", [1, 2, 3])
def test_real_face_detectors_equal_their_copies_for_tensorflow(number):
    result = read(DATA / "caffe" / f"mtcnn_det{number}.caffemodel")
    source = np.load(DATA / "tensorflow" / f"mtcnn_det{number}.npy", allow_pickle=True, encoding="latin1").item()
    tensors = dict(result.tensors)
    flattened = {"conv4": (64, 3, 3)} if number == 2 else {"conv5": (128, 3, 3)} if number == 3 else {}
    for name, parts in source.items():
        for part, expected in parts.items():
            found = tensors.pop(f"{name}/{'slope' if part == 'alpha' else part}")
            if part == "weights" and name in flattened:  # the copy flattens images as (row, column, channel)
                channels, height, width = flattened[name]
                found = found.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(expected.shape)
            np.testing.assert_array_equal(found, expected, err_msg=f"{name}/{part}")
    assert tensors.keys() <= {"conv5-3/weights", "conv5-3/biases"}  # landmarks, which the copy of the second lacks
    described = read(DATA / "caffe" / f"mtcnn_det{number}.prototxt").graph["layers"]
    kinds = {entry["name"]: entry["type"] for entry in result.graph["layers"]}
    assert all(kinds.get(entry["name"], entry["type"]) == entry["type"] for entry in described)


@needs_data
@pytest.mark.parametrize(("number", "net"), [(1, "pnet"), (2, "rnet"), (3, "onet")])
def test_real_face_detectors_equal_their_copies_for_pytorch(number, net):
    torch = pytest.importorskip("torch", reason="reads the same net's weights")
    source = torch.load(DATA / "pytorch" / f"mtcnn_{net}.pt", weights_only=True, map_location="cpu")
    tensors = read(DATA / "caffe" / f"mtcnn_det{number}.caffemodel").tensors
    layers = [name.removesuffix("/weights") for name in tensors if name.endswith("/weights")]
    kernels = sorted(name for name in source if name.endswith(".weight") and source[name].ndim == 4)
    compared = 0
    for name in kernels:
        layer_name = name.removesuffix(".weight").replace("_", "-")
        if layer_name in layers:  # height and width are exchanged there
            np.testing.assert_array_equal(tensors[f"{layer_name}/weights"], source[name].numpy().transpose(3, 2, 1, 0))
            np.testing.assert_array_equal(tensors[f"{layer_name}/biases"], source[name[:-6] + "bias"].numpy())
            compared += 1
    assert compared >= 3


@needs_data
def test_real_lenet():
    result = read(DATA / "caffe" / "lenet_iter_10000.caffemodel")
    shapes = {name: array.shape for name, array in result.tensors.items()}
    assert shapes == {
        **{"conv1/weights": (5, 5, 1, 20), "conv1/biases": (20,), "conv2/weights": (5, 5, 20, 50)},
        **{"conv2/biases": (50,), "ip1/weights": (800, 500), "ip1/biases": (500,)},
        **{"ip2/weights": (500, 10), "ip2/biases": (10,)},
    }
    kinds = [entry["type"] for entry in read(DATA / "caffe" / "lenet_train_test.prototxt").graph["layers"]]
    assert kinds[:6] == ["Data", "Data", "Convolution", "Pooling", "Convolution", "Pooling"]


@needs_data
def test_real_detector_with_depthwise_convolutions_is_its_copy_with_the_normalization_folded():
    torch = pytest.importorskip("torch", reason="reads the same net's weights")
    source = torch.load(DATA / "pytorch" / "ultraface_version-slim-320.pth", weights_only=True, map_location="cpu")
    tensors = read(DATA / "caffe" / "ultraface_slim-320.caffemodel").tensors
    kernels = [array for name, array in tensors.items() if name.endswith("/weights")]
    assert sum(array.shape[3] == 1 and array.shape[:2] == (3, 3) for array in kernels) >= 13
    layers = [name.removesuffix(".weight") for name, array in source.items() if array.ndim == 4]
    assert len(layers) == len(kernels) == 42
    for layer_name in layers:
        kernel = source[f"{layer_name}.weight"]
        stem, _, last = layer_name.rpartition(".")
        norm = f"{stem}.{int(last) + 1}" if last.isdigit() else ""
        if f"{norm}.running_var" in source:
            scale = source[f"{norm}.weight"] / (source[f"{norm}.running_var"] + 1e-5).sqrt()
            kernel = kernel * scale[:, None, None, None]
        expected = kernel.permute(2, 3, 0, 1) if kernel.shape[1] == 1 else kernel.permute(2, 3, 1, 0)
        close = {"rtol": 0, "atol": 1e-4 * float(kernel.abs().max())}
        alike = [array.shape == expected.shape and np.allclose(array, expected, **close) for array in kernels]
        assert sum(alike) == 1, layer_name
