"""Models by name: ``create(name)``, then ``init`` and ``apply`` as of any Linen module."""

from jaxcnn.models.registry import create as create
from jaxcnn.models.registry import names as names
