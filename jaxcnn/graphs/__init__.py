"""Networks as data: what a file of a zoo says of its network, and the Linen module that runs it."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.graphs.cost import NodeCost as NodeCost
from jaxcnn.graphs.cost import find_shapes as find_shapes
from jaxcnn.graphs.cost import measure_cost as measure_cost
from jaxcnn.graphs.graph import Graph as Graph
from jaxcnn.graphs.heads import find_activation as find_activation
from jaxcnn.graphs.heads import replace_head as replace_head
from jaxcnn.graphs.heatmaps import compute_heat_maps as compute_heat_maps
from jaxcnn.graphs.network import GraphNetwork as GraphNetwork
from jaxcnn.graphs.nodes import GraphError as GraphError
from jaxcnn.graphs.nodes import Input as Input
from jaxcnn.graphs.nodes import Node as Node
from jaxcnn.graphs.nodes import Parameter as Parameter
from jaxcnn.graphs.operations.registry import operation_names as operation_names

_close_namespace(__name__)
