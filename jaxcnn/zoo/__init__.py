"""Weight files of five model zoos, read with none of their frameworks."""

from jaxcnn.zoo.checkpoint import Checkpoint as Checkpoint
from jaxcnn.zoo.checkpoint import FormatError as FormatError
