"""The reader of PyTorch's files: fixtures that PyTorch wrote, real files, hostile and damaged ones."""

import io
import math
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.formats.pytorch.checkpoint_file import is_pytorch, read_pytorch
from tests.support import paths
from tests.support.fuzzing import fuzz
from tests.support.real_data import DATA, needs_data
from tests.support.untyped import untyped

FIXTURES = paths.FIXTURES / "torch"


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Returns the values of a tensor of a shape in ``tests/fixtures/make_torch.py``."""
    count = math.prod(shape)
    numbers = (np.arange(count) * 7 + count) % 61
    kind = getattr(ml_dtypes, dtype) if dtype.startswith(("bfloat", "float8")) else dtype
    return (numbers % 2 if dtype == "bool" else numbers).reshape(shape).astype(kind)


def equal(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype and found.dtype.isnative
    assert found.flags.c_contiguous and found.flags.writeable and found.flags.owndata
    np.testing.assert_array_equal(found, wanted)


# Files that PyTorch wrote


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_state_dict(container):
    checkpoint = zoo.read(FIXTURES / f"{container}.pth")
    shared = values(4, 6)
    wanted = {
        "conv.weight": values(8, 3, 3, 2).transpose(2, 3, 1, 0),
        "conv.bias": values(8),
        "depthwise.weight": values(8, 1, 3, 2).transpose(2, 3, 1, 0),  # the file does not state its groups
        "line.weight": values(5, 8, 3).transpose(2, 1, 0),
        "volume.weight": values(2, 5, 1, 2, 3).transpose(2, 3, 4, 1, 0),
        "head.weight": values(4, 2).T,
        "norm.num_batches_tracked": np.array(17),
        "shared": shared,
        "shared_column": shared[1:, 2],
        "shared_transposed": shared.T,
        "expanded": np.broadcast_to(values(3), (2, 3)),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert list(checkpoint.tensors) == list(wanted)
    for name, array in wanted.items():
        equal(checkpoint.tensors[name], array)
    layouts = {"conv": "OIHW", "depthwise": "OIHW", "line": "OIW", "volume": "OIDHW", "head": "OI"}
    metadata = checkpoint.metadata
    assert metadata["layouts"] == {f"{name}.weight": layout for name, layout in layouts.items()}
    assert metadata["format"] == metadata["framework"] == "pytorch" and metadata["container"] == container
    assert metadata["notes"] == [
        "The prefix 'module.' of all names was dropped.",
        "All tensors are under 'state_dict', which their names omit.",
        "1 kernel (depthwise.weight) with one input channel per group. The file does not state the groups, so "
        "they are (kh, kw, 1, out); if a layer is depthwise, reshape to (kh, kw, channels, out // channels).",
        "3 kernels (such as depthwise.weight): nothing in the file tells whether of an ordinary or a transposed "
        "convolution; taken as of an ordinary one.",
    ]
    extra = {"epoch": 3, "best": 0.75, "name": "résumé", "shape": [1, 2], "dtype": "float16"}
    assert metadata["extra"] == extra | {"milestones": [1, 2], "device": "cpu"}


@pytest.mark.parametrize(("file", "count"), [("dtypes.pth", 18), ("dtypes_legacy.pth", 12)])
def test_every_dtype_is_kept(file, count):
    tensors = dict(zoo.read(FIXTURES / file).tensors)
    assert len(tensors) == count
    if file == "dtypes.pth":
        equal(tensors.pop("conjugated"), np.array([1 - 2j, 3 + 4j], np.complex64))
    for name, array in tensors.items():
        equal(array, values(2, 3, dtype=name))


def test_several_dictionaries_have_dotted_names():
    checkpoint = zoo.read(FIXTURES / "nested.pth")
    assert list(checkpoint.tensors) == ["model.a.weight", "optimizer.state.0.momentum_buffer"]
    equal(checkpoint.tensors["model.a.weight"], values(2, 3).T)
    assert checkpoint.metadata["extra"] == {"optimizer": {"param_groups": [{"lr": 0.1, "params": [0]}]}}


def test_quantized_tensors_become_float32():
    checkpoint = zoo.read(FIXTURES / "quantized.pth")
    integers = np.round(values(3, 4) / 8 / 0.125) + 2
    equal(checkpoint.tensors["a.weight"], ((integers - 2) * np.float32(0.125)).astype(np.float32).T)
    scales = np.array([0.5, 0.25], np.float32).reshape(2, 1, 1, 1)
    zeros = np.array([0, 1], np.float32).reshape(2, 1, 1, 1)
    integers = np.clip(np.round(values(2, 3, 1, 1) / scales) + zeros, -128, 127)
    equal(checkpoint.tensors["b.weight"], ((integers - zeros) * scales).astype(np.float32).transpose(2, 3, 1, 0))
    assert checkpoint.metadata["notes"][0] == "2 quantized tensors were converted to float32: a.weight, b.weight."


def test_torchscript():
    checkpoint = zoo.read(FIXTURES / "script.pt")
    assert set(checkpoint.tensors) == {"steps", "conv.weight", "conv.bias", "depthwise.weight", "depthwise.bias"}
    equal(checkpoint.tensors["conv.weight"], values(4, 3, 2, 2).transpose(2, 3, 1, 0))
    equal(checkpoint.tensors["depthwise.weight"], values(4, 1, 3, 3).transpose(2, 3, 0, 1))
    equal(checkpoint.tensors["steps"], np.array(5))
    assert (
        checkpoint.metadata["container"] == "torchscript" and checkpoint.metadata["extra"]["conv"]["training"] is True
    )


def test_error_for_a_pickled_module():
    message = r"module\.pth: refuses torch\.nn\.modules\.linear\.Linear: a pickled module, .* save its state_dict"
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(FIXTURES / "module.pth")


# Files that these tests write: pickles with persistent ids, as PyTorch makes them


class Key:
    """Pickled as the persistent id of a storage."""

    def __init__(self, *parts):
        self.parts = parts


class Call:
    """Pickled as a call of a name."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


