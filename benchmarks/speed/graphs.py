"""Networks of files, run and trained, against the same networks of Keras on JAX and of PyTorch.

Command: ``python -m benchmarks.speed.graphs``; ``--quick`` only checks that it runs. Keras and PyTorch are optional;
they get the same weights and compute the same outputs, which is checked. The files are TF-slim's MobileNet v1 as a
frozen graph, a ResNet-50 of half the width of Caffe, both of the folder that the environment variable
``JAXCNN_TEST_DATA`` names, and Keras's MobileNet with random weights, which Keras writes. Keras's forward pass is
jitted without its outer functions; its step is ``train_on_batch``. PyTorch has channels last. A step is forward,
backward and an update by SGD with momentum, batch norms in training mode, float32. Networks are compiled ahead of time:
``build s`` is tracing, compiling and the first call. A table has the time that ``zoo.load`` takes.
"""

import contextlib
import dataclasses
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from flax import traverse_util

from benchmarks import _harness
from benchmarks.speed import _graph_peers as peers
from benchmarks.speed import _network_runs as runs
from jaxcnn import zoo
from jaxcnn.graphs import Graph, GraphNetwork

DATA = Path(os.environ.get("JAXCNN_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
FILES = {
    "mobilenet v1 (TensorFlow)": "tensorflow/mobilenet_v1_1.0_224_retrained_frozen.pb",
    "half resnet 50 (Caffe)": "caffe/resnet_50_1by2.caffemodel",
}
BUILT = "mobilenet v1 (Keras)"
SIZE = 224
TOLERANCE = {"inference": 1e-4, "training step": 1e-2}
LOADS = 3  # times that a file is loaded; the fastest counts


@dataclasses.dataclass(frozen=True)
class Work:
    """One network to run or to train."""

    network: str
    path: Path
    task: str
    batch: int

    @functools.cached_property
    def parts(self) -> tuple[Graph, dict[str, Any], float]:
        """The network up to its logits, its variables, and how many seconds loading took."""
        return load(self.path)

    def data(self, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws the images and labels, the same in every run."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.batch, SIZE, SIZE, 3), np.float32)
        return x, random.integers(0, classes, self.batch)


@functools.cache
def load(path: Path) -> tuple[Graph, dict[str, Any], float]:
    """Loads a network, and leaves off the softmax at its end."""
    loaded = [_load_timed(path) for _ in range(LOADS)]
    pretrained = loaded[-1][0]
    if not isinstance(pretrained.model, GraphNetwork):
        raise ValueError(f"load: path must be a file that describes its network, got {path}.")
    graph = pretrained.model.graph
    writers = {name: node for node in graph.nodes for name in node.outputs}
    last = name = graph.outputs[0]
    while name in writers and writers[name].op in ("softmax", "identity", "reshape"):
        if writers[name].op == "softmax":
            last = writers[name].inputs[0]
            break
        name = writers[name].inputs[0]
    graph = graph.select([last])
    flat = traverse_util.flatten_dict(pretrained.variables)
    kept = {(one.collection, *one.path.split("/")) for one in graph.parameters}
    variables = traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if path in kept})
    return graph, variables, min(seconds for _, seconds in loaded)


def _load_timed(path: Path) -> tuple[zoo.Pretrained, float]:
    start = time.perf_counter()
    pretrained = zoo.load(path)
    jax.block_until_ready(pretrained.variables)
    return pretrained, time.perf_counter() - start


def plan_of(work: Work) -> tuple[list[peers.Layer], Graph, int]:
    """Returns the layers of the network for its peers, and its number of classes."""
    graph, variables, _ = work.parts
    flat = {"/".join(path[1:]): np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables).items()}
    plan = peers.make_plan(graph, flat, (SIZE, SIZE, 3))
    return plan, graph, count_classes(graph)


def count_classes(graph: Graph) -> int:
    """Returns the number of classes: outputs of the last layer with a kernel."""
    shapes = {one.path: one.shape for one in graph.parameters}
    kernels = [node.parameters["kernel"] for node in graph.nodes if "kernel" in node.parameters]
    return shapes[kernels[-1]][-1]


