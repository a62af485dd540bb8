"""TensorFlow's checkpoints and SavedModels: files that it wrote, real ones, files written here, damaged ones."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.crc32c import crc32c
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.sstable import SSTable
from jaxcnn.zoo.formats.tensorflow import v1_slices
from jaxcnn.zoo.formats.tensorflow.checkpoint_files import is_tensorflow_checkpoint, read_tensorflow_checkpoint
from tests.support import fuzzing, paths
from tests.support import protobufs as pb
from tests.support.real_data import DATA
from tests.support.sstables import entry, mask, write_table

FIXTURES = paths.FIXTURES / "tensorflow"
ULTRAFACE = DATA / "tensorflow" / "ultraface_slim_savedmodel"
LIMIT = 1 << 24


def values(seed, shape, dtype=np.float32):
    """Returns the values of a variable in ``fixtures/make_tensorflow.py``."""
    return np.sin(0.7 * np.arange(np.prod(shape, dtype=int)) + seed).reshape(shape).astype(dtype)


def head(path):
    return path.read_bytes()[:4096] if path.is_file() else b""


def read(path):
    assert is_tensorflow_checkpoint(path, head(path))
    result = read_tensorflow_checkpoint(path, max_bytes=LIMIT)
    for array in result.tensors.values():
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return result


# By names


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_checkpoint_by_names(version):
    result = read(FIXTURES / f"named_{version}")
    assert result.metadata["format"] == f"tensorflow-checkpoint-{version}" and result.graph is None
    tensors = dict(result.tensors)
    np.testing.assert_array_equal(tensors.pop("conv/weights"), values(1, (3, 3, 2, 4)))
    np.testing.assert_array_equal(tensors.pop("depthwise/depthwise_weights"), values(2, (3, 3, 4, 2)))
    np.testing.assert_array_equal(tensors.pop("dense/weights"), values(3, (8, 5)))  # in three slices in v2
    np.testing.assert_array_equal(tensors.pop("many"), np.zeros((40, 10), np.float32))
    assert tensors.pop("global_step").dtype == np.int64
    kinds = ["float16", *(["bfloat16"] if version == "v2" else []), "float64", "int64", "uint8", "bool"]
    for seed, name in enumerate(("float16", "bfloat16", "float64", "int64", "uint8", "bool"), 4):
        if name in kinds:
            dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
            array = tensors.pop(f"kinds/{name}")
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, (100 * np.abs(values(seed, (5,)))).astype(dtype))
    assert tensors == {}
    optimizer, text = result.metadata["notes"]
    assert optimizer.startswith("4 variables of optimizers are left out") and text.startswith("1 entries")


def compressed():
    """Compresses the blocks of the checkpoint of version 1, as older releases wrote them."""
    cramjam = pytest.importorskip("cramjam", reason="decompresses Snappy")
    path = FIXTURES / "named_v1" / "model.ckpt-7"
    items = SSTable(SourceFile(path), memoryview(path.read_bytes()), LIMIT).items()
    blocks = [entry(key, bytes(value)) + bytes(4) + b"\x01\x00\x00\x00" for key, value in items]
    return write_table(*(cramjam.snappy.compress_raw(raw) for raw in blocks), kinds=[1] * len(blocks))


def test_checkpoint_of_the_first_version_in_compressed_blocks(tmp_path):
    (tmp_path / "model").write_bytes(compressed())
    expected, result = read(FIXTURES / "named_v1").tensors, read(tmp_path / "model").tensors
    assert result.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(result[name], array)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("sizes", "slices", "reason"),
    [
        ((1 << 20, 4), 1, "more than the file can hold"),
        ((3,), 1, "1 slices of a are missing"),
        ((3,), 0, "do not cover"),
        ((3,), 2, "do not cover"),
        ((1 << 50,), 1, "impossible shape"),
    ],
)
def test_impossible_checkpoints_of_the_first_version_are_refused(tmp_path, sizes, slices, reason):
    whole = pb.block(4, *[pb.block(1)] * len(sizes)) * slices
    meta = pb.block(1, pb.block(1, pb.block(1, "a"), shape(*sizes), pb.number(3, 1), whole))
    (tmp_path / "model").write_bytes(write_table(entry(b"", meta)))
    with pytest.raises(FormatError, match=reason):
        read_tensorflow_checkpoint(tmp_path / "model", max_bytes=LIMIT)


def test_every_way_to_name_a_checkpoint(tmp_path):
    folder = FIXTURES / "named_v2"
    expected = read(folder).tensors.keys()
    names = ["checkpoint", "model.ckpt-7", "model.ckpt-7.index"]
    names += [f"model.ckpt-7.data-0000{shard}-of-00002" for shard in range(2)]
    for name in names:
        assert read(folder / name).tensors.keys() == expected, name
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "checkpoint").unlink()
    assert read(tmp_path / "copy").tensors.keys() == expected  # the only index of the folder
    (tmp_path / "copy" / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-7"\n')
    result = read(tmp_path / "copy")
    assert result.tensors.keys() == expected and "names another folder" in result.metadata["notes"][-1]


@pytest.mark.errors
@pytest.mark.parametrize(
    "name", ["../named_v2/model.ckpt-7", "a/../../x", "", "/", "..", "a\\\\b", "a\\000b", "a" * 300]
)
def test_list_of_checkpoints_leads_nowhere_else(tmp_path, name):
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{name}"')
    with pytest.raises(FormatError, match="below its own folder"):
        read_tensorflow_checkpoint(tmp_path, max_bytes=LIMIT)


@pytest.mark.errors
def test_missing_files_are_not_found(tmp_path):
    for path in (tmp_path / "none", tmp_path / "none.index"):
        assert not is_tensorflow_checkpoint(path, b"")
        with pytest.raises(FileNotFoundError):
            read_tensorflow_checkpoint(path, max_bytes=LIMIT)
    shutil.copy(FIXTURES / "named_v2" / "model.ckpt-7.index", tmp_path)
    with pytest.raises(FileNotFoundError, match="data-0000[01]-of-00002"):
        read_tensorflow_checkpoint(tmp_path, max_bytes=LIMIT)
    shutil.copy(FIXTURES / "objects" / "ckpt-1.index", tmp_path)
    with pytest.raises(FormatError, match="one index of a checkpoint, got 2"):
        read_tensorflow_checkpoint(tmp_path, max_bytes=LIMIT)


@pytest.mark.errors
def test_memory_is_bounded():
    with pytest.raises(FormatError, match="more than is left of max_bytes=1000"):
        read_tensorflow_checkpoint(FIXTURES / "named_v2", max_bytes=1000)


def test_other_files_named_checkpoint_are_none(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"\x81\xa6params")
    assert not is_tensorflow_checkpoint(tmp_path, b"")
    with pytest.raises(FormatError, match="one index of a checkpoint, got 0"):
        read_tensorflow_checkpoint(tmp_path, max_bytes=LIMIT)


# By objects


def test_checkpoint_of_objects():
    result = read(FIXTURES / "objects")
    assert sorted(result.tensors) == ["conv/kernel", "dense/kernel", "net/twins/0", "net/twins/1", "save_counter"]
    np.testing.assert_array_equal(result.tensors["conv/kernel"], values(11, (3, 3, 1, 2)))
    np.testing.assert_array_equal(result.tensors["net/twins/1"], values(14, (3,)))
    assert result.metadata["keys"]["dense/kernel"] == "net/dense/.ATTRIBUTES/VARIABLE_VALUE"
    assert result.metadata["notes"][0].startswith("6 variables of optimizers are left out")


@pytest.mark.parametrize("folder", ["keras", "exported/variables"])
def test_checkpoint_of_a_net_of_keras(folder):
    result = read(FIXTURES / folder)
    tensors = dict(result.tensors)
    shapes = {"conv/kernel": (3, 3, 1, 2), "conv/bias": (2,), "norm/gamma": (2,), "norm/beta": (2,)}
    shapes |= {"norm/moving_mean": (2,), "norm/moving_variance": (2,), "dense/kernel": (8, 3), "dense/bias": (3,)}
    for seed, (name, sizes) in enumerate(shapes.items(), 41):
        np.testing.assert_array_equal(tensors.pop(f"net/{name}"), values(seed, sizes), err_msg=name)
    tensors.pop("save_counter", None)
    assert tensors == {}
    note = {"keras": "14 variables of optimizers", "exported/variables": "8 variables that the file holds twice"}
    assert len(result.metadata["notes"]) == 1 and result.metadata["notes"][0].startswith(note[folder])


def test_saved_model():
    folder = FIXTURES / "saved_model"
    for path in (folder, folder / "saved_model.pb"):
        result = read(path)
        assert sorted(result.tensors) == ["conv/kernel", "dense/kernel", "twins/0", "twins/1"]
        np.testing.assert_array_equal(result.tensors["dense/kernel"], values(12, (8, 3)))
        assert result.metadata["format"] == "tensorflow-savedmodel" and result.metadata["tags"] == ["serve"]
        assert {"op": "VarHandleOp", "name": "conv/kernel"}.items() <= next(
            node for node in result.graph if node["name"] == "conv/kernel"
        ).items()
        call = next(nodes for name, nodes in result.metadata["functions"].items() if "call" in name)
        conv = next(node for node in call if node["op"] == "Conv2D")
        assert conv["attributes"]["padding"] == "VALID" and conv["attributes"]["strides"] == [1, 1, 1, 1]
    assert read(folder / "variables").tensors.keys() == result.tensors.keys()


def test_saved_model_without_variables_gives_its_constants(tmp_path):
    graph = (FIXTURES / "frozen.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(pb.number(1, 1) + pb.block(2, pb.block(2, graph)))
    result = read(tmp_path)
    np.testing.assert_array_equal(result.tensors["dense/kernel"], values(23, (3, 16)).T)
    assert "no variables" in result.metadata["notes"][-1] and result.metadata["layouts"] == {"dense/kernel": "OI"}


@pytest.mark.skipif(not ULTRAFACE.is_dir(), reason="real weights: set JAXCNN_TEST_DATA to the folder of the data")
def test_real_checkpoint_equals_the_net_in_pytorch():
    torch = pytest.importorskip("torch", reason="reads the same net's weights")
    source = torch.load(DATA / "pytorch" / "ultraface_version-slim-320.pth", weights_only=True, map_location="cpu")
    result = read(ULTRAFACE)
    tensors = dict(result.tensors)
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for layer in json.loads((DATA / "tensorflow" / "ultraface_slim_320_mapping.json").read_text()):
        for name in layer["weight"]:
            expected = source.pop(name).numpy()
            part = parts[name.rpartition(".")[2]]
            if f"{layer['name']}/gamma" not in result.tensors:
                part = {"gamma": "kernel", "beta": "bias"}[part]
            if f"{layer['name']}/depthwise_kernel" in result.tensors and part == "kernel":
                part, expected = "depthwise_kernel", expected.transpose(2, 3, 0, 1)
            elif part == "kernel":
                expected = expected.transpose(2, 3, 1, 0)
            np.testing.assert_array_equal(tensors.pop(f"{layer['name']}/{part}"), expected)
    assert tensors == {} and len(result.tensors) == 159
    assert all(name.endswith("num_batches_tracked") for name in source)


# Checkpoints written here


def shape(*sizes):
    return pb.block(2, *(pb.block(2, pb.number(1, size)) for size in sizes))


def bundle(folder, entries, data=b"", header=b"\x08\x01"):
    """Writes a checkpoint of one shard; an entry is key, fields and maybe its place in the shard."""
    index = entry(b"", header) + b"".join(entry(key, b"".join(fields)) for key, fields in sorted(entries.items()))
    (folder / "x.index").write_bytes(write_table(index))
    (folder / "x.data-00000-of-00001").write_bytes(data)
    return folder / "x"


def placed(begin, content, dtype, *sizes):
    place = pb.number(4, begin) + pb.number(5, len(content))
    checksum = pb.varint(6 << 3 | 5) + mask(crc32c(content)).to_bytes(4, "little")
    return [pb.number(1, dtype), shape(*sizes), place, checksum]


def test_big_endian(tmp_path):
    content = values(0, (2, 3)).astype(">f4").tobytes()
    path = bundle(tmp_path, {b"a": placed(0, content, 1, 2, 3)}, content, pb.number(1, 1) + pb.number(2, 1))
    np.testing.assert_array_equal(read(path).tensors["a"], values(0, (2, 3)))


def checkpoint_of(folder, arrays):
    """Writes a checkpoint of arrays by their names."""
    entries, data = {}, b""
    for name, array in arrays.items():
        entries[name.encode()] = placed(len(data), array.tobytes(), 1, *array.shape)
        data += array.tobytes()
    return bundle(folder, entries, data)


def test_variables_of_training_are_left_out(tmp_path):
    optimizer = ["Adam/iterations", "Adam/lr", "Adam/conv/kernel/m", "SGD/momentum", "training/Adam/beta_1"]
    optimizer += ["training_1/RMSprop/conv/kernel/rms", "conv/kernel/Momentum"]
    metrics = ["metrics/acc/total", "metrics_2/accuracy/count"]
    kept = ["Adamant/kernel", "conv/kernel", "metrics_head/kernel", "training/kernel"]
    path = checkpoint_of(tmp_path, {name: values(0, (2, 3)) for name in [*optimizer, *metrics, *kept]})
    result = read(path)
    assert sorted(result.tensors) == kept
    assert result.metadata["notes"] == [
        "7 variables of optimizers are left out, such as 'Adam/conv/kernel/m'.",
        "2 variables of metrics are left out, such as 'metrics/acc/total'.",
    ]


def test_variables_of_metrics_among_objects_are_left_out(tmp_path):
    paths = {"model/conv/kernel": "kernel", "model/keras_api/metrics/0/total": "total"}
    entries, data, nodes = {}, b"", pb.block(1, *(pb.block(1, pb.number(1, place)) for place in (1, 2)))
    for path, name in paths.items():
        key = f"{path}/.ATTRIBUTES/VARIABLE_VALUE"
        content = values(0, (2,)).tobytes()
        entries[key.encode()] = placed(len(data), content, 1, 2)
        data += content
        nodes += pb.block(1, pb.block(2, pb.block(2, name), pb.block(3, key)))
    size = len(nodes).to_bytes(4, "little")
    checked = mask(crc32c(size)).to_bytes(4, "little") + nodes
    text, whole = pb.varint(len(nodes)) + checked, crc32c(size + checked)
    fields = [pb.number(1, 7), pb.number(4, len(data)), pb.number(5, len(text))]
    entries[b"_CHECKPOINTABLE_OBJECT_GRAPH"] = [*fields, pb.varint(6 << 3 | 5) + mask(whole).to_bytes(4, "little")]
    result = read(bundle(tmp_path, entries, data + text))
    assert list(result.tensors) == ["kernel"]
    assert result.metadata["notes"] == ["1 variables of metrics are left out, such as 'total'."]


@pytest.mark.parametrize("version", [b"", pb.number(1, 1)], ids=["hub", "plain"])
def test_modules_of_the_hub(tmp_path, version):
    """Their SavedModel states no version, and a file beside it says that it is a module."""
    graph = (FIXTURES / "frozen.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(
        version + pb.block(2, pb.block(1, pb.block(4, "serve")), pb.block(2, graph))
    )
    (tmp_path / "tfhub_module.pb").write_bytes(b"\x08\x03")
    for path in (tmp_path, tmp_path / "saved_model.pb", tmp_path / "tfhub_module.pb"):
        result = zoo.read(path)
        assert result.metadata["format"] == "tensorflow-savedmodel" and "dense/kernel" in result.tensors
    (tmp_path / "saved_model.pb").unlink()
    with pytest.raises(FormatError, match="must be of a known format"):
        zoo.read(tmp_path / "tfhub_module.pb")


def test_kernels_of_transposed_convolutions_by_bias_or_name(tmp_path):
    kernel, other = values(0, (2, 3, 5, 4)), values(1, (2, 3, 4, 4))
    arrays = {
        "up/kernel": kernel,
        "up/bias": values(0, (5,)),
        "Conv2d_transpose_1/weights": kernel,
        "deconv_of_an_old_name/kernel": kernel,
        "deconv_of_an_old_name/bias": values(0, (4,)),  # refutes the name
        "conv2d_transpose/kernel": other,
        "conv2d_transpose/bias": values(0, (4,)),
        "conv/kernel": kernel,
        "depthwise/depthwise_kernel": values(0, (3, 3, 5, 1)),
        "depthwise/bias": values(0, (5,)),
    }
    result = read(checkpoint_of(tmp_path, arrays))
    moved = ["Conv2d_transpose_1/weights", "conv2d_transpose/kernel", "up/kernel"]
    assert result.metadata["layouts"] == dict.fromkeys(moved, "HWOI")
    for name, array in arrays.items():
        expected = array.transpose(0, 1, 3, 2) if name in moved else array
        np.testing.assert_array_equal(result.tensors[name], expected, err_msg=name)
    assert len(result.metadata["notes"]) == 1


def variable(name, *uses):
    """Writes the nodes of a variable and of what uses it."""
    nodes = [[pb.block(1, name), pb.block(2, "VariableV2")]]
    nodes += [[pb.block(1, "u"), pb.block(2, use), pb.block(3, "x"), pb.block(3, name)] for use in uses]
    return b"".join(pb.block(1, *parts) for parts in nodes)


def test_the_graph_beside_a_checkpoint_names_the_operations(tmp_path):
    path = checkpoint_of(tmp_path, {name: values(0, (2, 3, 5, 4)) for name in ("a", "b", "c")})
    graph = variable("a", "Conv2DBackpropInput") + variable("b", "Conv2D", "Conv2DBackpropInput") + variable("c")
    (tmp_path / "x.meta").write_bytes(pb.block(1, pb.block(4, "train")) + pb.block(2, graph))
    assert read(path).metadata["layouts"] == {"a": "HWOI"}
    (tmp_path / "x.meta").write_bytes(b"\x12\x7f")
    result = read(path)
    assert result.metadata["layouts"] == {} and "cannot be read and was ignored" in result.metadata["notes"][0]


def test_the_graph_of_a_saved_model_names_the_operations(tmp_path):
    (tmp_path / "variables").mkdir()
    checkpoint_of(tmp_path / "variables", {"up/w": values(0, (2, 3, 4, 4))})
    for path in (tmp_path / "variables").iterdir():
        path.rename(path.with_name(path.name.replace("x.", "variables.")))
    graph = variable("up/w", "Conv2DBackpropInput", "SaveV2", "L2Loss")
    (tmp_path / "saved_model.pb").write_bytes(pb.number(1, 1) + pb.block(2, pb.block(2, graph)))
    result = read(tmp_path)
    assert result.metadata["layouts"] == {"up/w": "HWOI"}
    np.testing.assert_array_equal(result.tensors["up/w"], values(0, (2, 3, 4, 4)).transpose(0, 1, 3, 2))


def piece(*extents):
    return [pb.block(1, *(pb.number(n, v) for n, v in zip((1, 2), extent, strict=False))) for extent in extents]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("extents", "reason"),
    [
        ([(0, 2), (2, 2)], None),
        ([()], None),
        ([(0, 2), (1, 2)], "do not cover"),
        ([(0, 2)], "do not cover"),
        ([(0, 2), (2, 3)], "extends beyond"),
        ([(-1, 2)], "extends beyond"),
        ([(0, 2), (0, 2)], "do not cover"),
    ],
)
def test_slices_cover_a_variable_exactly(tmp_path, extents, reason):
    whole = values(0, (4, 3))
    entries, data = {}, b""
    slices = []
    for extent in extents:
        begin, count = extent or (0, 4)
        content = whole[max(begin, 0) : begin + count].tobytes()
        message = {"extent": [dict(zip(("start", "length"), extent, strict=False)), {}]}
        slices.append(pb.block(7, *piece(extent, ())))
        entries[v1_slices.slice_key("a", message)] = placed(len(data), content, 1, count, 3)
        data += content
    path = bundle(tmp_path, {b"a": [pb.number(1, 1), shape(4, 3), *slices], **entries}, data)
    if reason is None:
        np.testing.assert_array_equal(read(path).tensors["a"], whole)
    else:
        with pytest.raises(FormatError, match=reason):
            read_tensorflow_checkpoint(path, max_bytes=LIMIT)


def test_code_of_slices_sorts_as_their_numbers_do():
    numbers = sorted({sign * (2**bits + more) for bits in range(62) for sign in (1, -1) for more in (-1, 0, 1)})
    codes = [v1_slices.slice_key("a", {"extent": [{"start": number, "length": 1}]}) for number in numbers]
    assert codes == sorted(codes) and len(set(codes)) == len(numbers)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"begin": 100}, "it is truncated"),
        ({"sizes": (5,)}, "20 bytes, but holds 16"),
        ({"stored": b"\x01" * 16}, "does not match its stored checksum"),
        ({"shard": 1}, "in shard 1 of 1"),
        ({"header": pb.number(1, 0)}, "states 0 shards"),
        ({"header": pb.number(1, 1) + pb.number(2, 2)}, "byte order 2"),
        ({"key": b"\xff\xfe"}, "neither text nor the key of a slice"),
    ],
)
def test_impossible_entries_are_refused(tmp_path, change, reason):
    content = values(0, (4,)).tobytes()
    fields = placed(change.get("begin", 0), content, 1, *change.get("sizes", (4,)))
    fields.append(pb.number(3, change.get("shard", 0)))
    entries = {change.get("key", b"a"): fields}
    path = bundle(tmp_path, entries, change.get("stored", content), change.get("header", pb.number(1, 1)))
    with pytest.raises(FormatError, match=reason):
        read_tensorflow_checkpoint(path, max_bytes=LIMIT)


# Damaged files


def read_or_miss(path, *, max_bytes):
    try:
        return read_tensorflow_checkpoint(path, max_bytes=max_bytes)
    except FileNotFoundError as error:  # of a shard, where the number of shards was changed
        raise FormatError(path, str(error)) from error


@pytest.mark.errors
@pytest.mark.parametrize("checked", [True, False], ids=["checksums", "none"])
@pytest.mark.parametrize("name", ["index", "data-00000-of-00002"])
def test_damaged_checkpoint(tmp_path, monkeypatch, name, checked):
    if not checked:  # else little behind the checksums is reached
        for module in ("jaxcnn.zoo.containers.sstable", "jaxcnn.zoo.formats.tensorflow.checkpoint_files"):
            monkeypatch.setattr(f"{module}.crc32c", lambda content: 0)
            monkeypatch.setattr(f"{module}.unmask", lambda stored: 0)
    shutil.copytree(FIXTURES / "named_v2", tmp_path / "copy")
    path = tmp_path / "copy" / f"model.ckpt-7.{name}"
    index = tmp_path / "copy" / "model.ckpt-7.index"
    outcome = fuzzing.fuzz(read_or_miss, path.read_bytes(), path, argument=lambda _: index, cases=40, max_bytes=1 << 16)
    assert outcome.refused >= 16


@pytest.mark.errors
@pytest.mark.parametrize("kind", ["plain", "unchecked", "compressed"])
def test_damaged_checkpoint_of_the_first_version(tmp_path, monkeypatch, kind):
    content = compressed() if kind == "compressed" else (FIXTURES / "named_v1" / "model.ckpt-7").read_bytes()
    if kind != "plain":
        monkeypatch.setattr("jaxcnn.zoo.containers.sstable.crc32c", lambda content: 0)
        monkeypatch.setattr("jaxcnn.zoo.containers.sstable.unmask", lambda stored: 0)
    outcome = fuzzing.fuzz(read_tensorflow_checkpoint, content, tmp_path / "model.ckpt-7", cases=40, max_bytes=1 << 16)
    assert outcome.refused >= 16


@pytest.mark.errors
@pytest.mark.parametrize("name", ["objects", "saved_model/variables"])
def test_damaged_description_of_objects(tmp_path, monkeypatch, name):
    monkeypatch.setattr("jaxcnn.zoo.formats.tensorflow.checkpoint_files.crc32c", lambda content: 0)
    monkeypatch.setattr("jaxcnn.zoo.formats.tensorflow.checkpoint_files.unmask", lambda stored: 0)
    shutil.copytree(FIXTURES / name, tmp_path / "copy")
    path = next((tmp_path / "copy").glob("*.data*"))
    outcome = fuzzing.fuzz(
        read_tensorflow_checkpoint, path.read_bytes(), path, argument=lambda _: tmp_path / "copy", cases=40
    )
    assert outcome.refused and outcome.read


@pytest.mark.errors
def test_damaged_saved_model(tmp_path):
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "copy")
    path = tmp_path / "copy" / "saved_model.pb"
    outcome = fuzzing.fuzz(
        read_tensorflow_checkpoint, path.read_bytes(), path, argument=lambda _: tmp_path / "copy", cases=20
    )
    assert outcome.refused and outcome.read
