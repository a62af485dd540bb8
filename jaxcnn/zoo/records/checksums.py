"""Checksums of files in the form in which sources publish them."""

import dataclasses
import hashlib
import os
import re

from jaxcnn._check import check

__all__ = ["Checksum", "hash_file"]

_FORMS = re.compile(r"(?i)sha256:[0-9a-f]{8,64}|sha1:[0-9a-f]{40}|md5:[0-9a-f]{32}")
_EXPECTED = "'sha256:' and 8 to 64 hexadecimal digits, 'sha1:' and 40, or 'md5:' and 32"


@dataclasses.dataclass(frozen=True)
class Checksum:
    """A checksum, or the first digits of one.

    Attributes:
        algorithm: ``"sha256"``, ``"sha1"`` or ``"md5"``.
        digits: Hexadecimal, in lower case.
    """

    algorithm: str
    digits: str

    @classmethod
    def parse(cls, function: str, text: object) -> "Checksum":
        """Parses ``sha256:...``, ``sha1:...`` or ``md5:...``; errors name ``function``."""
        good = isinstance(text, str) and _FORMS.fullmatch(text) is not None
        check(good, function, "checksum", _EXPECTED, repr(text))
        algorithm, _, digits = str(text).lower().partition(":")
        return cls(algorithm, digits)

    def of(self, path: str | os.PathLike[str]) -> "Checksum":
        """Computes the checksum of a file with the same algorithm."""
        return hash_file(path, self.algorithm)

    def matches(self, other: "Checksum") -> bool:
        """Tests whether a complete checksum equals this one, or begins with its digits."""
        return other.algorithm == self.algorithm and other.digits.startswith(self.digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digits}"


def hash_file(path: str | os.PathLike[str], algorithm: str = "sha256") -> Checksum:
    """Computes the checksum of a file."""
    with open(path, "rb") as file:
        # MD5 and SHA-1 protect against accidents only, which is permitted where they are disabled for security.
        state = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return Checksum(algorithm, state.hexdigest())
