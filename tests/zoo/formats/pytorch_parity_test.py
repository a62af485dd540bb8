"""Files that the installed PyTorch writes, compared with what ``torch.load(weights_only=True)`` reads from them."""

import collections

import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.formats.pytorch.checkpoint_file import read_pytorch
from tests.support.fuzzing import fuzz

torch = pytest.importorskip("torch", reason="writes the files")

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls some of these tensors experimental or deprecated

WEIGHT = torch.arange(24.0).reshape(4, 6)


def load(path, tree, *, legacy=False):
    """Saves a tree and reads it with PyTorch and with this package."""
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    return torch.load(path, weights_only=True), zoo.read(path)


def quantized(dtype):
    scales, zeros = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0.5, 1.0, 0.0, 1.0])
    if dtype == torch.qint8:
        return torch.quantize_per_channel(WEIGHT, scales.double(), zeros.long(), 0, dtype)
    return torch.quantize_per_channel(WEIGHT, scales, zeros, 0, dtype)  # zero points that are not integers


def sparse(layout):
    thin = torch.where(WEIGHT % 5 == 2, WEIGHT, 0)
    block = {"blocksize": (2, 3)} if "bs" in str(layout) else {}
    return thin.to_sparse(layout=layout, **block)


TENSORS = {
    "int8": lambda: quantized(torch.qint8),
    "float zero points": lambda: quantized(torch.quint8),
    "4 bits": lambda: quantized(torch.quint4x2),
    "2 bits": lambda: quantized(torch.quint2x4),
    "coo": lambda: sparse(torch.sparse_coo),
    "csr": lambda: sparse(torch.sparse_csr),
    "csc": lambda: sparse(torch.sparse_csc),
    "bsr": lambda: sparse(torch.sparse_bsr),
    "bsc": lambda: sparse(torch.sparse_bsc),
    "coo of rows": lambda: torch.sparse_coo_tensor([[0, 2]], [[1.0, 2.0], [3.0, 4.0]], (4, 2)),
    "coo with values to be added": lambda: torch.sparse_coo_tensor([[0, 0, 1], [2, 2, 0]], [1.0, 2.0, 3.0], (2, 3)),
    "coo without values": lambda: torch.zeros(2, 3).to_sparse(),
    "parameter": lambda: torch.nn.Parameter(sparse(torch.sparse_coo)),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", list(TENSORS))
def test_quantized_and_sparse_tensors_become_dense(tmp_path, name, legacy):
    expected, checkpoint = load(tmp_path / "a.pt", {"x": TENSORS[name]()}, legacy=legacy)
    dense = expected["x"].detach()
    dense = dense.dequantize() if dense.is_quantized else dense.to_dense()
    np.testing.assert_array_equal(checkpoint.tensors["x"], dense.numpy())
    assert checkpoint.tensors["x"].dtype == np.float32 and len(checkpoint.metadata["notes"]) == 1


def test_complex_numbers_of_half_precision(tmp_path):
    _, checkpoint = load(tmp_path / "a.pt", {"x": torch.tensor([1 + 2j, 3 - 0.5j], dtype=torch.complex32)})
    np.testing.assert_array_equal(checkpoint.tensors["x"], np.array([1 + 2j, 3 - 0.5j], np.complex64))


def test_a_checkpoint_with_a_learning_rate_in_steps(tmp_path):
    schedule = {"milestones": collections.Counter({3: 1, 5: 1}), "gamma": 0.1}  # the state of MultiStepLR
    tree = {"state_dict": {"weight": WEIGHT}, "schedule": schedule}
    expected, checkpoint = load(tmp_path / "a.pt", tree)
    assert expected["schedule"] == schedule
    assert checkpoint.metadata["extra"]["schedule"] == {"milestones": {"3": 1, "5": 1}, "gamma": 0.1}
    np.testing.assert_array_equal(checkpoint.tensors["weight"], WEIGHT.numpy().T)


def test_dynamically_quantized_layers_have_weights_and_biases(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 2, bias=False))
    state = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8).state_dict()
    expected, checkpoint = load(tmp_path / "a.pt", state)
    for layer in "01":
        weight, bias = expected[f"{layer}._packed_params._packed_params"]
        prefix = f"{layer}._packed_params._packed_params"
        np.testing.assert_array_equal(checkpoint.tensors[f"{prefix}.weight"], weight.dequantize().numpy().T)
        if bias is not None:
            np.testing.assert_array_equal(checkpoint.tensors[f"{prefix}.bias"], bias.detach().numpy())
    assert checkpoint.metadata["extra"] == {f"{layer}._packed_params.dtype": "qint8" for layer in "01"}


def test_plain_values_of_every_kind(tmp_path):
    plain = {
        "bytes": (bytearray(b"ab\xff"), "ab\xff"),
        "many bytes": (bytearray(b"ab" * 400), "ab" * 400),
        "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
        "set": ({1, 2}, [1, 2]),
        "tuple as key": ({(0, 1): 1}, {"(0, 1)": 1}),
        "dtypes": ([torch.qint8, torch.uint3, torch.bits8, torch.complex32], ["qint8", "uint3", "bits8", "complex32"]),
        "scheme": (torch.per_channel_affine_float_qparams, "torch.per_channel_affine_float_qparams"),
        "device": (torch.device("cpu"), "cpu"),
        "layout": (torch.sparse_coo, "torch.sparse_coo"),
    }
    tree = {name: value for name, (value, _) in plain.items()}
    _, checkpoint = load(tmp_path / "a.pt", {"x": WEIGHT, **tree})
    assert checkpoint.metadata["extra"] == {name: text for name, (_, text) in plain.items()}


