"""Pure functions of arrays: no keys, no parameters. Channels last, any number of leading axes."""

from jaxcnn.ops.grids import affine_grid as affine_grid
from jaxcnn.ops.grids import flow_grid as flow_grid
from jaxcnn.ops.grids import projective_grid as projective_grid
from jaxcnn.ops.grids import tps_grid as tps_grid
from jaxcnn.ops.sampling import grid_sample as grid_sample
from jaxcnn.ops.warps import warp_affine as warp_affine
from jaxcnn.ops.warps import warp_flow as warp_flow
from jaxcnn.ops.warps import warp_perspective as warp_perspective
from jaxcnn.ops.warps import warp_tps as warp_tps
