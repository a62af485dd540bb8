"""A restricted unpickler: it builds plain data and instances of a few known names, and never imports or calls by name.

Opcodes have the names of the standard library's ``pickle``, which ``pickletools`` documents.
"""

import pickle
import struct
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["Constructor", "LimitError", "OpaqueObject", "RestrictedUnpickler"]

_MAX_STEPS = 2_000_000
_MAX_LINE = 1024
_MAX_INTEGER = 1024  # bytes
_LONG_TEXT = 256  # bytes; longer strings of Python 2 are data of arrays and stay views of the file
_MAX_HASH = (1 << 61) - 1  # modulus of the hashes of numbers
_MAX_RARE_KEYS = 1000
_MAX_KEY_PARTS = 16  # of a key that is a tuple
_MARK = object()  # on the stack, where pickle.MARK put it

_CONSTANTS: dict[bytes, bool | None] = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_EMPTY: dict[bytes, Callable[[], object]] = {
    pickle.EMPTY_LIST: list,
    pickle.EMPTY_DICT: dict,
    pickle.EMPTY_TUPLE: tuple,
    pickle.EMPTY_SET: set,
}
_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
_LONGS = {pickle.LONG1: "<B", pickle.LONG4: "<i"}
_GET = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
_PUT = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_BYTES = {pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q", pickle.BYTEARRAY8: "<Q"}
_PYTHON2_TEXT = {pickle.SHORT_BINSTRING: "<B", pickle.BINSTRING: "<i"}
_TEXT = {pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q"}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_FILL = (pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS)
_BUILD = (pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.BUILD)
_BUILD += (pickle.BINPERSID,)
_TEXT_PROTOCOL = (  # of protocols 0 and 1 only, unlike INT and GLOBAL
    *(pickle.STRING, pickle.UNICODE, pickle.LONG, pickle.FLOAT, pickle.GET, pickle.PUT, pickle.PERSID),
    *(pickle.DICT, pickle.LIST, pickle.INST, pickle.OBJ),
)


_COSTS: dict[bytes, int] = {  # bytes of Python's objects
    **dict.fromkeys((pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.TUPLE, *_TUPLES, *_NUMBERS, *_LONGS, *_TEXT), 64),
    **dict.fromkeys((*_BYTES, *_PYTHON2_TEXT, pickle.EMPTY_SET, *_BUILD), 200),
    **dict.fromkeys((*_PUT, pickle.MEMOIZE), 80),
}
_COST_PIECE = 1 << 20


class LimitError(ValueError):
    """A pickle with more of something than any file of weights has."""


class Constructor:
    """A known name of the pickle that may be called: a function that checks its arguments."""

    def __init__(self, name: str, call: Callable[..., object]):
        """Binds a name to its function."""
        self.name, self.call = name, call


class OpaqueObject:
    """An instance of an unknown class: its name and the attributes that the pickle sets."""

    def __init__(self, name: str):
        """Makes an instance without attributes."""
        self.name = name
        self.state: object = None


@runtime_checkable
class _Stateful(Protocol):
    """An object that takes its state from a BUILD."""

    def set_state(self, state: object) -> None: ...


class RestrictedUnpickler:
    """Reads pickles of protocol 2 to 5, each value made by code of this package.

    Strings of Python 2 are decoded as latin-1; long ones stay views of ``data``. Only names in ``known`` are
    instantiated. Memory is linear in the length of the pickle, and values that could be large are never compared,
    hashed or printed: keys of dictionaries are strings, numbers, bytes, None or short tuples of them.

    Args:
        source: The file; long texts are taken from its budget.
        data: The bytes that hold the pickles.
        known: Returns for a dotted name the function that makes its instances or the value that represents it, or
            None to refuse it.
        refusal: Writes the error message for an unknown name.
        persistent: Makes an object of a persistent id.
    """

    def __init__(
        self,
        source: SourceFile,
        data: memoryview,
        *,
        known: Callable[[str], object],
        refusal: Callable[[str], str],
        persistent: Callable[[object], object] | None = None,
    ):
        """Begins at the first byte of ``data``."""
        self.source, self.data, self.position = source, data, 0
        self._known, self._refusal, self._persistent = known, refusal, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, object] = {}
        self._steps = 0
        self._rare_keys = 0

    def load(self) -> Any:
        """Reads the object of the next pickle and moves ``position`` behind it.

        Raises:
            FormatError: For a pickle that is damaged, of protocol 0 or 1, or that uses an unknown name.
        """
        self._stack, self._memo = [], {}
        opcode, cost = b"", 0
        start = self.position
        try:
            while True:
                start = self.position
                opcode = self._take(1).tobytes()
                self._steps += 1
                if self._steps > _MAX_STEPS:
                    raise LimitError(f"the pickle has more than {_MAX_STEPS} steps")
                cost += _COSTS.get(opcode, 8)
                if cost > _COST_PIECE or opcode == pickle.STOP:
                    self.source.spend_objects(cost)
                    cost = 0
                if opcode == pickle.STOP:
                    return self._pop()
                self._step(opcode)
        except FormatError:
            raise
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            MemoryError,
            struct.error,
        ) as error:
            text = f"the pickle cannot be read at byte {start}, opcode 0x{opcode.hex() or '00'} ({error})."
            raise self.source.error(text) from error

    def _take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.data) - self.position:
            raise ValueError(f"{count} bytes wanted, {len(self.data) - self.position} left")
        self.position += count
        return self.data[self.position - count : self.position]

    def _number(self, code: str) -> Any:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _line(self) -> str:
        head = bytes(self.data[self.position : self.position + _MAX_LINE])
        line, end, _ = head.partition(b"\n")
        if not end:
            raise ValueError("a line without end")
        self.position += len(line) + 1
        return line.decode("utf-8")

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise ValueError("nothing left on the stack")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise ValueError("an object of another kind on the stack")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise ValueError("no mark on the stack")

    def _step(self, opcode: bytes) -> None:
        push = self._stack.append
        if opcode in _GET:
            push(self._memo[self._number(_GET[opcode])])
        elif opcode in _PUT:
            self._memo[self._number(_PUT[opcode])] = self._top(object)
        elif opcode == pickle.MEMOIZE:
            self._memo[len(self._memo)] = self._top(object)
        elif opcode == pickle.MARK:
            push(_MARK)
        elif opcode in _CONSTANTS:
            push(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            push(_EMPTY[opcode]())
        elif opcode in _NUMBERS:
            push(self._number(_NUMBERS[opcode]))
        elif opcode in _LONGS:
            push(self._integer(self._number(_LONGS[opcode])))
        elif opcode in _TEXT or opcode in _PYTHON2_TEXT or opcode in _BYTES:
            push(self._text(opcode))
        elif opcode in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[opcode])]
            push(tuple(reversed(items)))
        elif opcode == pickle.TUPLE:
            push(tuple(self._pop_to_mark()))
        elif opcode in _FILL:
            self._fill(opcode)
        elif opcode in _BUILD:
            self._build(opcode)
        elif opcode == pickle.PROTO:
            protocol = self._number("<B")
            if not 2 <= protocol <= 5:
                raise self.source.error(f"a pickle of protocol {protocol}; protocols 2 to 5 are read.")
        elif opcode == pickle.FRAME:
            if self._number("<Q") > len(self.data) - self.position:
                raise ValueError("a frame beyond the end of the file")
        elif opcode == pickle.POP:
            self._pop()
        elif opcode == pickle.POP_MARK:
            self._pop_to_mark()
        elif opcode == pickle.DUP:
            push(self._top(object))
        elif opcode == pickle.INT:
            push({"00": False, "01": True}[self._line()])
        elif opcode in _TEXT_PROTOCOL:
            raise self.source.error("a pickle of protocol 0 or 1; save it again with protocol 2 or a later one.")
        else:
            raise ValueError("an opcode that files of weights do not have")

    def _integer(self, count: int) -> int:
        if count > _MAX_INTEGER:
            raise LimitError(f"an integer of {count} bytes")
        return int.from_bytes(self._take(count), "little", signed=True)

    def _text(self, opcode: bytes) -> str | bytes | memoryview:
        if opcode in _BYTES:
            view = self._take(self._number(_BYTES[opcode]))
            return view if len(view) > _LONG_TEXT else bytes(view)
        if opcode in _PYTHON2_TEXT:
            view = self._take(self._number(_PYTHON2_TEXT[opcode]))
            return view if len(view) > _LONG_TEXT else str(view, "latin-1")
        view = self._take(self._number(_TEXT[opcode]))
        self.source.spend(len(view) if len(view) > _LONG_TEXT else 0, "a text")
        return str(view, "utf-8", "surrogatepass")

    def _fill(self, opcode: bytes) -> None:
        """Puts items into the list, dictionary or set on top of the stack."""
        if opcode == pickle.APPEND:
            value = self._pop()
            self._top(list).append(value)
        elif opcode == pickle.SETITEM:
            value, key = self._pop(), self._pop()
            self._top(dict)[self._check_key(key)] = value
        else:
            items = self._pop_to_mark()
            if opcode == pickle.APPENDS:
                self._top(list).extend(items)
            elif opcode == pickle.SETITEMS:
                if len(items) % 2:
                    raise ValueError("a key without value")
                self._top(dict).update(zip(map(self._check_key, items[::2]), items[1::2], strict=True))
            else:
                self._top(set).update(map(self._check_key, items))

    def _check_key(self, key: object) -> Hashable:
        """Refuses keys that could take forever to hash or compare.

        Python mixes a secret into the hashes of texts only, so that many numbers, or tuples of them, can be made that
        all have the same hash; integers of less than 61 bits have different ones.
        """
        if key is None or isinstance(key, str | bytes) or (isinstance(key, int) and abs(key) < _MAX_HASH):
            return key
        flat = isinstance(key, tuple) and len(key) <= _MAX_KEY_PARTS and not any(isinstance(p, tuple) for p in key)
        if not flat and not isinstance(key, int | float):
            raise ValueError(f"a key of type {type(key).__name__}")
        self._rare_keys += 1
        if self._rare_keys > _MAX_RARE_KEYS:
            raise LimitError(f"more than {_MAX_RARE_KEYS} keys that are tuples, floats or large integers")
        return tuple(self._check_key(part) for part in key) if isinstance(key, tuple) else key

    def _build(self, opcode: bytes) -> None:
        """Looks up a name, calls a known one, or sets the state of an object."""
        if opcode == pickle.GLOBAL:
            module = self._line()
            self._stack.append(self._find(module, self._line()))
        elif opcode == pickle.STACK_GLOBAL:
            name, module = self._pop(), self._pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise ValueError("a name that is not a text")
            self._stack.append(self._find(module, name))
        elif opcode == pickle.BINPERSID:
            if self._persistent is None:
                raise ValueError("a persistent id where none is expected")
            self._stack.append(self._persistent(self._pop()))
        elif opcode == pickle.BUILD:
            state = self._pop()
            self._set_state(self._top(object), state)
        else:
            options = self._pop() if opcode == pickle.NEWOBJ_EX else {}
            arguments = self._pop()
            function = self._pop()
            if not isinstance(function, Constructor) or not isinstance(arguments, tuple) or options != {}:
                raise ValueError("a call of something other than a known name")
            self._stack.append(function.call(*arguments))

    def _find(self, module: str, name: str) -> object:
        dotted = f"{module}.{name}"[:200]
        found = self._known(dotted)
        if found is None:
            raise self.source.error(self._refusal(dotted))
        return Constructor(dotted, found) if callable(found) else found

    @staticmethod
    def _set_state(target: object, state: object) -> None:
        if isinstance(target, OpaqueObject):
            target.state = state
        elif isinstance(target, _Stateful):
            target.set_state(state)
        elif not isinstance(target, Mapping) or not isinstance(state, dict):
            raise ValueError("a state of an object without one")
        # The state of an OrderedDict, torch's _metadata, adds nothing.