def test_tensors_without_values_are_noted(tmp_path):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    _, checkpoint = load(tmp_path / "a.pt", {"x": WEIGHT, "a": torch.empty(2, 3, device="meta"), "b": nested})
    assert list(checkpoint.tensors) == ["x"]
    assert checkpoint.metadata["notes"][0].startswith("2 tensors without values of their own are left out, such as")


class Network(torch.nn.Module):
    """Convolutions of all kinds."""

    def __init__(self):
        super().__init__()
        self.depthwise = torch.nn.Conv2d(4, 8, 3, groups=4)
        self.grouped = torch.nn.Conv2d(8, 8, 1, groups=2)
        self.gray = torch.nn.Conv2d(1, 8, 1)
        self.up = torch.nn.ConvTranspose2d(8, 8, 2)
        self.line = torch.nn.Linear(8, 8)
        self.table = torch.nn.Embedding(8, 2)

    def forward(self, x):
        x = self.up(self.grouped(self.depthwise(x)))
        x = self.line(self.gray(x[:, :1]).mean((2, 3)))
        return x.sum() + self.table(torch.zeros(1, dtype=torch.int64)).sum()


@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_programs_tell_groups_and_transposed_convolutions(tmp_path, how):
    """Frozen weights are constants of the program."""
    module = Network().eval()
    made = torch.jit.trace(module, torch.ones(1, 4, 5, 5)) if how == "trace" else torch.jit.script(module)
    made = torch.jit.freeze(made) if how == "freeze" else made
    made.save(tmp_path / "a.pt")
    checkpoint = zoo.read(tmp_path / "a.pt")
    state = {name: array.detach().numpy() for name, array in module.state_dict().items()}
    expected = {
        "CMHW": state["depthwise.weight"].reshape(4, 2, 3, 3).transpose(2, 3, 0, 1),
        "OIHW": state["grouped.weight"].transpose(2, 3, 1, 0),
        "IOHW": state["up.weight"].transpose(2, 3, 0, 1),
        "OI": state["line.weight"].T,
    }
    layouts = checkpoint.metadata["layouts"]
    for layout, array in expected.items():
        name = next(name for name, found in layouts.items() if found == layout)
        np.testing.assert_array_equal(checkpoint.tensors[name], array)
    found = [array for name, array in checkpoint.tensors.items() if name not in layouts and array.ndim == 2]
    np.testing.assert_array_equal(found[0], state["table.weight"])
    assert len(layouts) == 5 and not any("nothing in the file" in note for note in checkpoint.metadata["notes"])
    if how == "freeze":
        assert all(name.startswith("CONSTANTS.c") for name in checkpoint.tensors)
        assert "tensors are constants of the program, such as CONSTANTS.c0." in checkpoint.metadata["notes"][0]


@pytest.mark.parametrize(
    ("layout", "indices"),
    [
        ("coo", [torch.tensor([[0, 9], [0, 1]])]),
        ("coo", [torch.tensor([[0, -1], [0, 1]])]),
        ("coo", [torch.tensor([[0, 1]])]),
        ("csr", [torch.tensor([0, 1, 1]), torch.tensor([0, 1])]),
        ("csr", [torch.tensor([0, 3, 2]), torch.tensor([0, 1])]),
        ("csr", [torch.tensor([0, 1, 2]), torch.tensor([0, 3])]),
        ("csr", [torch.tensor([], dtype=torch.int64), torch.tensor([0, 1])]),
    ],
)
def test_error_for_sparse_tensors_that_lie(tmp_path, layout, indices):
    path = tmp_path / "a.pt"
    torch.save({"x": Forged(layout, indices)}, path)
    with pytest.raises(zoo.FormatError, match="sparse tensor 'x' has indices or values that do not fit"):
        zoo.read(path)


class Forged:
    """Pickled as a sparse tensor that PyTorch would not make."""

    def __init__(self, layout, indices):
        self.layout, self.indices = layout, indices

    def __reduce__(self):
        shape = torch.Size([2, 2] if self.layout == "csr" else [3, 3])
        layout = {"coo": torch.sparse_coo, "csr": torch.sparse_csr}[self.layout]
        return torch._utils._rebuild_sparse_tensor, (layout, (*self.indices, torch.ones(2), shape))


@pytest.mark.errors
def test_damaged_sparse_and_packed_tensors(tmp_path):
    path = tmp_path / "a.pt"
    names = ("float zero points", "4 bits", "coo", "bsr")
    torch.save({name: TENSORS[name]() for name in names}, path, _use_new_zipfile_serialization=False)
    outcome = fuzz(read_pytorch, path.read_bytes(), path, cases=40)
    assert outcome.refused and outcome.read