def named(name: str):
    """Builds an object that is pickled by a name of PyTorch's without PyTorch."""
    module, _, attribute = name.rpartition(".")
    made = type(attribute, (), {})
    made.__module__, made.__qualname__ = module, attribute
    return made


def dumps(tree, *, protocol: int = 2) -> bytes:
    """Pickles a tree with calls by name and storages as PyTorch does."""
    made: dict[str, type] = {}

    python_pickler: Any = pickle._Pickler  # looks names up where the test puts them

    class Pickler(python_pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Key):
                return None
            return tuple(
                named_once(part[1:]) if isinstance(part, str) and part[:1] == "@" else part for part in obj.parts
            )

        def reducer_override(self, obj):
            return (named_once(obj.name), obj.arguments) if isinstance(obj, Call) else NotImplemented

        def save_global(self, obj, name=None):
            module, qualname = obj.__module__, obj.__qualname__
            self.write(b"c" + f"{module}\n{qualname}\n".encode())
            self.memoize(obj)

    Pickler.dispatch = {**python_pickler.dispatch, type: lambda self, obj: self.save_global(obj)}

    def named_once(name: str):
        return made.setdefault(name, named(name))

    buffer = io.BytesIO()

    class WithReduce(Pickler):
        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Call):
                self.save_reduce(named_once(obj.name), obj.arguments)
            else:
                super().save(obj, save_persistent_id)

        def save_reduce(self, func, args, *rest, **options):
            self.save(func)
            self.save(args)
            self.write(b"R")

    WithReduce(buffer, protocol).dump(tree)
    return buffer.getvalue()


def tensor(key="0", count=6, shape=(2, 3), strides=None, offset=0, kind="FloatStorage"):
    """A tensor as a pickle has it."""
    if strides is None:
        strides = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    storage = Key("storage", f"@torch.{kind}", key, "cpu", count)
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, tuple(shape), tuple(strides), False, {})


def write_zip(path: Path, tree, storages: dict[str, bytes], *, pack=zipfile.ZIP_STORED, root="x/", more=None) -> Path:
    with zipfile.ZipFile(path, "w", pack) as archive:
        archive.writestr(f"{root}data.pkl", tree if isinstance(tree, bytes) else dumps(tree))
        for key, content in storages.items():
            archive.writestr(f"{root}data/{key}", content)
        for name, content in (more or {}).items():
            archive.writestr(root + name, content)
    return path


SIX = np.arange(6, dtype="<f4")


