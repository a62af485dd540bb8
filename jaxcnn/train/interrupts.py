"""Ctrl-C and SIGTERM during a run with a folder: a checkpoint is written before the program ends."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["Interrupted", "Interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised where a signal arrives while nothing is lost by stopping at once."""


class Interrupts:
    """Keeps a signal until the loop has a moment to write a checkpoint; a second one stops at once.

    A context manager. Signals that the program ignores, or that do not reach this thread, are left alone.

    Attributes:
        requested: Number of the signal that has arrived, or None.
    """

    def __init__(self, function: str, active: bool):
        """Takes the name for messages; watches nothing unless active."""
        self._function = function
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}
        self._at_once = False
        self.requested: int | None = None

    def __enter__(self) -> "Interrupts":
        """Starts to watch."""
        for number in SIGNALS if self._active else ():
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        """Restores the handlers that were there before."""
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raises ``Interrupted`` in a ``with`` block as soon as a signal arrives: in waiting for data, for one."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _take(self, number: int, frame: object) -> None:
        del frame
        again, self.requested = self.requested is not None, number
        if self._at_once:
            raise Interrupted
        if again:
            self.end(f"{self._function}: stopped at once")

    def end(self, text: str) -> NoReturn:
        """Ends the program as the signal would have: KeyboardInterrupt, exit code 143, or the program's own handler."""
        number = self.requested or signal.SIGINT
        before = self._before.get(number)
        if callable(before) and before is not signal.default_int_handler:
            before(number, None)
        if number == signal.SIGTERM:
            print(f"{text}.", file=sys.stderr, flush=True)
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt(text)
