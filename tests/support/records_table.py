"""The tables of known networks in ``docs/zoo.md``, which ``python -m tests.support.records_table`` writes."""

import sys
from collections.abc import Iterator

from jaxcnn import zoo
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.zoo.records.weight_records import SOURCES
from tests.support.paths import ROOT
from tests.support.recorded import read

PAGE = ROOT / "docs" / "zoo.md"
BEGIN = "<!-- written by python -m tests.support.records_table -->"
END = "<!-- end -->"

TITLES = {
    "pytorch": "PyTorch: torchvision's models",
    "tensorflow": "TensorFlow: slim's pre-trained models",
    "caffe": "Caffe: Model Zoo",
    "matconvnet": "MatConvNet: pretrained models",
    "keras": "Keras Applications",
}

# Networks of which a test reads a file, and which.
READS = {
    ("pytorch", "quantized_mobilenet_v2"): "a TorchScript of it, by `zoo/formats/pytorch_test.py`",
    ("tensorflow", "MobileNet_v1"): "0.25 at 128 pixels, 8 bits, TensorFlow Lite, by `zoo/formats/tflite_test.py`",
    ("keras", "MobileNet"): "0.25 at 224 pixels, by `zoo/formats/keras_test.py`",
}

# Networks that run with a file, or with weights that their framework has written, and the test that says so.
_RESNETS = "random weights of torchvision, by `models/torchvision_families_test.py`"
RUNS = {
    **{("pytorch", name): _RESNETS for name in ("resnet18", "resnet50", "resnext50_32x4d")},
    ("tensorflow", "MobileNet_v1"): "1.0 at 224 as a frozen graph, by `zoo/graphs/tensorflow_test.py`; 0.25 at 128, "
    "8 bits, by `zoo/graphs/tflite_test.py`",
    ("keras", "MobileNet"): "0.25 at 224, by `benchmarks/experiments/zoo.py`",
}
UNTESTED = {
    # What a file of these sources describes runs; of a network that no test loads only its operations are tested.
    "tensorflow": "as a graph, by operations (`zoo/graphs/tensorflow_test.py`)",
    "caffe": "by operations (`zoo/graphs/caffe_test.py`)",
    "matconvnet": "by operations (`zoo/graphs/matconvnet_test.py`)",
    "keras": "as a full model, by operations (`zoo/graphs/keras_test.py`)",
}

# Networks whose model this package has, and the test that compares it with the source's.
MODELS = {
    **{
        ("pytorch", name): f"`{name}`, by `models/torchvision_families_test.py` or its parameter count"
        for name in ARCHITECTURES
        if name.startswith(("resnet", "resnext", "wide_resnet"))
    },
    ("pytorch", "mobilenet_v2"): "`mobilenet_v2`, by `models/torchvision_parity_test.py`",
    ("keras", "Xception"): "`xception`, by `models/keras_parity_test.py`",
    ("keras", "MobileNet"): "`mobilenet`, by `models/keras_parity_test.py`",
    ("keras", "MobileNetV2"): '`mobilenet_v2`, `variant="keras"`, by `models/keras_parity_test.py`',
}


def rows(source: str) -> Iterator[tuple[str, ...]]:
    """Yields a row per network that the source's page lists."""
    files: dict[str, list[zoo.Record]] = {}
    for one in zoo.records(source=source):
        files.setdefault(one.network, []).append(one)
    for network, found in files.items():
        best = max(found, key=lambda one: one.accuracy("top-1") or one.accuracy("top-5") or 0)
        figures = [best.accuracy(measure) for measure in ("top-1", "top-5")]
        figures = ", ".join("-" if figure is None else f"{figure:.1f}" for figure in figures) if any(figures) else ""
        count = f"{len(found)}" if len(found) > 1 else f"`{found[0].name}`"
        yield network, count, figures, *status(source, network)
    for entry in read(source)["listed"]:
        yield entry["network"], f"no record: {entry['why']}", "", *status(source, entry["network"])


def status(source: str, network: str) -> tuple[str, str, str]:
    """Returns what is read, what runs, and which model exists."""
    runs = RUNS.get((source, network), UNTESTED.get(source, "not yet"))
    return READS.get((source, network), "format"), runs, MODELS.get((source, network), "")


def tables() -> str:
    """Formats the tables of all sources."""
    parts = []
    for source in SOURCES:
        found = list(rows(source))
        lines = [f"### {TITLES[source]}", "", "| network | files | top-1, top-5 | reads | runs | model |"]
        lines += ["| --- | --- | --- | --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in found), ""]
        parts += [line.replace("|  |", "| |").replace("|  |", "| |") for line in lines]
    return "\n".join(parts)


def page(text: str) -> str:
    """Inserts the tables into a page."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
