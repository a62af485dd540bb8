"""The families, run and trained, against the same networks of torchvision and of Keras on JAX.

Command: ``python -m benchmarks.speed.models [--networks NAME ...]``; ``--quick`` only checks that it runs. Peers are
optional. They write their random weights to a file that jaxcnn reads, and must compute the same: logits, and losses of
steps of training. A step is forward, backward and an update by SGD with momentum, batch norms in training mode,
dropout off. torchvision runs eagerly with channels last, on a GPU also compiled; Keras's forward pass is jitted without
its outer functions, its step is ``train_on_batch``. Networks are compiled ahead of time: ``build s`` is tracing,
compiling and the first call. On a GPU there are rows in bfloat16, too.
"""

import dataclasses
import functools
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import _harness
from benchmarks._originals import stop_keras_dropout, stop_torch_dropout
from benchmarks.speed import _network_runs as runs
from jaxcnn import zoo

TOLERANCE = {"inference": 1e-3, "training step": 1e-2}


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of one source.

    Attributes:
        name: Our name.
        original: Function of ``torchvision.models``, or class of ``keras.applications``.
        options: Fields of our model that turn dropout off.
        size: Height and width of the images.
    """

    name: str
    original: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    size: int = 224

    @property
    def is_keras(self) -> bool:
        """Whether the original is Keras's."""
        return self.original[0].isupper()


_NO_DROPOUT = {"dropout": 0.0}
NETWORKS = (
    Network("resnet50", "resnet50"),
    Network("keras/resnet50", "ResNet50"),
    Network("resnext50_32x4d", "resnext50_32x4d"),
    Network("mobilenet", "MobileNet", _NO_DROPOUT),
    Network("mobilenet_v2", "mobilenet_v2", _NO_DROPOUT),
    Network("keras/mobilenet_v2", "MobileNetV2"),
    Network("efficientnet_b0", "efficientnet_b0", {"dropout": 0.0, "drop_path": 0.0}),
    Network("keras/efficientnet_b0", "EfficientNetB0", {"dropout": 0.0, "drop_path": 0.0}),
    Network("convnext_tiny", "convnext_tiny", {"drop_path": 0.0}),
    Network("keras/convnext_tiny", "ConvNeXtTiny"),
    Network("shufflenet_v2_x1_0", "shufflenet_v2_x1_0"),
    Network("xception", "Xception", size=299),
)


@dataclasses.dataclass(frozen=True)
class Work:
    """One network to run or to train."""

    network: Network
    task: str
    batch: int
    size: int
    folder: Path
    dtype: str = "float32"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws the images and labels, the same in every run."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.batch, self.size, self.size, 3), np.float32)
        return x, random.integers(0, 1000, self.batch)

    @functools.cached_property
    def weights(self) -> Path:
        """Weights of the original, in a file."""
        path = (
            self.folder / f"{self.network.name.replace('/', '_')}{'.weights.h5' if self.network.is_keras else '.pth'}"
        )
        if not path.exists():
            if self.network.is_keras:
                build_keras(self.network, self.size).save_weights(path)
            else:
                _torch().save(build_torch(self.network).state_dict(), path)
        return path


def _torch() -> Any:
    torch = _harness.optional("torch")
    if torch is None:
        raise _harness.Skipped("PyTorch is not installed")
    return torch


def build_torch(network: Network) -> Any:
    """Builds a network of torchvision with random weights, the same in every call, dropout off."""
    from tests.support.torchvision_cpu import import_torchvision

    torch = _torch()
    try:
        torchvision = import_torchvision()
    except ImportError as error:
        raise _harness.Skipped("torchvision is not installed") from error
    torch.manual_seed(0)
    model = getattr(torchvision.models, network.original)()
    stop_torch_dropout(model)
    return model


