"""The parameters of Caffe's layers, as in ``caffe.proto`` and its fork for detection: numbers, names and kinds."""

from jaxcnn.zoo.containers.protobuf_schema import (
    BOOL,
    FLOAT,
    INT,
    TEXT,
    UINT,
    Enumeration,
    Kind,
    Message,
    Repeated,
)

__all__ = ["CURRENT_NUMBERS", "EARLIER_NUMBERS", "FILLER", "PARAMETERS", "SHAPE"]

SHAPE = Message({1: ("dim", Repeated(INT))})
"""The shape of a blob."""

FILLER = Message(
    {
        1: ("type", TEXT),
        2: ("value", FLOAT),
        3: ("min", FLOAT),
        4: ("max", FLOAT),
        5: ("mean", FLOAT),
        6: ("std", FLOAT),
        7: ("sparse", INT),
        8: ("variance_norm", Enumeration("FAN_IN", "FAN_OUT", "AVERAGE")),
    }
)
"""How weights are drawn before training."""

_ENGINE = Enumeration("DEFAULT", "CAFFE", "CUDNN")
_POOL = Enumeration("MAX", "AVE", "STOCHASTIC")
_CODE = Enumeration("0", "CORNER", "CENTER_SIZE", "CORNER_SIZE")
_SUPPRESSION = Message({1: ("nms_threshold", FLOAT), 2: ("top_k", INT), 3: ("eta", FLOAT)})

