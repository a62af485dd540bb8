"""The objects of a TorchScript archive: their attributes, and how the program beside them uses their tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.restricted_unpickler import OpaqueObject
from jaxcnn.zoo.containers.zip_archive import ZipArchive
from jaxcnn.zoo.formats.pytorch.programs import KernelUse, find_uses
from jaxcnn.zoo.formats.pytorch.tensor_views import TensorView

__all__ = ["CONSTANTS", "ScriptObjects", "list_constants"]

CONSTANTS = "CONSTANTS"
"""What programs call the tuple of their constants."""

_MAX_PROGRAM = 1 << 24  # bytes of one file


def list_constants(constants: object) -> dict[str, object]:
    """Returns the constants of a program under the names that it uses: ``c0``, ``c1`` and so on."""
    items = constants if isinstance(constants, tuple | list) else ()
    return {f"c{place}": item for place, item in enumerate(items)}


class ScriptObjects:
    """The objects of one archive, and where their tensors come from.

    Args:
        archive: The archive.
        root: The folder in it that everything is in, ``"name/"``.
        constants: The constants of the program, by name.
    """

    def __init__(self, archive: ZipArchive, root: str, constants: Mapping[str, object]):
        self.archive, self.root = archive, root
        self._origins: dict[int, tuple[str, str]] = {
            id(value): ("", name.removeprefix("c")) for name, value in constants.items()
        }
        self._settings: dict[int, object] = {}
        self._constants: dict[str, KernelUse] | None = None
        self._programs: dict[str, dict[tuple[str, str], KernelUse]] = {}

    def find_attributes(self, node: OpaqueObject) -> object:
        """Returns the attributes of an object; those of packed parameters get names."""
        state = node.state
        if node.name.endswith("LinearPackedParamsBase") and isinstance(state, tuple) and len(state) == 2:
            return {"weight": state[0], "bias": state[1]}
        if "PackedParamsBase" in node.name and isinstance(state, tuple) and len(state) == 3:
            _, second, third = state
            if isinstance(second, list) and isinstance(third, list) and len(second) == 2 and len(third) == 1:
                self._settings[id(second[1])] = second[0]
                return {"weight": second[1], "bias": third[0], "config": second[0]}
            if isinstance(second, list) and isinstance(third, list) and len(third) == 3:
                self._settings[id(third[1])] = second
                return {"weight": third[1], "bias": third[2], "config": second}
        if isinstance(state, dict):
            for key, value in state.items():
                if isinstance(value, TensorView) and isinstance(key, str):
                    self._origins[id(value)] = (node.name, key)
        return state if isinstance(state, dict | list | tuple) else None

    def find_tensor_uses(
        self, tensors: Mapping[str, Any], read_tensor: Callable[[TensorView], np.ndarray]
    ) -> dict[str, KernelUse]:
        """Finds the uses of tensors that the program, or the parameters packed with them, state.

        Args:
            tensors: Name to tensor.
            read_tensor: Returns the values of a small tensor.

        Returns:
            Name to use.
        """
        found: dict[str, KernelUse] = {}
        for name, tensor in tensors.items():
            if id(tensor) in self._settings:
                use = _parse_settings(self._settings[id(tensor)], read_tensor)
            else:
                use = self._find_use(*self._origins.get(id(tensor), ("", "")))
            if use is not None:
                found[name] = use
        return found

    def _find_use(self, kind: str, attribute: str) -> KernelUse | None:
        if not attribute:
            return None
        if kind:
            module, _, name = kind.rpartition(".")
            return self._uses(f"{self.root}code/{module.replace('.', '/')}.py").get((name, attribute))
        if self._constants is None:
            code = [
                name for name in self.archive.entries if name.startswith(f"{self.root}code/") and name[-3:] == ".py"
            ]
            found: dict[str, set[KernelUse]] = {}
            for entry in code:
                for (owner, number), use in self._uses(entry).items():
                    if not owner:
                        found.setdefault(number, set()).add(use)
            self._constants = {number: uses.pop() for number, uses in found.items() if len(uses) == 1}
        return self._constants.get(attribute)

    def _uses(self, entry: str) -> dict[tuple[str, str], KernelUse]:
        """Returns the uses in one file of the program, empty if there is none."""
        if entry not in self._programs:
            info = self.archive.entries.get(entry)
            readable = info is not None and info.file_size <= _MAX_PROGRAM
            text = str(self.archive.read(entry), "utf-8", "replace") if readable else ""
            self._programs[entry] = find_uses(text)
        return self._programs[entry]


def _parse_settings(settings: object, read_tensor: Callable[[TensorView], np.ndarray]) -> KernelUse | None:
    """Parses what PyTorch packs beside a quantized kernel: axes, stride, padding, dilation and so on, groups, flags."""
    numbers = settings
    if isinstance(settings, TensorView) and len(settings.shape) == 1 and settings.shape[0] < 64:
        numbers = read_tensor(settings).tolist()
    if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers) or len(numbers) < 3:
        return None
    axes, groups, flags = numbers[0], numbers[-2], numbers[-1]
    if not 1 <= axes <= 3 or len(numbers) != 3 + 4 * axes or groups < 1:
        return None
    return KernelUse("conv_transpose" if flags & 1 else "conv", groups)
