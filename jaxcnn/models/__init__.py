"""Models by name: ``create(name)``, then ``init`` and ``apply`` as of any Linen module."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.models.cost import count_flops as count_flops
from jaxcnn.models.registry import create as create
from jaxcnn.models.registry import names as names

_close_namespace(__name__)