PARAMETERS: dict[str, dict[int, tuple[str, Kind]]] = {
    "transform": {
        1: ("scale", FLOAT),
        2: ("mirror", BOOL),
        3: ("crop_size", UINT),
        4: ("mean_file", TEXT),
        5: ("mean_value", Repeated(FLOAT)),
        6: ("force_color", BOOL),
        7: ("force_gray", BOOL),
    },
    "loss": {
        1: ("ignore_label", INT),
        2: ("normalize", BOOL),
        3: ("normalization", Enumeration("FULL", "VALID", "BATCH_SIZE", "NONE")),
    },
    "accuracy": {1: ("top_k", UINT), 2: ("axis", INT), 3: ("ignore_label", INT)},
    "argmax": {1: ("out_max_val", BOOL), 2: ("top_k", UINT), 3: ("axis", INT)},
    "batch_norm": {1: ("use_global_stats", BOOL), 2: ("moving_average_fraction", FLOAT), 3: ("eps", FLOAT)},
    "bias": {1: ("axis", INT), 2: ("num_axes", INT), 3: ("filler", FILLER)},
    "clip": {1: ("min", FLOAT), 2: ("max", FLOAT)},
    "concat": {1: ("concat_dim", UINT), 2: ("axis", INT)},
    "contrastive_loss": {1: ("margin", FLOAT), 2: ("legacy_version", BOOL)},
    "convolution": {
        1: ("num_output", UINT),
        2: ("bias_term", BOOL),
        3: ("pad", Repeated(UINT)),
        4: ("kernel_size", Repeated(UINT)),
        5: ("group", UINT),
        6: ("stride", Repeated(UINT)),
        7: ("weight_filler", FILLER),
        8: ("bias_filler", FILLER),
        9: ("pad_h", UINT),
        10: ("pad_w", UINT),
        11: ("kernel_h", UINT),
        12: ("kernel_w", UINT),
        13: ("stride_h", UINT),
        14: ("stride_w", UINT),
        15: ("engine", _ENGINE),
        16: ("axis", INT),
        17: ("force_nd_im2col", BOOL),
        18: ("dilation", Repeated(UINT)),
    },
    "crop": {1: ("axis", INT), 2: ("offset", Repeated(UINT))},
    "data": {
        1: ("source", TEXT),
        2: ("scale", FLOAT),
        3: ("mean_file", TEXT),
        4: ("batch_size", UINT),
        5: ("crop_size", UINT),
        6: ("mirror", BOOL),
        7: ("rand_skip", UINT),
        8: ("backend", Enumeration("LEVELDB", "LMDB")),
        9: ("force_encoded_color", BOOL),
        10: ("prefetch", UINT),
    },
    "dropout": {1: ("dropout_ratio", FLOAT), 2: ("scale_train", BOOL)},
    "dummy_data": {
        1: ("data_filler", Repeated(FILLER)),
        2: ("num", Repeated(UINT)),
        3: ("channels", Repeated(UINT)),
        4: ("height", Repeated(UINT)),
        5: ("width", Repeated(UINT)),
        6: ("shape", Repeated(SHAPE)),
    },
    "eltwise": {
        1: ("operation", Enumeration("PROD", "SUM", "MAX")),
        2: ("coeff", Repeated(FLOAT)),
        3: ("stable_prod_grad", BOOL),
    },
    "elu": {1: ("alpha", FLOAT)},
    "embed": {
        1: ("num_output", UINT),
        2: ("input_dim", UINT),
        3: ("bias_term", BOOL),
        4: ("weight_filler", FILLER),
        5: ("bias_filler", FILLER),
    },
    "exp": {1: ("base", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "flatten": {1: ("axis", INT), 2: ("end_axis", INT)},
    "hdf5_data": {1: ("source", TEXT), 2: ("batch_size", UINT), 3: ("shuffle", BOOL)},
    "hdf5_output": {1: ("file_name", TEXT)},
    "hinge_loss": {1: ("norm", Enumeration("0", "L1", "L2"))},
    "image_data": {
        1: ("source", TEXT),
        2: ("scale", FLOAT),
        3: ("mean_file", TEXT),
        4: ("batch_size", UINT),
        5: ("crop_size", UINT),
        6: ("mirror", BOOL),
        7: ("rand_skip", UINT),
        8: ("shuffle", BOOL),
        9: ("new_height", UINT),
        10: ("new_width", UINT),
        11: ("is_color", BOOL),
        12: ("root_folder", TEXT),
    },
    "infogain_loss": {1: ("source", TEXT), 2: ("axis", INT)},
    "inner_product": {
        1: ("num_output", UINT),
        2: ("bias_term", BOOL),
        3: ("weight_filler", FILLER),
        4: ("bias_filler", FILLER),
        5: ("axis", INT),
        6: ("transpose", BOOL),
    },
    "input": {1: ("shape", Repeated(SHAPE))},
    "log": {1: ("base", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "lrn": {
        1: ("local_size", UINT),
        2: ("alpha", FLOAT),
        3: ("beta", FLOAT),
        4: ("norm_region", Enumeration("ACROSS_CHANNELS", "WITHIN_CHANNEL")),
        5: ("k", FLOAT),
        6: ("engine", _ENGINE),
    },
    "memory_data": {1: ("batch_size", UINT), 2: ("channels", UINT), 3: ("height", UINT), 4: ("width", UINT)},
    "mvn": {1: ("normalize_variance", BOOL), 2: ("across_channels", BOOL), 3: ("eps", FLOAT)},
    "parameter": {1: ("shape", SHAPE)},
    "pooling": {
        1: ("pool", _POOL),
        2: ("kernel_size", UINT),
        3: ("stride", UINT),
        4: ("pad", UINT),
        5: ("kernel_h", UINT),
        6: ("kernel_w", UINT),
        7: ("stride_h", UINT),
        8: ("stride_w", UINT),
        9: ("pad_h", UINT),
        10: ("pad_w", UINT),
        11: ("engine", _ENGINE),
        12: ("global_pooling", BOOL),
        13: ("round_mode", Enumeration("CEIL", "FLOOR")),
    },
    "power": {1: ("power", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "prelu": {1: ("filler", FILLER), 2: ("channel_shared", BOOL)},
    "python": {1: ("module", TEXT), 2: ("layer", TEXT), 3: ("param_str", TEXT), 4: ("share_in_parallel", BOOL)},
    "recurrent": {
        1: ("num_output", UINT),
        2: ("weight_filler", FILLER),
        3: ("bias_filler", FILLER),
        4: ("debug_info", BOOL),
        5: ("expose_hidden", BOOL),
    },
    "reduction": {
        1: ("operation", Enumeration("0", "SUM", "ASUM", "SUMSQ", "MEAN")),
        2: ("axis", INT),
        3: ("coeff", FLOAT),
    },
    "relu": {1: ("negative_slope", FLOAT), 2: ("engine", _ENGINE)},
    "reshape": {1: ("shape", SHAPE), 2: ("axis", INT), 3: ("num_axes", INT)},
    "scale": {
        1: ("axis", INT),
        2: ("num_axes", INT),
        3: ("filler", FILLER),
        4: ("bias_term", BOOL),
        5: ("bias_filler", FILLER),
    },
    "sigmoid": {1: ("engine", _ENGINE)},
    "slice": {1: ("slice_dim", UINT), 2: ("slice_point", Repeated(UINT)), 3: ("axis", INT)},
    "softmax": {1: ("engine", _ENGINE), 2: ("axis", INT)},
    "spp": {1: ("pyramid_height", UINT), 2: ("pool", _POOL), 6: ("engine", _ENGINE)},
    "swish": {1: ("beta", FLOAT)},
    "tanh": {1: ("engine", _ENGINE)},
    "threshold": {1: ("threshold", FLOAT)},
    "tile": {1: ("axis", INT), 2: ("tiles", INT)},
    "window_data": {
        1: ("source", TEXT),
        2: ("scale", FLOAT),
        3: ("mean_file", TEXT),
        4: ("batch_size", UINT),
        5: ("crop_size", UINT),
        6: ("mirror", BOOL),
        7: ("fg_threshold", FLOAT),
        8: ("bg_threshold", FLOAT),
        9: ("fg_fraction", FLOAT),
        10: ("context_pad", UINT),
        11: ("crop_mode", TEXT),
        12: ("cache_images", BOOL),
        13: ("root_folder", TEXT),
    },
    # The fork for detection with single-shot boxes.
    "permute": {1: ("order", Repeated(UINT))},
    "norm": {1: ("across_spatial", BOOL), 2: ("scale_filler", FILLER), 3: ("channel_shared", BOOL), 4: ("eps", FLOAT)},
    "prior_box": {
        1: ("min_size", Repeated(FLOAT)),
        2: ("max_size", Repeated(FLOAT)),
        3: ("aspect_ratio", Repeated(FLOAT)),
        4: ("flip", BOOL),
        5: ("clip", BOOL),
        6: ("variance", Repeated(FLOAT)),
        7: ("img_size", UINT),
        8: ("img_h", UINT),
        9: ("img_w", UINT),
        10: ("step", FLOAT),
        11: ("step_h", FLOAT),
        12: ("step_w", FLOAT),
        13: ("offset", FLOAT),
    },
    "detection_output": {
        1: ("num_classes", UINT),
        2: ("share_location", BOOL),
        3: ("background_label_id", INT),
        4: ("nms_param", _SUPPRESSION),
        6: ("code_type", _CODE),
        7: ("keep_top_k", INT),
        8: ("variance_encoded_in_target", BOOL),
        9: ("confidence_threshold", FLOAT),
    },
}
"""Name of a parameter, without ``_param``, to its fields."""

CURRENT_NUMBERS = {"transform": 100, "loss": 101, "accuracy": 102, "argmax": 103, "concat": 104}
CURRENT_NUMBERS |= {"contrastive_loss": 105, "convolution": 106, "data": 107, "dropout": 108, "dummy_data": 109}
CURRENT_NUMBERS |= {"eltwise": 110, "exp": 111, "hdf5_data": 112, "hdf5_output": 113, "hinge_loss": 114}
CURRENT_NUMBERS |= {"image_data": 115, "infogain_loss": 116, "inner_product": 117, "lrn": 118, "memory_data": 119}
CURRENT_NUMBERS |= {"mvn": 120, "pooling": 121, "power": 122, "relu": 123, "sigmoid": 124, "softmax": 125, "slice": 126}
CURRENT_NUMBERS |= {"tanh": 127, "threshold": 128, "window_data": 129, "python": 130, "prelu": 131, "spp": 132}
CURRENT_NUMBERS |= {"reshape": 133, "log": 134, "flatten": 135, "reduction": 136, "embed": 137, "tile": 138}
CURRENT_NUMBERS |= {"batch_norm": 139, "elu": 140, "bias": 141, "scale": 142, "input": 143, "crop": 144}
CURRENT_NUMBERS |= {"parameter": 145, "recurrent": 146, "swish": 147, "clip": 148}
CURRENT_NUMBERS |= {"permute": 202, "prior_box": 203, "detection_output": 204, "norm": 206}
"""The fields of a layer, as it is since 2014, that hold parameters."""

EARLIER_NUMBERS = {"concat": 9, "convolution": 10, "data": 11, "dropout": 12, "hdf5_data": 13, "hdf5_output": 14}
EARLIER_NUMBERS |= {"image_data": 15, "infogain_loss": 16, "inner_product": 17, "lrn": 18, "pooling": 19}
EARLIER_NUMBERS |= {"window_data": 20, "power": 21, "memory_data": 22, "argmax": 23, "eltwise": 24, "threshold": 25}
EARLIER_NUMBERS |= {"dummy_data": 26, "accuracy": 27, "hinge_loss": 29, "relu": 30, "slice": 31, "mvn": 34}
EARLIER_NUMBERS |= {"transform": 36, "tanh": 37, "sigmoid": 38, "softmax": 39, "contrastive_loss": 40, "exp": 41}
EARLIER_NUMBERS |= {"loss": 42}
"""The same fields of a layer as it was before."""
