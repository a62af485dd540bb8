"""Pure functions of arrays: no keys, no parameters. Channels last, any number of leading axes."""

from jaxcnn.ops.convolution import conv as conv
from jaxcnn.ops.convolution import depthwise_conv as depthwise_conv
from jaxcnn.ops.convolution import separable_conv as separable_conv
from jaxcnn.ops.convolution import shared_depthwise_conv as shared_depthwise_conv
from jaxcnn.ops.grids import affine_grid as affine_grid
from jaxcnn.ops.grids import flow_grid as flow_grid
from jaxcnn.ops.grids import projective_grid as projective_grid
from jaxcnn.ops.grids import tps_grid as tps_grid
from jaxcnn.ops.pooling import avg_pool as avg_pool
from jaxcnn.ops.pooling import class_activation_map as class_activation_map
from jaxcnn.ops.pooling import gem_pool as gem_pool
from jaxcnn.ops.pooling import global_average_pool as global_average_pool
from jaxcnn.ops.pooling import global_max_pool as global_max_pool
from jaxcnn.ops.pooling import lse_pool as lse_pool
from jaxcnn.ops.pooling import max_pool as max_pool
from jaxcnn.ops.pooling import weighted_average_pool as weighted_average_pool
from jaxcnn.ops.sampling import grid_sample as grid_sample
from jaxcnn.ops.warps import warp_affine as warp_affine
from jaxcnn.ops.warps import warp_flow as warp_flow
from jaxcnn.ops.warps import warp_perspective as warp_perspective
from jaxcnn.ops.warps import warp_tps as warp_tps
