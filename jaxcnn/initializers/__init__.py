"""Initial values of parameters."""

from jaxcnn.initializers.depthwise import depthwise_variance_scaling as depthwise_variance_scaling
