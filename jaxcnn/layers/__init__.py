"""Linen modules, each a thin wrapper over ``jaxcnn.ops``: ``__call__(x, *, train=False)``."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.layers.convolution import Conv as Conv
from jaxcnn.layers.convolution import DepthwiseConv as DepthwiseConv
from jaxcnn.layers.convolution import SeparableConv as SeparableConv
from jaxcnn.layers.dropout import DropBlock as DropBlock
from jaxcnn.layers.dropout import DropPath as DropPath
from jaxcnn.layers.dropout import SpatialDropout as SpatialDropout
from jaxcnn.layers.inverse_compositional import InverseCompositionalTransformer as InverseCompositionalTransformer
from jaxcnn.layers.parallel_transformer import ParallelTransformer as ParallelTransformer
from jaxcnn.layers.pooling import GlobalWeightedAveragePool as GlobalWeightedAveragePool
from jaxcnn.layers.transformer import SpatialTransformer as SpatialTransformer
from jaxcnn.layers.volume_transformer import VolumeTransformer as VolumeTransformer

_close_namespace(__name__)