@pytest.mark.parametrize("pack", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("root", ["", "archive/", "any name at all/"])
def test_archives_packed_and_named_in_any_way(tmp_path, pack, root):
    path = write_zip(tmp_path / "no_extension", {"a.weight": tensor()}, {"0": SIX.tobytes()}, pack=pack, root=root)
    equal(zoo.read(path).tensors["a.weight"], SIX.reshape(2, 3).T)


def test_big_endian(tmp_path):
    tree = {
        "a": tensor(),
        "b": tensor("1", 2, (2,), kind="BFloat16Storage"),
        "c": tensor("2", 1, (), kind="BoolStorage"),
    }
    storages = {"0": SIX.astype(">f4").tobytes(), "1": b"\x3f\x80\xc0\x00", "2": b"\x02"}
    tensors = zoo.read(write_zip(tmp_path / "a", tree, storages, more={"byteorder": "big"})).tensors
    equal(tensors["a"], SIX.reshape(2, 3))
    equal(tensors["b"], np.array([1, -2], ml_dtypes.bfloat16))
    equal(tensors["c"], np.array(True))
    with pytest.raises(zoo.FormatError, match="'middle' is neither"):
        zoo.read(write_zip(tmp_path / "a", tree, storages, more={"byteorder": "middle"}))


def layouts_of(tmp_path, shapes):
    """Reads tensors of zeros and returns the checkpoint."""
    tree = {name: tensor("0", 4096, shape) for name, shape in shapes.items()}
    return zoo.read(write_zip(tmp_path / "a", tree, {"0": bytes(4 * 4096)}))


def test_groups_are_not_guessed(tmp_path):
    shapes = {
        "first.weight": (16, 1, 3, 3),  # of a gray image
        "second.weight": (16, 1, 3, 3),  # ordinary, of a gray image again, or depthwise, or of 8 groups
        "third.weight": (9, 1, 3, 3),  # three groups, nine, or one
        "fourth.weight": (16, 2, 3, 3),  # two inputs, or more of them in groups
        "w": (2, 1, 1, 1),  # no kernel by its name
        "layer_norm.weight": (4, 5, 5),
        "layer_norm.bias": (4, 5, 5),
    }
    checkpoint = layouts_of(tmp_path, shapes)
    found = {name: array.shape for name, array in checkpoint.tensors.items()}
    assert found == shapes | {
        "first.weight": (3, 3, 1, 16),
        "second.weight": (3, 3, 1, 16),
        "third.weight": (3, 3, 1, 9),
        "fourth.weight": (3, 3, 2, 16),
    }
    words = ("first", "second", "third", "fourth")
    assert checkpoint.metadata["layouts"] == {f"{word}.weight": "OIHW" for word in words}
    assert checkpoint.metadata["notes"][0].startswith("3 kernels (such as first.weight) with one input channel per")


@pytest.mark.parametrize(
    ("name", "shape", "bias", "layout"),
    [
        ("up", (8, 3, 2, 2), 3, "IOHW"),  # the size of the bias
        ("up", (8, 2, 2, 2), 4, "IOHW"),  # in two groups
        ("up", (64, 1, 4), 1, "IOW"),
        ("up", (4, 2, 2, 2, 2), 2, "IODHW"),
        ("conv", (8, 3, 2, 2), 8, "OIHW"),
        ("deconv", (8, 3, 2, 2), 8, "OIHW"),  # a name that the size of the bias refutes
        ("deconv", (8, 8, 2, 2), 8, "IOHW"),
        ("up.conv_transpose.2", (8, 3, 2, 2), None, "IOHW"),
        ("layer.ConvTranspose_1", (8, 3, 2), None, "IOW"),
        ("convtail", (8, 3, 2, 2), None, "OIHW"),
        ("conv", (8, 8, 2, 2), 8, "OIHW"),
        ("deconv", (8, 3), 3, "OI"),
    ],
)
def test_transposed_convolutions_by_bias_or_name(tmp_path, name, shape, bias, layout):
    shapes = {f"{name}.weight": shape} | ({f"{name}.bias": (bias,)} if bias else {})
    checkpoint = layouts_of(tmp_path, shapes)
    assert checkpoint.metadata["layouts"] == {f"{name}.weight": layout}
    order = (*shape[2:], *shape[:2]) if layout.startswith("IO") else (*shape[2:], shape[1], shape[0])
    assert checkpoint.tensors[f"{name}.weight"].shape == order
    told = layout.startswith("IO") or len(shape) == 2 or (bias == shape[0] and shape[0] != shape[1])
    assert (checkpoint.metadata["notes"] == []) == (told and not layout.startswith("IO"))
    if not told:
        assert "nothing in the file tells" in checkpoint.metadata["notes"][-1]


def test_parts_of_a_normalized_weight_are_laid_out_together(tmp_path):
    shapes = {"up.bias": (4,), "up.weight_g": (8, 1, 1, 1), "up.weight_v": (8, 4, 2, 2)}
    assert set(layouts_of(tmp_path, shapes).metadata["layouts"].values()) == {"IOHW"}
    shapes = {"up.bias": (3,)} | {f"up.parametrizations.weight.original{n}": (8, 3, 2, 2) for n in (0, 1)}
    assert set(layouts_of(tmp_path, shapes).metadata["layouts"].values()) == {"IOHW"}


def test_numbers_arrays_and_sets_beside_tensors(tmp_path):
    tree = {"a": tensor(), "accuracy": np.float64(0.5), "array": np.arange(3, dtype=">i2"), "set": {1, 2}}
    tree |= {"c": 1 + 2j, "texts": np.array(["a", "bc"])}
    checkpoint = zoo.read(write_zip(tmp_path / "a", with_tensor(tree), {"0": SIX.tobytes()}))
    assert checkpoint.metadata["extra"] == {"accuracy": 0.5, "set": [1, 2], "c": "(1+2j)", "texts": ["a", "bc"]}
    assert list(checkpoint.tensors) == ["a", "array"]
    equal(checkpoint.tensors["array"], np.arange(3, dtype=np.int16))
    assert checkpoint.metadata["notes"] == ["1 arrays of NumPy keep their axes: array."]


def with_tensor(tree: dict) -> bytes:
    """Pickles a dictionary of the tensor "a" and of values that Python pickles by itself."""
    body = dumps({"a": tree["a"]})
    others = pickle.dumps({name: value for name, value in tree.items() if name != "a"}, protocol=2)
    # the items of the second dictionary, behind its mark, go into the first
    assert body.endswith(b"s.") and others.endswith(b"u.")
    return body[:-1] + others[others.index(b"(") : -1] + b"."


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", r"refuses os\.system: a pickled object"),
        ("builtins.eval", r"refuses builtins\.eval"),
        ("argparse.Namespace", r"refuses argparse\.Namespace: a pickled object"),
        ("torch.nn.modules.conv.Conv2d", r"refuses torch\.nn\.modules\.conv\.Conv2d: a pickled module, not weights"),
        ("torch._utils._rebuild_sparse_tensor", "a sparse tensor"),
        ("__torch__.Net", r"refuses __torch__\.Net"),
        ("torch.FloatStorage", "a call of something other than a known name"),
    ],
)
def test_error_for_names_that_are_not_known(tmp_path, name, message):
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(write_zip(tmp_path / "a", {"a": Call(name, "echo")}, {}))