def with_jaxcnn(work: Work, *, native: bool) -> _harness.Run:
    """Compiles the network, with or without the compiled kernels of jaxcnn-native."""
    graph, variables, _ = work.parts
    x, y = work.data(count_classes(graph))
    return runs.run_jaxcnn(GraphNetwork(graph), variables, work.task, x, y, native=native)


def with_keras(work: Work) -> _harness.Run:
    """Builds the network of Keras's layers, on JAX."""
    runs.find_keras()
    plan, graph, classes = plan_of(work)
    return runs.run_keras(peers.build_keras(plan, graph, (SIZE, SIZE, 3)), work.task, *work.data(classes))


def with_torch(work: Work) -> _harness.Run:
    """Builds the network of PyTorch's layers."""
    if _harness.optional("torch") is None:
        raise _harness.Skipped("PyTorch is not installed")
    plan, graph, classes = plan_of(work)
    return runs.run_torch(peers.build_torch(plan, graph), work.task, *work.data(classes))


def cases(works: Sequence[Work]) -> list[_harness.Case]:
    """Lists the networks and tasks."""
    found = []
    for work in works:
        contenders = [
            _harness.Contender("jaxcnn", functools.partial(with_jaxcnn, work, native=False), runs.to_values),
            _harness.Contender("jaxcnn, native", functools.partial(with_jaxcnn, work, native=True), runs.to_values),
            _harness.Contender("keras, jax", functools.partial(with_keras, work), runs.to_values),
            _harness.Contender("torch", functools.partial(with_torch, work), runs.to_values),
        ]
        parameters = {"network": work.network, "task": work.task, "size": SIZE, "batch": work.batch}
        title = f"{work.network} {work.task} batch {work.batch}"
        found.append(_harness.Case(title, parameters, contenders, TOLERANCE[work.task]))
    return found


def write_keras(folder: Path) -> Path:
    """Writes Keras's MobileNet with random weights."""
    keras = runs.find_keras()
    keras.utils.set_random_seed(0)
    path = folder / "mobilenet.keras"
    keras.applications.MobileNet(weights=None, classifier_activation=None).save(path)
    return path


def list_works(folder: Path, *, quick: bool) -> list[Work]:
    """Lists what there is to run: networks whose files are there."""
    paths = {name: DATA / file for name, file in FILES.items() if (DATA / file).exists()}
    with contextlib.suppress(_harness.Skipped):
        paths[BUILT] = write_keras(folder)
    tasks = [("inference", 1)] if quick else [("inference", 1), ("inference", 8), ("training step", 4)]
    return [Work(name, path, *task) for name, path in paths.items() for task in tasks]


def load_times(works: Sequence[Work]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Returns the function that makes the tables of a document: how long loading takes."""

    def tables(_: Mapping[str, Any]) -> Mapping[str, Any]:
        rows: list[list[Any]] = [["file", "MB", f"seconds, fastest of {LOADS}", "nodes", "parameters"]]
        for path in dict.fromkeys(work.path for work in works):
            graph, variables, seconds = load(path)
            count = sum(leaf.size for leaf in jax.tree.leaves(variables))
            megabytes = path.stat().st_size / 1e6
            rows.append([path.name, f"{megabytes:.1f}", f"{seconds:.2f}", len(graph.nodes), f"{count:,}"])
        return {"Loading": rows}

    return tables


def summarize(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns how many times as long the others take, the geometric mean over all cases of a task."""
    found: dict[str, dict[str, str]] = {}
    for task in TOLERANCE:
        chosen = [case for case in results["cases"] if case["parameters"]["task"] == task]
        for name in ("keras, jax", "torch"):
            ratios = [case["contenders"][name]["ratio"]["median"] for case in chosen if name in case["contenders"]]
            if ratios:
                mean = statistics.geometric_mean(ratios)
                found.setdefault(task, {})[f"{name} / jaxcnn"] = f"{mean:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        works = list_works(Path(folder), quick=options.quick)
        _harness.run("graphs", cases(works), options, summary=summarize, tables=load_times(works), libraries=("keras",))


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
