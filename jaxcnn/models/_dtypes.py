"""The two dtypes that every layer and model takes."""

from typing import TypedDict

from jaxcnn._typing import Dtype

__all__ = ["Dtypes"]


class Dtypes(TypedDict):
    """Keyword arguments that a model passes on to all of its layers."""

    dtype: Dtype | None
    param_dtype: Dtype