def test_nothing_is_run_or_imported(tmp_path, monkeypatch):
    calls = []
    trap = types.ModuleType("trap_of_the_reader")
    untyped(trap).spring = lambda *_: calls.append(1)
    monkeypatch.setitem(sys.modules, "trap_of_the_reader", trap)
    for protocol in (2, 4):
        tree = dumps({"a": Call("trap_of_the_reader.spring", 1)}, protocol=protocol)
        with pytest.raises(zoo.FormatError, match=r"refuses trap_of_the_reader\.spring"):
            zoo.read(write_zip(tmp_path / "a", tree, {}))
    assert calls == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (tensor(shape=(3, 3)), "reads element 8 of storage '0' of 6 elements"),
        (tensor(offset=1), "reads element 6"),
        (tensor(strides=(1 << 61, 1)), "reads element"),
        (tensor(strides=(-3, 1)), "without a storage, offset, shape or strides"),
        (tensor(offset=-1), "without a storage"),
        (tensor(shape=(2.0, 3)), "without a storage"),
        (tensor(shape=(2, 3), strides=(1,)), "without a storage"),
        (tensor(count=7), "storage '0' has 24 bytes, but 28 are needed"),
        (tensor(key="../../secret"), r"no entry 'x/data/../../secret'"),
        (tensor(shape=(1,) * 40), "impossible shape"),
        (tensor(shape=(1 << 40,), strides=(0,)), "more than is left of max_bytes"),
        (tensor(shape=(1 << 28,), strides=(0,)), "more than a file of .* bytes can hold"),
        (tensor(kind="NoStorage"), "refuses torch.NoStorage"),
    ],
)
def test_error_for_tensors_that_lie(tmp_path, broken, message):
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(write_zip(tmp_path / "a", {"a": broken}, {"0": SIX.tobytes()}))