def build_keras(network: Network, size: int) -> Any:
    """Builds a network of Keras with random weights, the same in every call, dropout off."""
    keras = runs.find_keras()
    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, network.original)
    model = build(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    stop_keras_dropout(model)
    return model


def with_jaxcnn(work: Work, *, native: bool) -> _harness.Run:
    """Loads the weights of the original into our model."""
    options = dict(work.network.options)
    if work.dtype != "float32":
        options["dtype"] = jnp.dtype(work.dtype)
    pretrained = zoo.load(work.weights, model=work.network.name, **options)
    return runs.run_jaxcnn(pretrained.model, pretrained.variables, work.task, *work.data(), native=native)


def with_original(work: Work, *, compiled: bool = False) -> _harness.Run:
    """Builds the original."""
    if work.network.is_keras:
        return runs.run_keras(build_keras(work.network, work.size), work.task, *work.data())
    torch, model = _torch(), build_torch(work.network)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise _harness.Skipped("this PyTorch sees no GPU")
    if work.dtype != "float32":
        model = runs.in_half_precision(model)
    return runs.run_torch(torch.compile(model) if compiled else model, work.task, *work.data(), device=device)


def cases(works: Sequence[Work]) -> list[_harness.Case]:
    """Lists the networks and tasks."""
    found = []
    on_gpu = jax.default_backend() == "gpu"
    for work in works:
        peer = "keras, jax" if work.network.is_keras else "torch"
        makers: list[tuple[str, Callable[[], _harness.Run]]] = [
            ("jaxcnn", functools.partial(with_jaxcnn, work, native=False)),
            ("jaxcnn, native", functools.partial(with_jaxcnn, work, native=True)),
            (peer, functools.partial(with_original, work)),
        ]
        if on_gpu and not work.network.is_keras:
            makers.append(("torch, compiled", functools.partial(with_original, work, compiled=True)))
        parameters = {
            "network": work.network.name,
            "task": work.task,
            "size": work.size,
            "batch": work.batch,
            "dtype": work.dtype,
        }
        title = f"{work.network.name} {work.task} batch {work.batch}"
        title += "" if work.dtype == "float32" else f" {work.dtype}"
        tolerance = TOLERANCE[work.task] if work.dtype == "float32" else 0.1
        contenders = [_harness.Contender(name, maker, runs.to_values) for name, maker in makers]
        found.append(_harness.Case(title, parameters, contenders, tolerance))
    return found


def list_works(options: "Options", folder: Path) -> list[Work]:
    """Lists what is run."""
    networks = [one for one in NETWORKS if not options.networks or one.name in options.networks]
    if options.quick:
        return [Work(one, "inference", 1, 64, folder) for one in networks]
    on_gpu = jax.default_backend() == "gpu"
    batches = {"inference": 64, "training step": 64} if on_gpu else {"inference": 8, "training step": 4}
    dtypes = ("float32", "bfloat16") if on_gpu else ("float32",)
    return [
        Work(one, task, batch, one.size, folder, dtype)
        for one in networks
        for task, batch in batches.items()
        for dtype in (dtypes if not one.is_keras else ("float32",))
    ]


def summarize(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns how many times as long the peers take, the geometric mean over all networks of a task."""
    found: dict[str, dict[str, str]] = {}
    for task in TOLERANCE:
        chosen = [case for case in results["cases"] if case["parameters"]["task"] == task]
        for peer in ("torch", "torch, compiled", "keras, jax"):
            ratios = [case["contenders"][peer]["ratio"]["median"] for case in chosen if peer in case["contenders"]]
            if ratios:
                mean = statistics.geometric_mean(ratios)
                found.setdefault(task, {})[f"{peer} / jaxcnn"] = f"{mean:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return found


@dataclasses.dataclass(frozen=True)
class Options(_harness.Options):
    """What the benchmark can be told."""

    networks: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Only these networks; may be given several times."""


def main(options: Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        works = list_works(options, Path(folder))
        _harness.run("models", cases(works), options, summary=summarize, libraries=("keras", "torchvision"))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
