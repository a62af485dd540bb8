"""TensorFlow Lite's models: files that its converter wrote, real ones, damaged ones."""

import struct

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.formats.tensorflow.checkpoint_files import read_tensorflow_checkpoint
from jaxcnn.zoo.formats.tensorflow.tflite_file import is_tflite, read_tflite
from tests.support import fuzzing, paths
from tests.support.real_data import DATA, needs_data

FIXTURES = paths.FIXTURES / "tensorflow"
LIMIT = 1 << 24
SHAPES = {"conv": (3, 2, 2, 4), "depthwise": (2, 3, 4, 2), "dense": (32, 3)}


def values(seed, shape):
    return np.sin(0.7 * np.arange(np.prod(shape, dtype=int)) + seed).reshape(shape).astype(np.float32)


def read(path):
    assert is_tflite(path, path.read_bytes()[:4096])
    result = read_tflite(path, max_bytes=LIMIT)
    for array in result.tensors.values():
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return result


def weights(result):
    """Returns kernel and bias of each layer of the small net."""
    found = {}
    for operator in result.graph[0]["operators"]:
        layer = {"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "dense"}.get(operator["op"])
        if layer:
            found[layer] = operator["inputs"][1:3]
    widened = {op["outputs"][0]: op["inputs"][0] for op in result.graph[0]["operators"] if op["op"] == "DEQUANTIZE"}
    return {layer: [result.tensors[widened.get(name, name)] for name in names] for layer, names in found.items()}


@pytest.mark.parametrize(("name", "dtype", "error"), [("float", "float32", 0), ("float16", "float16", 5e-4)])
def test_small_net_in_floats(name, dtype, error):
    result = read(FIXTURES / f"{name}.tflite")
    seeds = iter(range(31, 37))
    for layer, (kernel, bias) in weights(result).items():
        assert kernel.dtype == bias.dtype == dtype and kernel.shape == SHAPES[layer]
        np.testing.assert_allclose(kernel, values(next(seeds), kernel.shape), atol=error, rtol=0)
        np.testing.assert_allclose(bias, values(next(seeds), bias.shape), atol=error, rtol=0)
    assert sorted(result.metadata["layouts"].values()) == ["1HW(C*M)", "OHWI", "OI"]
    assert result.metadata["notes"] == [] and result.metadata["quantization"] == {}


def test_small_net_in_integers():
    result = read(FIXTURES / "int8.tflite")
    seeds = iter(range(31, 37))
    for layer, (kernel, bias) in weights(result).items():
        assert kernel.dtype == bias.dtype == np.float32 and kernel.shape == SHAPES[layer]
        np.testing.assert_allclose(kernel, values(next(seeds), kernel.shape), atol=0.5 / 127 + 1e-6, rtol=0)
        np.testing.assert_allclose(bias, values(next(seeds), bias.shape), atol=2e-4, rtol=0)
    assert result.metadata["notes"][0].startswith("6 quantized tensors are dequantized")
    kinds = sorted(entry["dtype"] for entry in result.metadata["quantization"].values())
    assert kinds == ["int32"] * 3 + ["int8"] * 3


def test_graph_of_the_small_net():
    (graph,) = read(FIXTURES / "float.tflite").graph
    assert [operator["op"] for operator in graph["operators"]] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "MAX_POOL_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    conv, depthwise, pool, _, _, softmax = (operator["options"] for operator in graph["operators"])
    assert conv == {
        **{"padding": "VALID", "stride_w": 1, "stride_h": 1, "activation": "RELU"},
        **{"dilation_w": 1, "dilation_h": 1},
    }
    assert depthwise["depth_multiplier"] == 2 and depthwise["stride_h"] == 2
    assert pool["padding"] == "SAME" and pool["filter_w"] == 2 and softmax == {"beta": 1.0}
    assert graph["operators"][0]["inputs"][0] == graph["inputs"][0]
    assert graph["operators"][-1]["outputs"] == graph["outputs"]
    assert graph["tensors"][graph["inputs"][0]] == {
        **{"shape": (1, 8, 8, 2), "dtype": "float32", "quantization": {}},
        "signature": (),
    }


@pytest.mark.errors
def test_memory_is_bounded():
    with pytest.raises(FormatError, match="more than is left of max_bytes=100"):
        read_tflite(FIXTURES / "float.tflite", max_bytes=100)


@pytest.mark.errors
def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.tflite"
    with pytest.raises(FileNotFoundError):
        read_tflite(path, max_bytes=LIMIT)
    beyond = b"\xff" * 4 + b"TFL3" * 9
    for content, reason in ((b"", "is empty"), (b"\0" * 64, "identifier"), (beyond, "extends beyond")):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=reason):
            read_tflite(path, max_bytes=LIMIT)