def proto(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


# Sixty tuples, each of twice the one before.
LAUGHING = b")q\x000" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(60))

BOMBS = {
    "memo of a far index": (b"]r\xff\xff\xff\xff0", "no tensors|nothing left"),
    "text of a lying length": (b"X\xff\xff\xff\x7fabc", "bytes wanted"),
    "bytes of a lying length": (b"\x8e" + b"\xff" * 8, "bytes wanted"),
    "negative length": (b"T\xff\xff\xff\xff", "bytes wanted"),
    "huge integer": (b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096, "an integer of 4096 bytes"),
    "frame beyond the end": (b"\x95" + b"\xff" * 8, "a frame beyond the end"),
    "laughing lists": (
        b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)),
        "too deeply, too many",
    ),
    "laughing tuples": (LAUGHING + b"h\x3c", "nested too deeply, too many"),
    "laughing key": (LAUGHING + b"}h\x3cNs", "a key of type tuple"),
    "list that holds itself": (b"]q\x00h\x00a", "within themselves"),
    "deep lists": (b"]" * 5000 + b"a" * 4999, "nested too deeply"),
    "no object": (b"", "nothing left on the stack"),
    "mark as an object": (b"(", "nothing left on the stack"),
    "unknown opcode": (b"\xfe", "an opcode that"),
    "extension registry": (b"\x82\x01", "an opcode that"),
    "state of a number": (b"K\x01}b", "a state of an object without one"),
    "text that is not UTF-8": (b"X\x01\x00\x00\x00\xff", "cannot be read at byte 2"),
    "persistent id of another kind": (b"K\x01Q", "a persistent id that is not a storage"),
    "protocol 0": (b"S'a'\n", "protocol 0 or 1"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_error_for_pickle_bombs(tmp_path, monkeypatch, name):
    monkeypatch.setattr("jaxcnn.zoo.containers.pickled_trees._MAX_NODES", 20_000)
    body, message = BOMBS[name]
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(write_zip(tmp_path / "a", proto(body), {}))


def test_error_for_zip_bombs(tmp_path):
    tree = {"a": tensor(count=1 << 24, shape=(1,))}
    path = write_zip(tmp_path / "a", tree, {"0": bytes(1 << 26)}, pack=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 19
    with pytest.raises(zoo.FormatError, match="more than is left of max_bytes=1048576"):
        zoo.read(path, max_bytes=1 << 20)
    content = bytearray(
        write_zip(tmp_path / "b", {"a": tensor()}, {"0": SIX.tobytes()}, pack=zipfile.ZIP_DEFLATED).read_bytes()
    )
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 1 << 30)
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(zoo.FormatError, match="claims 1073741824 bytes, but"):
        zoo.read(tmp_path / "b")


def test_error_for_archives_that_are_wrong(tmp_path):
    path = write_zip(tmp_path / "a", {"a": tensor()}, {"0": SIX.tobytes()})
    content = path.read_bytes()
    place = content.index(SIX.tobytes())
    path.write_bytes(content[: place + 4] + b"\x01" + content[place + 5 :])
    with pytest.raises(zoo.FormatError, match="the checksum of entry 'x/data/0' is wrong"):
        zoo.read(path)
    path = write_zip(path, {"a": tensor()}, {"0": SIX.tobytes()}, pack=zipfile.ZIP_BZIP2)
    with pytest.raises(zoo.FormatError, match="compressed by method 12"):
        zoo.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", dumps({"a": tensor()}))
        archive.writestr("y/data.pkl", dumps({"a": tensor()}))
    with pytest.raises(zoo.FormatError, match="with 2 entries data.pkl"):
        zoo.read(path)


def test_error_for_files_that_are_none(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"PK", b"\x80\x02", b"hello"):
        path.write_bytes(content)
        assert not is_pytorch(path, content)
        with pytest.raises(zoo.FormatError, match=r"a: "):
            read_pytorch(path, max_bytes=100)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    with pytest.raises(zoo.FormatError, match=r"the tar format of PyTorch before 0\.1\.10"):
        zoo.read(path)


def test_error_beyond_the_bytes_allowed():
    size = sum(array.nbytes for array in zoo.read(FIXTURES / "zip.pth").tensors.values())
    zoo.read(FIXTURES / "zip.pth", max_bytes=size)
    with pytest.raises(zoo.FormatError, match=f"more than is left of max_bytes={size - 1}"):
        zoo.read(FIXTURES / "zip.pth", max_bytes=size - 1)


def test_error_for_names_that_occur_twice(tmp_path):
    tree = {"a.b": tensor(), "a": {"b": tensor()}}
    with pytest.raises(zoo.FormatError, match=r"two tensors are named 'a\.b'"):
        zoo.read(write_zip(tmp_path / "a", tree, {"0": SIX.tobytes()}))
    with pytest.raises(zoo.FormatError, match="holds no tensors"):
        zoo.read(write_zip(tmp_path / "a", {"a": 1}, {}))


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "script.pt", "quantized.pth", "dtypes_legacy.pth"])
def test_damaged_files_are_read_or_refused(tmp_path, file):
    outcome = fuzz(read_pytorch, (FIXTURES / file).read_bytes(), tmp_path / file, cases=40)
    assert outcome.refused > 20


