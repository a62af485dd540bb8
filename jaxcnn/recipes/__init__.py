"""Experiments that can be repeated by one command."""

from jaxcnn.recipes import rts_digits as rts_digits
