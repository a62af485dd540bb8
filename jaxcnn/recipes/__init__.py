"""Experiments that can be repeated by one command."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.recipes import rts_digits as rts_digits

_close_namespace(__name__, modules=True)
