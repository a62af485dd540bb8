"""Checksums of files, as those who publish weights write them."""

import dataclasses
import hashlib
import os
import re
from typing import Any

from jaxcnn._check import check

__all__ = ["Checksum", "digest"]

_FORMS = re.compile(r"(?i)sha256:[0-9a-f]{8,64}|sha1:[0-9a-f]{40}|md5:[0-9a-f]{32}")
_EXPECTED = "'sha256:' and 8 to 64 hexadecimal digits, 'sha1:' and 40, or 'md5:' and 32"


@dataclasses.dataclass(frozen=True)
class Checksum:
    """An expected digest, or the first digits of one.

    Attributes:
        algorithm: ``"sha256"``, ``"sha1"`` or ``"md5"``.
        digits: Hexadecimal, in lower case.
    """

    algorithm: str
    digits: str

    @classmethod
    def parse(cls, function: str, text: Any) -> "Checksum":
        """Reads ``sha256:...``, ``sha1:...`` or ``md5:...``, or refuses it in the name of ``function``."""
        good = isinstance(text, str) and _FORMS.fullmatch(text) is not None
        check(good, function, "checksum", _EXPECTED, repr(text))
        algorithm, _, digits = text.lower().partition(":")
        return cls(algorithm, digits)

    def of(self, path: str | os.PathLike[str]) -> "Checksum":
        """Gives the digest of a file by the same algorithm."""
        return digest(path, self.algorithm)

    def fits(self, other: "Checksum") -> bool:
        """Says whether a whole digest is the expected one, or begins with it."""
        return other.algorithm == self.algorithm and other.digits.startswith(self.digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digits}"


def digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> Checksum:
    """Gives the digest of a file."""
    with open(path, "rb") as file:
        # MD5 and SHA-1 guard against accidents only, which systems that forbid them for secrets allow.
        state = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return Checksum(algorithm, state.hexdigest())
