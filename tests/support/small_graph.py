"""A small network as data, for tests of whatever runs, describes or saves graphs."""

from jaxcnn.graphs import Graph, Input, Node, Parameter

GRAPH = Graph(
    inputs=(Input("image", (6, 5, 3)),),
    nodes=(
        Node(
            "conv1",
            "conv",
            ("image",),
            options={"strides": (1, 2), "padding": "SAME"},
            parameters={"kernel": "conv1/kernel", "bias": "conv1/bias"},
        ),
        Node("bn1", "batch_norm", ("conv1",), parameters={r: f"bn1/{r}" for r in ("scale", "mean", "var")}),
        Node("relu1", "relu", ("bn1",)),
        Node("dw2", "depthwise_conv", ("relu1",), options={"padding": 1}, parameters={"kernel": "dw2/kernel"}),
        Node("pool2", "max_pool", ("dw2",), options={"window": 2, "strides": 1, "padding": "SAME"}),
        Node("cut", "split", ("pool2",), ("left", "right"), {"sizes": (1, 3)}),
        Node("scale", "multiply", ("right", "left")),
        Node("join", "concat", ("scale", "relu1")),
        Node("up", "resize", ("join",), options={"scale": 2}),
        Node("norm", "lrn", ("up",), options={"size": 3, "alpha": 0.1, "beta": 0.75}),
        Node("order", "permute", ("norm",), options={"axes": (2, 0, 1)}),
        Node("flat", "flatten", ("order",)),
        Node("drop", "dropout", ("flat",)),
        Node("fc", "dense", ("drop",), parameters={"kernel": "fc/kernel", "bias": "fc/bias"}),
        Node("prob", "softmax", ("fc",)),
    ),
    outputs=("prob",),
    parameters=(
        Parameter("conv1/kernel", (3, 2, 3, 4)),
        Parameter("conv1/bias", (4,)),
        Parameter("bn1/scale", (4,)),
        Parameter("bn1/mean", (4,), "batch_stats"),
        Parameter("bn1/var", (4,), "batch_stats"),
        Parameter("dw2/kernel", (3, 3, 4, 1)),
        Parameter("fc/kernel", (504, 5)),
        Parameter("fc/bias", (5,)),
    ),
)
"""Operations of all subjects that have parameters, several inputs or outputs, or axes."""
