"""Initializers of parameters."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.initializers.depthwise import depthwise_variance_scaling as depthwise_variance_scaling

_close_namespace(__name__)
