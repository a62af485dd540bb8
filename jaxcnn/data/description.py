"""What data objects say of themselves, for ``run.json``."""

import hashlib
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxcnn._typing import PyTree

__all__ = ["SelfDescribing", "SelfIdentifying", "digest_arrays", "digest_text", "label_range"]

_DIGESTED = 2**26
"""Bytes of an array up to which all of them count in a digest."""


@runtime_checkable
class SelfDescribing(Protocol):
    """Data that know where they come from."""

    def describe(self) -> dict[str, Any]:
        """Returns JSON values: ``"kind"`` and what else tells where the examples come from.

        ``"classes"`` are the names of the classes, ``"labels"`` the lowest and the highest class number.
        ``"preprocessing"`` is what makes an input of a picture: ``"size"`` [h, w], ``"channels"``, ``"fit"``,
        ``"value_range"`` and, where values are standardized, ``"mean"`` and ``"std"``.
        """
        ...


@runtime_checkable
class SelfIdentifying(Protocol):
    """Data that a run can recognize when it is continued."""

    def fingerprint(self) -> dict[str, Any]:
        """Returns JSON values that differ for other data: ``"content"``, and ``"order"`` for training."""
        ...


def digest_arrays(tree: PyTree) -> str:
    """Computes a digest of the arrays of a tree: names, dtypes, shapes and values.

    Of an array of more than 64 MiB evenly spaced values count.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        values = array.reshape(-1)[:: max(1, -(-array.nbytes // _DIGESTED))]
        digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def digest_text(text: str) -> str:
    """Computes a digest of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def label_range(labels: Any) -> dict[str, list[int]]:
    """Returns the entry ``"labels"`` of a description, empty where labels are not class numbers."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        return {}
    return {"labels": [int(labels.min()), int(labels.max())]}
