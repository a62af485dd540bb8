"""A restricted unpickler: data only, objects of a few known names, and nothing is ever imported or called by name."""

import struct
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Budget, FormatError

__all__ = ["Bag", "Global", "Pickle", "TooMuch"]

_MAX_STEPS = 2_000_000
_MAX_LINE = 1024
_MAX_INTEGER = 1024  # bytes
_LONG_TEXT = 256  # bytes; longer strings of Python 2 are data of arrays and stay views of the file
_MARK = object()

_PLAIN: dict[int, Any] = {ord("N"): None, 0x88: True, 0x89: False}
_EMPTY: dict[int, Callable[[], Any]] = {ord("]"): list, ord("}"): dict, ord(")"): tuple, 0x8F: set}
_NUMBERS = {ord("J"): "<i", ord("K"): "<B", ord("M"): "<H", ord("G"): ">d"}
_GET = {ord("h"): "<B", ord("j"): "<I"}
_PUT = {ord("q"): "<B", ord("r"): "<I"}
_BYTES = {ord("C"): "<B", ord("B"): "<I", 0x8E: "<Q", 0x96: "<Q"}
_OLD_TEXT = {ord("U"): "<B", ord("T"): "<i"}
_TEXT = {0x8C: "<B", ord("X"): "<I", 0x8D: "<Q"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_OLD = b"ISVLFgpdlcioP"  # opcodes of protocols 0 and 1; of these only INT and GLOBAL occur in later ones


class TooMuch(ValueError):
    """A pickle with more of something than any file of weights has."""


class Global:
    """A name of the pickle that is known and called: a function of checked arguments."""

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        """Binds a name to its function."""
        self.name, self.call = name, call


class Bag:
    """An instance of a class that is not known: its name and the attributes that the pickle gives it."""

    def __init__(self, name: str) -> None:
        """Makes an instance without attributes."""
        self.name = name
        self.state: Any = None


class Pickle:
    """Reads pickles of protocol 2 to 5 out of bytes, each value made by code of this package.

    Strings of Python 2 are decoded as latin-1; long ones stay views of ``data``. Instances are made of the names in
    ``known`` only. Memory is linear in the length of the pickle, and no value is compared, hashed or printed that
    could be large: keys of dictionaries are strings, numbers, bytes or None.

    Args:
        path: The file, for messages.
        data: Its bytes.
        known: Gives for a dotted name the function that makes its instances, or None to refuse it.
        refusal: What to say of a name that is not known.
        persistent: Makes an object of a persistent id.
        budget: What long texts may take.
    """

    def __init__(
        self,
        path: Path,
        data: memoryview,
        *,
        known: Callable[[str], Any],
        refusal: Callable[[str], str],
        persistent: Callable[[Any], Any] | None = None,
        budget: Budget,
    ) -> None:
        """Begins at the first byte of ``data``."""
        self.path, self.data, self.position = path, data, 0
        self._known, self._refusal, self._persistent, self._budget = known, refusal, persistent, budget
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def load(self) -> Any:
        """Gives the object of the next pickle and leaves ``position`` behind it.

        Raises:
            FormatError: For a pickle that is damaged, of protocol 0 or 1, or that names what is not known.
        """
        self._stack, self._memo = [], {}
        opcode = 0
        start = self.position
        try:
            while True:
                start = self.position
                opcode = self._take(1)[0]
                self._steps += 1
                if self._steps > _MAX_STEPS:
                    raise TooMuch(f"the pickle has more than {_MAX_STEPS} steps")
                if opcode == ord("."):
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
            text = f"the pickle cannot be read at byte {start}, opcode 0x{opcode:02x} ({error})."
            raise FormatError(self.path, text) from error

    def _take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.data) - self.position:
            raise ValueError(f"{count} bytes wanted, {len(self.data) - self.position} left")
        self.position += count
        return self.data[self.position - count : self.position]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

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

    def _top(self, kind: type | tuple[type, ...]) -> Any:
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

    def _step(self, opcode: int) -> None:
        push = self._stack.append
        if opcode in _GET:
            push(self._memo[self._number(_GET[opcode])])
        elif opcode in _PUT:
            self._memo[self._number(_PUT[opcode])] = self._top(object)
        elif opcode == 0x94:  # MEMOIZE
            self._memo[len(self._memo)] = self._top(object)
        elif opcode == ord("("):
            push(_MARK)
        elif opcode in _PLAIN:
            push(_PLAIN[opcode])
        elif opcode in _EMPTY:
            push(_EMPTY[opcode]())
        elif opcode in _NUMBERS:
            push(self._number(_NUMBERS[opcode]))
        elif opcode in (0x8A, 0x8B):
            push(self._integer(self._number("<B" if opcode == 0x8A else "<i")))
        elif opcode in _TEXT or opcode in _OLD_TEXT or opcode in _BYTES:
            push(self._text(opcode))
        elif opcode in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[opcode])]
            push(tuple(reversed(items)))
        elif opcode == ord("t"):
            push(tuple(self._pop_to_mark()))
        elif opcode in b"aesu" or opcode == 0x90:
            self._fill(opcode)
        elif opcode in b"cRbQ" or opcode in (0x81, 0x92, 0x93):
            self._make(opcode)
        elif opcode == 0x80:
            protocol = self._number("<B")
            if not 2 <= protocol <= 5:
                raise FormatError(self.path, f"a pickle of protocol {protocol}; protocols 2 to 5 are read.")
        elif opcode == 0x95:  # FRAME
            if self._number("<Q") > len(self.data) - self.position:
                raise ValueError("a frame beyond the end of the file")
        elif opcode == ord("0"):
            self._pop()
        elif opcode == ord("1"):
            self._pop_to_mark()
        elif opcode == ord("2"):
            push(self._top(object))
        elif opcode == ord("I"):
            push({"00": False, "01": True}[self._line()])
        elif opcode in _OLD:
            raise FormatError(self.path, "a pickle of protocol 0 or 1; save it again with protocol 2 or a later one.")
        else:
            raise ValueError("an opcode that files of weights do not have")

    def _integer(self, count: int) -> int:
        if count > _MAX_INTEGER:
            raise TooMuch(f"an integer of {count} bytes")
        return int.from_bytes(self._take(count), "little", signed=True)

    def _text(self, opcode: int) -> Any:
        if opcode in _BYTES:
            view = self._take(self._number(_BYTES[opcode]))
            return view if len(view) > _LONG_TEXT else bytes(view)
        if opcode in _OLD_TEXT:
            view = self._take(self._number(_OLD_TEXT[opcode]))
            return view if len(view) > _LONG_TEXT else str(view, "latin-1")
        view = self._take(self._number(_TEXT[opcode]))
        self._budget.spend(len(view) if len(view) > _LONG_TEXT else 0, "a text")
        return str(view, "utf-8", "surrogatepass")

    def _fill(self, opcode: int) -> None:
        """APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS."""
        if opcode == ord("a"):
            value = self._pop()
            self._top(list).append(value)
        elif opcode == ord("s"):
            value, key = self._pop(), self._pop()
            self._top(dict)[_key(key)] = value
        else:
            items = self._pop_to_mark()
            if opcode == ord("e"):
                self._top(list).extend(items)
            elif opcode == ord("u"):
                if len(items) % 2:
                    raise ValueError("a key without value")
                self._top(dict).update(zip(map(_key, items[::2]), items[1::2], strict=True))
            else:
                self._top(set).update(map(_key, items))

    def _make(self, opcode: int) -> None:
        """GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, BINPERSID."""
        if opcode == ord("c"):
            module = self._line()
            self._stack.append(self._find(module, self._line()))
        elif opcode == 0x93:
            name, module = self._pop(), self._pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise ValueError("a name that is no text")
            self._stack.append(self._find(module, name))
        elif opcode == ord("Q"):
            if self._persistent is None:
                raise ValueError("a persistent id where none may be")
            self._stack.append(self._persistent(self._pop()))
        elif opcode == ord("b"):
            state = self._pop()
            self._build(self._top(object), state)
        else:
            options = self._pop() if opcode == 0x92 else {}
            arguments = self._pop()
            made = self._pop()
            if not isinstance(made, Global) or not isinstance(arguments, tuple) or options != {}:
                raise ValueError("a call of what is no known name")
            self._stack.append(made.call(*arguments))

    def _find(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"[:200]
        found = self._known(dotted)
        if found is None:
            raise FormatError(self.path, self._refusal(dotted))
        return Global(dotted, found) if callable(found) else found

    @staticmethod
    def _build(made: Any, state: Any) -> None:
        if isinstance(made, Bag):
            made.state = state
        elif hasattr(made, "set_state"):
            made.set_state(state)
        elif not isinstance(made, Mapping) or not isinstance(state, dict):
            raise ValueError("a state of what has none")  # that of an OrderedDict, torch's _metadata, says nothing new


def _key(key: Any) -> Hashable:
    """Refuses keys whose hash or comparison could take for ever."""
    if key is None or isinstance(key, str | int | float | bytes):
        return key
    raise ValueError(f"a key of type {type(key).__name__}")
