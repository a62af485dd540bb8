"""The tables of known networks in ``docs/zoo.md``, which ``python -m tests.support.records_table`` writes."""

import sys
from collections.abc import Iterator, Sequence

from jaxcnn import zoo
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.zoo.families import find_model
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
RUNS = {
    ("tensorflow", "MobileNet_v1"): "1.0 at 224 as a frozen graph, by `zoo/graphs/tensorflow_test.py`; 0.25 at 128, "
    "8 bits, by `zoo/graphs/tflite_test.py`",
    ("keras", "MobileNet"): "0.25 at 224, by `benchmarks/experiments/zoo.py`",
}
WEIGHTS = "random weights of the source, by `benchmarks/experiments/parity.py`"
UNTESTED = {
    # What a file of these sources describes runs; of a network that no test loads only its operations are tested.
    "tensorflow": "as a graph, by operations (`zoo/graphs/tensorflow_test.py`)",
    "caffe": "by operations (`zoo/graphs/caffe_test.py`)",
    "matconvnet": "by operations (`zoo/graphs/matconvnet_test.py`)",
    "keras": "as a full model, by operations (`zoo/graphs/keras_test.py`)",
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
        names = dict.fromkeys(model[0] for one in found if (model := find_model(one)) is not None)
        yield network, count, figures, *status(source, network, list(names))
    for entry in read(source)["listed"]:
        yield entry["network"], f"no record: {entry['why']}", "", *status(source, entry["network"], [])


def status(source: str, network: str, models: Sequence[str]) -> tuple[str, str, str]:
    """Returns what is read, what runs, and which models exist, with the tests that compare them."""
    runs = RUNS.get((source, network)) or (WEIGHTS if models else UNTESTED.get(source, "not yet"))
    return READS.get((source, network), "format"), runs, "; ".join(map(describe_model, models))


def describe_model(name: str) -> str:
    """Returns a model's name and the test that compares its family with the source."""
    family = ARCHITECTURES[name].kind.__module__.rpartition(".")[2]
    test = f"models/{family}_test.py"
    return f"`{name}`, by `{test if (ROOT / 'tests' / test).exists() else 'models/resnet_torchvision_test.py'}`"


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
