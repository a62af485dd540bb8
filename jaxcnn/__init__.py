"""Convolutional image models in JAX: sampling, spatial transformers, weighted pooling, training."""

from jaxcnn import augment as augment
from jaxcnn import data as data
from jaxcnn import graphs as graphs
from jaxcnn import initializers as initializers
from jaxcnn import layers as layers
from jaxcnn import losses as losses
from jaxcnn import metrics as metrics
from jaxcnn import models as models
from jaxcnn import ops as ops
from jaxcnn import recipes as recipes
from jaxcnn import report as report
from jaxcnn import train as train
from jaxcnn import zoo as zoo
from jaxcnn._namespace import close_namespace as _close_namespace

__version__ = "0.2.0.dev0"

_close_namespace(__name__, modules=True)
