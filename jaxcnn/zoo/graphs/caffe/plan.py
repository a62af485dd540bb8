"""Which layers of a network are imported, what enters it and what it returns."""

from collections.abc import Mapping, Sequence

from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.caffe.data_layers import find_channels, is_data_layer, read_shapes
from jaxcnn.zoo.graphs.caffe.network import Blob, CaffeNetwork
from jaxcnn.zoo.graphs.caffe.wiring import Top, WiredLayer

__all__ = ["Plan"]

_TRAINING = ("Accuracy", "Silence", "HDF5Output", "DetectionEvaluate", "SaveOutput")
_FIXED = (  # what these compute of labels is no result of a network
    *("Split", "Slice", "Flatten", "Reshape", "Permute", "Concat", "Power", "Eltwise", "Scale", "Threshold", "Tile"),
    *("Dropout", "Pooling", "Crop", "AbsVal", "Exp", "Log", "Reduction", "ArgMax"),
)
_SHOWN = 12  # layers in one note


def _is_training(layer: WiredLayer) -> bool:
    return layer.kind in _TRAINING or layer.kind.endswith(("Loss", "Accuracy")) or layer.kind == "SoftmaxWithLoss"


def _chooses_boxes(layer: WiredLayer) -> bool:
    return layer.kind.lower().endswith("detectionoutput")


class Plan:
    """What is imported of a network.

    Args:
        builder: Takes names and notes.
        declared: The inputs that the network declares.
        layers: Its layers.
        shapes: Declared input to shape, with the batch.

    Attributes:
        inputs: What the caller passes.
        kept: The layers to import, in order.
        outputs: What the network returns, in order.
        shapes: Input to shape, with the batch.
        batch: Size of the batch that the file states.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        declared: Sequence[Top],
        layers: Sequence[WiredLayer],
        shapes: Mapping[Top, tuple[int | None, ...]],
    ):
        self.builder, self.layers = builder, layers
        self.shapes = dict(shapes)
        data = [layer for layer in layers if is_data_layer(layer)]
        if declared or any(layer.kind != "DummyData" for layer in data):
            data = [layer for layer in data if layer.kind != "DummyData"]
        entering = [*declared, *(top for layer in data for top in layer.tops)]
        self._find_left_off(set(data))
        self.outputs = self._find_outputs(set(data))
        needed = self._find_needed()
        self.kept = [layer for layer in layers if layer in needed and layer not in set(data)]
        read = {top for layer in self.kept for top in layer.bottoms}
        self.inputs = [top for top in entering if top in read]
        for layer in data:
            if read & set(layer.tops):
                self.shapes |= zip(layer.tops, read_shapes(layer, builder), strict=True)
        unused = [top.blob for top in entering if top not in read]
        if unused:
            builder.note(f"Inputs that nothing of this reads are left off: {', '.join(unused[:_SHOWN])}.")
        self.batch = next((self.shapes[top][0] for top in self.inputs), None)
        self._name_values()

    def _find_left_off(self, data: set[WiredLayer]) -> None:
        """Finds the layers that only training needs, those that choose boxes, and what reads these."""
        self.left_off: set[WiredLayer] = set()
        training, boxes = [], []
        for layer in self.layers:
            after = any(bottom.layer in self.left_off for bottom in layer.bottoms)
            if layer in data or not (after or _is_training(layer) or _chooses_boxes(layer)):
                continue
            self.left_off.add(layer)
            (boxes if _chooses_boxes(layer) else training).append(f"{layer.name} ({layer.kind})")
        for found, why in (
            (training, "Left off, as inference does not need them"),
            (boxes, "Left off, and what they would read is returned"),
        ):
            if found:
                more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
                self.builder.note(f"{why}: {', '.join(found[:_SHOWN])}{more}.")

    def _find_outputs(self, data: set[WiredLayer]) -> list[Top]:
        """Finds the blobs that no layer reads, or only those left off; labels are none of them."""
        computed: set[Top] = set()
        for layer in self.layers:
            if layer not in data and (layer.kind not in _FIXED or computed.intersection(layer.bottoms)):
                computed.update(layer.tops)
        outputs = []
        for layer in self.layers:
            if layer in data or layer in self.left_off:
                continue
            for top in layer.tops[:1] if layer.kind == "Pooling" else layer.tops:
                if any(reader not in self.left_off for reader in top.readers):
                    continue
                silent = bool(top.readers) and all(reader.kind == "Silence" for reader in top.readers)
                label = bool(top.readers) and top not in computed
                if not silent and not label:
                    outputs.append(top)
        return outputs

    def _find_needed(self) -> set[WiredLayer]:
        needed, pending = set(), [top.layer for top in self.outputs]
        while pending:
            layer = pending.pop()
            if layer not in needed:
                needed.add(layer)
                pending += [bottom.layer for bottom in layer.bottoms]
        return needed

    def _name_values(self) -> None:
        """Names values by blobs, and those that are written in place by layers."""
        for top in self.inputs:
            top.value = self.builder.unique(top.blob)
        for layer in self.kept:
            layer.node = self.builder.unique(layer.name)
        names = {layer.name for layer in self.kept}
        written = {top.blob for top in self.inputs}
        for layer in self.kept:
            for place, top in enumerate(layer.tops):
                single = len(layer.tops) == 1
                if single and (top.blob == layer.name or layer.is_in_place(top) or top.blob in names | written):
                    top.value = layer.node
                elif layer.is_in_place(top) or top.blob in names or top.blob in written:
                    top.value = self.builder.unique(f"{layer.name}:{place}")
                else:
                    top.value = self.builder.unique(top.blob)
                    written.add(top.blob)

    def add_inputs(self, network: CaffeNetwork, size: int | None) -> None:
        """Adds the inputs: images and volumes with their channels last, everything else as the file has it.

        Args:
            network: The network.
            size: Height and width of images where the file does not state them; None where any is accepted.
        """
        for top in self.inputs:
            shape = self.shapes[top][1:]
            if len(shape) == 3 and shape[0] is None:
                shape = (find_channels(top, self.builder), *shape[1:])
            shape = shape if len(shape) != 3 else (shape[0], *(size if n is None else n for n in shape[1:]))
            blob = Blob(top.value, shape, len(shape) > 2)
            network.add_input(blob)
            network.blobs[top] = blob

    def add_taps(self, network: CaffeNetwork) -> None:
        """Lets values be found by the names of blobs, what was last written, and of layers."""
        for layer in self.kept:
            for top in layer.tops:
                self.builder.tap(top.blob, network.blobs[top].value)
        for top in self.inputs:
            self.builder.tap(top.layer.name, top.value)
        for layer in self.kept:
            self.builder.tap(layer.name, network.blobs[layer.tops[0]].value)
