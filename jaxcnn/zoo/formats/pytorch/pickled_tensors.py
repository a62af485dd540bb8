"""The restricted unpickler with the names that PyTorch's files use."""

import dataclasses
import re

from jaxcnn.zoo.containers.pickled_arrays import PickledArray, array_constructors
from jaxcnn.zoo.containers.restricted_unpickler import Constructor, OpaqueObject, RestrictedUnpickler
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.pytorch.sparse_tensors import SparseTensor, describe_sparse
from jaxcnn.zoo.formats.pytorch.tensor_views import (
    DTYPE_NAMES,
    STORAGES,
    Quantization,
    Storage,
    TensorView,
    TorchDtype,
    check_view,
    parse_sizes,
    parse_storage,
    to_numpy_dtype,
)

__all__ = ["MissingTensor", "torch_unpickler"]

_SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric")
_SCHEMES += ("per_channel_affine_float_qparams",)
_TENSOR_CLASSES = ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")


@dataclasses.dataclass(frozen=True)
class MissingTensor:
    """A tensor without values that could be read, and the reason in words."""

    reason: str

    def __str__(self) -> str:
        """Returns the reason."""
        return self.reason


def _write_refusal(name: str) -> str:
    if name.startswith("torch.nn.") or name.startswith("torchvision.") or name.startswith("__main__."):
        return f"refuses {name}: a pickled module, not weights; save its state_dict instead."
    return f"refuses {name}: a pickled object, not weights; save tensors, numbers and texts only, as a state_dict."


def torch_unpickler(
    source: SourceFile,
    data: memoryview,
    *,
    script: bool = False,
    folder: str = "",
    element_sizes: dict[str, int] | None = None,
) -> RestrictedUnpickler:
    """Builds an unpickler that knows tensors.

    Args:
        source: The file; arrays and long texts within the pickle are taken from its budget.
        data: The bytes that hold the pickles.
        script: Whether instances of TorchScript's classes become opaque objects; otherwise they are refused.
        folder: What precedes the keys of storages.
        element_sizes: Receives the bytes of one element of every storage that is named.
    """

    def tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> TensorView:
        return check_view(source, storage, offset, shape, strides, flags=rest[2] if len(rest) > 2 else None)

    def tensor_v3(
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        _grad: object,
        _hooks: object,
        dtype: object,
        flags: object = None,
    ) -> TensorView:
        return check_view(source, storage, offset, shape, strides, dtype=to_numpy_dtype(source, dtype), flags=flags)

    def quantized(
        storage: object, offset: object, shape: object, strides: object, scheme: object, *_: object
    ) -> TensorView:
        kind, *numbers = scheme if isinstance(scheme, tuple) and scheme else (None,)
        if isinstance(kind, str) and kind.startswith("torch.per_tensor") and len(numbers) == 2:
            good = isinstance(numbers[0], float) and isinstance(numbers[1], int)
            axis = None
        else:
            good = len(numbers) == 3 and isinstance(kind, str) and kind.startswith("torch.per_channel")
            good = good and all(isinstance(part, TensorView) for part in numbers[:2]) and type(numbers[2]) is int
            axis = numbers[2] if good else -1
            good = good and isinstance(shape, tuple) and 0 <= axis < len(shape)
        if not good:
            raise source.error("a quantized tensor of an unknown scheme.")
        quantization = Quantization(numbers[0], numbers[1], axis)
        return check_view(source, storage, offset, shape, strides, quantization=quantization)

    def sparse(layout: object = None, data: object = None, *_: object) -> SparseTensor:
        return describe_sparse(source, layout, data)

    def meta(_dtype: object, shape: object, *_: object) -> MissingTensor:
        return MissingTensor(f"a tensor of shape {parse_sizes(shape)} on the device 'meta', which has no values")

    def nested(*_: object) -> MissingTensor:
        return MissingTensor("a nested tensor, whose parts have different shapes")

    def moved(data: object = None, *_: object) -> object:
        if not isinstance(data, TensorView | PickledArray):
            raise source.error("a tensor of another device without its values.")
        return data

    def parameter(data: object = None, *_: object) -> object:
        if not isinstance(data, TensorView | SparseTensor | PickledArray | MissingTensor):
            raise source.error("a parameter without a tensor.")
        return data

    rebuilding: dict[str, object] = {"tensor": tensor, "tensor_v2": tensor, "tensor_v3": tensor_v3}
    rebuilding |= {"qtensor": quantized, "sparse_tensor": sparse, "sparse_csr_tensor": sparse}
    rebuilding |= {"meta_tensor_no_storage": meta, "nested_tensor": nested}
    rebuilding |= {"parameter": parameter, "parameter_with_state": parameter}
    rebuilding |= {f"device_tensor_from_{kind}": moved for kind in ("numpy", "cpu_tensor")}
    rebuilding = {f"torch._utils._rebuild_{name}": function for name, function in rebuilding.items()}

    def from_type(function: object, _kind: object, arguments: object, _state: object = None) -> object:
        known = isinstance(function, Constructor) and function.name in rebuilding
        if not known or not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise source.error("a tensor of an unknown class.")
        return function.call(*arguments)

    def size(items: object = ()) -> tuple[object, ...]:
        if not isinstance(items, list | tuple):
            raise source.error("a torch.Size of something other than numbers.")
        return tuple(items)

    names = array_constructors(source) | rebuilding
    names |= {"torch.nn.parameter.Parameter": parameter, "torch.Tensor": "torch.Tensor"}
    names |= {f"torch.{kind}Tensor": f"torch.{kind}Tensor" for kind in _TENSOR_CLASSES}
    names |= {"torch._tensor._rebuild_from_type_v2": from_type, "torch.Size": size}
    names |= {"torch.device": lambda *parts: ":".join(str(part)[:64] for part in parts if isinstance(part, str | int))}
    names |= {"torch.serialization._get_layout": lambda name="", *_: name if isinstance(name, str) else ""}
    names |= {f"torch.{name}": name for name in STORAGES}
    names |= {f"torch.storage.{name}": "UntypedStorage" for name in ("UntypedStorage", "_UntypedStorage")}
    names |= {f"torch.{name}": TorchDtype(name) for name in DTYPE_NAMES}
    names |= {f"torch.{name}": f"torch.{name}" for name in _SCHEMES}
    if script:
        names |= {
            f"torch.jit._pickle.{name}": lambda value, *_: value
            for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
        }

    def persistent(content: object) -> Storage:
        storage = parse_storage(source, content, folder)
        itemsize = storage.dtype.itemsize
        if element_sizes is not None and element_sizes.setdefault(storage.key, itemsize) != itemsize:
            raise source.error(f"storage {storage.key!r} has elements of two sizes.")
        return storage

    def find(name: str) -> object:
        if script and re.fullmatch(r"__torch__(\.\w+)+", name):
            return lambda *_: OpaqueObject(name)
        return names.get(name)

    return RestrictedUnpickler(source, data, known=find, refusal=_write_refusal, persistent=persistent)