def test_damaged_pickles_are_read_or_refused(tmp_path):
    """Changes behind the checksums: the pickle of an archive, packed anew."""
    with zipfile.ZipFile(FIXTURES / "zip.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    path = tmp_path / "a"

    def read(inner: Path, *, max_bytes: int):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in entries.items():
                archive.writestr(name, inner.read_bytes() if name == pickled else content)
        return read_pytorch(path, max_bytes=max_bytes)

    outcome = fuzz(read, entries[pickled], tmp_path / "inner", cases=70, max_bytes=1 << 20)
    assert outcome.refused > 20 and outcome.read > 0


# Real files


@needs_data
@pytest.mark.parametrize(
    ("file", "count", "best"), [("resnet20-12fca82f", 97, 91.78), ("resnet56-4bfd9763", 277, 93.62)]
)
def test_real_residual_networks(file, count, best):
    checkpoint = zoo.read(DATA / "pytorch" / f"cifar10_{file}.th")
    assert len(checkpoint.tensors) == count and checkpoint.tensors["conv1.weight"].shape == (3, 3, 3, 16)
    assert checkpoint.tensors["linear.weight"].shape == (64, 10)
    assert checkpoint.metadata["extra"]["best_prec1"] == pytest.approx(best, abs=0.01)


@needs_data
def test_real_networks_equal_those_of_tensorflow():
    names = {"weights": "weight", "biases": "bias", "alpha": "weight"}
    compared = 0
    for number, net in ((1, "pnet"), (2, "rnet"), (3, "onet")):
        ours = dict(zoo.read(DATA / "pytorch" / f"mtcnn_{net}.pt").tensors)
        for name, array in zoo.read(DATA / "tensorflow" / f"mtcnn_det{number}.npy").tensors.items():
            layer, kind = name.split("/")
            layer = layer.lower().replace("-", "_")
            dense = layer.replace("conv", "dense").replace("fc", "dense")
            key = next(key for key in (f"{layer}.{names[kind]}", f"{dense}.{names[kind]}") if key in ours)
            found = ours.pop(key)
            if found.ndim == 4 and array.ndim == 4:
                found = found.transpose(1, 0, 2, 3)
            np.testing.assert_array_equal(found, array)
            compared += 1
        assert not ours
    assert compared == 13 + 16 + 21


@needs_data
def test_real_detector():
    checkpoint = zoo.read(DATA / "pytorch" / "ultraface_version-slim-320.pth")
    note = next(note for note in checkpoint.metadata["notes"] if "one input channel per group" in note)
    assert note.startswith("19 kernels (such as base_net.1.0.weight)")
    assert checkpoint.tensors["base_net.1.0.weight"].shape == (3, 3, 1, 16)
    assert len([array for array in checkpoint.tensors.values() if array.ndim]) == 159


@needs_data
def test_real_module_is_refused():
    with pytest.raises(zoo.FormatError, match=r"dncnn_sigma25_model\.pth: refuses __main__\.DnCNN: a pickled module"):
        zoo.read(DATA / "pytorch" / "dncnn_sigma25_model.pth")


@needs_data
def test_real_quantized_torchscript():
    checkpoint = zoo.read(DATA / "pytorch" / "torchvision_mobilenet_v2_quantized_torchscript.pt")
    kernels = {name: array for name, array in checkpoint.tensors.items() if array.ndim == 4}
    assert len(kernels) == 52 and sum(layout == "CMHW" for layout in checkpoint.metadata["layouts"].values()) == 17
    assert sum(array.size for name, array in checkpoint.tensors.items() if name.endswith("weight")) > 3_300_000
    assert all(array.dtype == np.float32 for array in kernels.values())