@needs_data
def test_real_quantized_model():
    result = read(DATA / "tensorflow" / "mobilenet_v1_0.25_128_quant.tflite")
    kernels = {name: result.tensors[name].shape for name in result.metadata["layouts"]}
    assert len(kernels) == 28
    depthwise = [shape for name, shape in kernels.items() if result.metadata["layouts"][name].startswith("1HW")]
    assert len(depthwise) == 13 and all(shape[:2] == (3, 3) and shape[3] == 1 for shape in depthwise)
    assert sorted(kernels.values())[0] == (1, 1, 8, 16) and (1, 1, 256, 1001) in kernels.values()
    assert (3, 3, 3, 8) in kernels.values()
    for name, entry in result.metadata["quantization"].items():
        array = result.tensors[name]
        steps = array.astype(np.float64) / entry["scale"] + entry["zero_point"]
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
        assert array.dtype == np.float32
        if entry["dtype"] == "uint8":
            assert np.round(steps).min() >= 0 and np.round(steps).max() <= 255


@needs_data
def test_real_float_model_is_its_checkpoint_with_the_normalization_folded():
    result = read(DATA / "tensorflow" / "ultraface_slim-320_float.tflite")
    source = read_tensorflow_checkpoint(DATA / "tensorflow" / "ultraface_slim_savedmodel", max_bytes=LIMIT).tensors
    compared = 0
    for name, layout in result.metadata["layouts"].items():
        layer = name.partition(";")[0].removeprefix("functional_1/").rpartition("/")[0]
        norm = layer.rpartition("_")[0]
        stem, _, number = norm.rpartition(".")
        norm = f"{stem}.{int(number) + 1}_bn" if number.isdigit() else ""
        kernel = source.get(f"{layer}/depthwise_kernel" if layout.startswith("1") else f"{layer}/kernel")
        if kernel is None or f"{norm}/gamma" not in source:
            continue
        scale = source[f"{norm}/gamma"] / np.sqrt(source[f"{norm}/moving_variance"] + 1e-5)
        expected = kernel * (scale[:, None] if layout.startswith("1") else scale)
        np.testing.assert_allclose(result.tensors[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        compared += 1
    assert compared >= 10


# A model of one tensor, written here


class Writer:
    """A flatbuffer that grows behind; tables have fields of eight bytes."""

    def __init__(self):
        self.data = bytearray(b"\0\0\0\0TFL3")

    def put(self, raw, shift=0):
        """Appends bytes of which those from ``shift`` on begin at a multiple of eight."""
        self.data += b"\0" * (-(len(self.data) + shift) % 8)
        self.data += raw
        return len(self.data) - len(raw)

    def point(self, place, target):
        self.data[place : place + 4] = struct.pack("<I", target - place)

    def vector(self, form, numbers):
        raw = b"".join(struct.pack(f"<{form}", number) for number in numbers)
        return self.put(struct.pack("<I", len(numbers)) + raw, shift=4)

    def table(self, **fields):
        """Puts a table of ``f<number>=(form, value)`` and gives the place of each field."""
        numbers = {int(name[1:]): value for name, value in fields.items()}
        count = max(numbers, default=-1) + 1
        offsets = [4 + 8 * field if field in numbers else 0 for field in range(count)]
        vtable = self.put(struct.pack(f"<{count + 2}H", 4 + 2 * count, 4 + 8 * count, *offsets))
        place = self.put(b"\0" * (4 + 8 * count))
        self.data[place : place + 4] = struct.pack("<i", place - vtable)
        for field, (form, value) in numbers.items():
            raw = struct.pack(f"<{form}", value)
            self.data[place + 4 + 8 * field : place + 4 + 8 * field + len(raw)] = raw
        return place, [place + 4 + 8 * field for field in range(count)]

    def tables(self, field, count):
        """Puts a vector of tables, yet to come, and gives the places of their offsets."""
        begin = self.vector("I", [0] * count)
        self.point(field, begin)
        return [begin + 4 + 4 * index for index in range(count)]


def model(shape, kind, content, scales=(), zeros=(), axis=0, name=b"w", buffer=1):
    """Writes a model of one subgraph, one tensor, two buffers and no operator."""
    writer = Writer()
    root, fields = writer.table(f0=("I", 3), f2=("I", 0), f4=("I", 0))
    writer.point(0, root)
    (subgraph,) = writer.tables(fields[2], 1)
    empty, filled = writer.tables(fields[4], 2)
    writer.point(empty, writer.table()[0])
    place, fields = writer.table(f0=("I", 0))
    writer.point(filled, place)
    writer.point(fields[0], writer.vector("B", content))
    place, fields = writer.table(f0=("I", 0))
    writer.point(subgraph, place)
    (tensor,) = writer.tables(fields[0], 1)
    quantization = {"f4": ("I", 0)} if scales else {}
    place, fields = writer.table(f0=("I", 0), f1=("b", kind), f2=("I", buffer), f3=("I", 0), **quantization)
    writer.point(tensor, place)
    writer.point(fields[0], writer.vector("i", shape))
    writer.point(fields[3], writer.vector("B", name))
    if scales:
        place, parts = writer.table(f2=("I", 0), f3=("I", 0), f6=("i", axis))
        writer.point(fields[4], place)
        writer.point(parts[2], writer.vector("f", scales))
        writer.point(parts[3], writer.vector("q", zeros))
    return bytes(writer.data)


def read_model(tmp_path, *arguments, **options):
    path = tmp_path / "one.tflite"
    path.write_bytes(model(*arguments, **options))
    return read_tflite(path, max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(0, "f4"), (1, "f2"), (2, "i4"), (3, "u1"), (4, "i8"), (6, "?"), (7, "i2"), (9, "i1"), (10, "f8"), (12, "u8")],
)
def test_every_dtype(tmp_path, kind, dtype):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    result = read_model(tmp_path, (2, 3), kind, array.tobytes()).tensors["w"]
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(("kind", "dtype"), [(3, np.uint8), (9, np.int8), (7, np.int16), (2, np.int32)])
def test_quantized_values(tmp_path, kind, dtype):
    array = np.array([[0, 1, 2], [3, 100, 127]], dtype)
    whole = read_model(tmp_path, (2, 3), kind, array.tobytes(), [0.5], [10])
    np.testing.assert_array_equal(whole.tensors["w"], (array.astype(np.float32) - 10) * 0.5)
    scales, zeros = [0.5, 2.0, 0.25], [1, 2, 3]
    columns = read_model(tmp_path, (2, 3), kind, array.tobytes(), scales, zeros, axis=1)
    np.testing.assert_array_equal(
        columns.tensors["w"], (array.astype(np.float32) - np.array(zeros, np.float32)) * np.array(scales, np.float32)
    )
    rows = read_model(tmp_path, (2, 3), kind, array.tobytes(), scales[:2], [5], axis=0)
    np.testing.assert_array_equal(
        rows.tensors["w"], (array.astype(np.float32) - 5) * np.array([[0.5], [2.0]], np.float32)
    )
    assert rows.metadata["quantization"]["w"]["scale"].tolist() == [0.5, 2.0]


def test_scales_along_another_axis_than_the_stated_one(tmp_path):
    """Converters leave the axis at 0 although a depthwise kernel has a scale per channel, its last axis."""
    array = np.arange(6, dtype=np.int8).reshape(1, 1, 2, 3)
    scales = np.array([0.5, 2.0, 0.25], np.float32)
    result = read_model(tmp_path, (1, 1, 2, 3), 9, array.tobytes(), scales.tolist(), [0], axis=0)
    np.testing.assert_array_equal(result.tensors["w"], array.astype(np.float32) * scales)
    assert result.metadata["quantization"]["w"]["axis"] == 3 and "another axis" in result.metadata["notes"][-1]


@pytest.mark.parametrize("piece", [1, 4, 7])
def test_quantized_values_piece_by_piece(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("jaxcnn.zoo.formats.tensorflow.tflite_file._PIECE", piece)
    array = np.arange(-12, 12, dtype=np.int8).reshape(6, 2, 2)
    scales = np.float32(0.5) ** np.arange(6)
    result = read_model(tmp_path, (6, 2, 2), 9, array.tobytes(), scales.tolist(), range(6)).tensors["w"]
    np.testing.assert_array_equal(result, (array - np.arange(6).reshape(6, 1, 1)) * scales.reshape(6, 1, 1))
    single = read_model(tmp_path, (), 9, b"\x05", [0.5], [1]).tensors["w"]
    assert single.shape == () and single == 2.0


def test_numbers_of_four_bits(tmp_path):
    """Two per byte, the first one in the lower half; an odd number of them leaves half a byte."""
    scales = [0.5, 2.0, 0.25]
    found = read_model(tmp_path, (1, 3), 17, bytes([0x81, 0x07]), scales, [0, 1, 0], axis=1).tensors["w"]
    np.testing.assert_array_equal(found, [[0.5, -18.0, 1.75]])


def test_text_and_packed_tensors_are_left_out(tmp_path):
    for kind in (5, 19):
        result = read_model(tmp_path, (4,), kind, b"abcd")
        assert result.tensors == {} and "left out" in result.metadata["notes"][0]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        (((3,), 0, bytes(8)), {}, "12 bytes, but holds 8"),
        (((3,), 0, bytes(16)), {}, "12 bytes, but holds 16"),
        (((-1,), 0, bytes(4)), {}, "impossible shape"),
        (((2**31 - 1,) * 4, 0, bytes(4)), {}, "but holds 4"),
        (((3,), 17, bytes(1)), {}, "of 4 bits each, but holds 1"),
        (((2,), 0, bytes(8)), {"buffer": 2}, "buffer 2 of 2"),
        (((2,), 0, bytes(8)), {"name": b"\xff"}, "not UTF-8"),
        (((2,), 9, bytes(2), [1.0, 2.0, 3.0], [0]), {}, "3 scales along axis 0"),
        (((1, 2, 2), 9, bytes(4), [1.0, 2.0], [0]), {}, "2 scales along axis 0"),  # of two axes of that size
        (((2,), 9, bytes(2), [1.0, 2.0], [0]), {"axis": 1}, "2 scales along axis 1"),
        (((2,), 9, bytes(2), [1.0], [0, 1]), {}, "2 zero points for 1 scales"),
        (((2,), 9, bytes(2), [np.inf], [0]), {}, "infinite"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, arguments, options, reason):
    with pytest.raises(FormatError, match=reason):
        read_model(tmp_path, *arguments, **options)


@pytest.mark.errors
def test_shared_parts_may_not_multiply_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcnn.zoo.containers.flatbuffer._MAX_TABLES", 10)
    with pytest.raises(FormatError, match="more than 10 tables"):
        read_tflite(FIXTURES / "float.tflite", max_bytes=LIMIT)


@pytest.mark.errors
@pytest.mark.parametrize("name", ["float", "int8", "float16"])
def test_damaged_model(tmp_path, name):
    content = (FIXTURES / f"{name}.tflite").read_bytes()
    outcome = fuzzing.fuzz(read_tflite, content, tmp_path / "model", cases=40)
    assert outcome.refused and outcome.read
