"""Networks of real weight files: what they compute, against published or measured numbers and their own frameworks.

Command: ``python -m benchmarks.experiments.zoo --data FOLDER``, the folder of real files (``JAXCNN_TEST_DATA``). Prints
a table and writes ``results/networks-<device>.json`` and a table. Frameworks are used for reference where they are
installed. What the images are is in the table: the ImageNet samples are probably training images, so their figures
check a network and are no accuracies.
"""

import dataclasses
import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image
import tyro

from benchmarks import _harness
from benchmarks.experiments import _zoo_families as families
from jaxcnn import zoo

NAME = "networks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the experiment can be told."""

    data: Path | None = None
    """Folder of the real files; by default JAXCNN_TEST_DATA, or shared/data beside the checkout."""
    quick: bool = False
    """A few images of each set."""
    out: Path = _harness.RESULTS
    """Folder of the JSON document and the table."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One file, what was checked with it, the result, and what it is compared with."""

    file: str
    checked: str
    result: str
    reference: str


class Files:
    """Finds real files, and runs networks on batches."""

    def __init__(self, folder: Path, *, quick: bool):
        """Takes the folder."""
        self.folder, self.quick = folder, quick

    def samples(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Reads the ImageNet samples: images, classes, and the files' positions."""
        folder = self.folder / "imagenet_samples"
        lines = [line.split("\t") for line in (folder / "classes.txt").read_text().splitlines()]
        number = {wnid: int(index) for index, wnid, *_ in lines}
        paths = sorted((folder / "images").iterdir())[:: 40 if self.quick else 1]
        images = [np.asarray(PIL.Image.open(path).convert("RGB")) for path in paths]
        return images, np.array([number[path.name.partition("_")[0]] for path in paths]), np.arange(len(paths))


def run_batches(net: zoo.Pretrained, x: np.ndarray, size: int = 32) -> np.ndarray:
    """Runs a network with one output on batches of one size."""
    apply = jax.jit(net.model.apply)
    size = min(size, len(x))
    parts = [
        np.asarray(apply(net.variables, x[np.minimum(np.arange(i, i + size), len(x) - 1)]))
        for i in range(0, len(x), size)
    ]
    return np.concatenate(parts)[: len(x)]


def top(values: np.ndarray, labels: np.ndarray) -> str:
    """Formats top-1 and top-5 in percent."""
    order = np.argsort(-values, -1)[:, :5]
    first, fifth = (100 * (order[:, :k] == labels[:, None]).any(-1).mean() for k in (1, 5))
    return f"{first:.1f} / {fifth:.1f} % of {len(labels)}"


def lenet(files: Files) -> Row:
    """Classifies MNIST's test images."""
    net = zoo.load(files.folder / "caffe" / "lenet_iter_10000.caffemodel")
    images, labels = (
        np.frombuffer(
            gzip.decompress((files.folder / "mnist" / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip
        )
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    count = 500 if files.quick else 10_000
    x = np.stack([net.preprocess(image) for image in images.reshape(-1, 28, 28)[:count]])
    right = (run_batches(net, x, 500).argmax(-1) == labels[:count]).mean()
    return Row(
        "caffe/lenet_iter_10000",
        f"MNIST, {count:,} test images",
        f"{100 * right:.2f} %",
        "99.05 % measured with Caffe's weights; 98.6 % stated",
    )


def half_resnet(files: Files) -> Row:
    """Finds the largest second output on photographs of harmless things."""
    net = zoo.load(files.folder / "caffe" / "resnet_50_1by2.caffemodel", mean=(104, 117, 123))
    known = dataclasses.replace(net.preprocessing or zoo.Preprocessing(), size=224, resize=256, keep_aspect=False)
    net = dataclasses.replace(net, preprocessing=known)
    images, _, _ = files.samples()
    x = np.stack([net.preprocess(image) for image in images[:: 1 if files.quick else 19][:16]])
    return Row(
        "caffe/resnet_50_1by2",
        f"{len(x)} photographs, largest second output",
        f"{run_batches(net, x, 16)[:, 1].max():.3f}",
        "at most 0.06",
    )


def keras_mobilenet(files: Files) -> Row:
    """Classifies the samples."""
    net = _scaled(zoo.load(files.folder / "keras" / "mobilenet_v1_0.25_224_imagenet.h5"), 224)
    images, labels, _ = files.samples()
    found = run_batches(net, np.stack([net.preprocess(image) for image in images]))
    return Row(
        "keras/mobilenet_v1_0.25_224",
        "ImageNet samples, top-1 / top-5",
        top(found, labels),
        "59.2 / 81.7 % of 1000 samples with Keras; ILSVRC validation 49.8 / 74.2 % stated",
    )


def slim_mobilenet(files: Files) -> Row:
    """Classifies the samples by the original layer of 1001 classes."""
    path = files.folder / "tensorflow" / "mobilenet_v1_1.0_224_retrained_frozen.pb"
    layer = "MobilenetV1/Logits/Conv2d_1c_1x1/BiasAdd"
    net = _scaled(zoo.load(path, outputs=[layer]), 224)
    images, labels, places = files.samples()
    chosen = places[places % 3 == 0][:96]
    found = run_batches(net, np.stack([net.preprocess(images[i]) for i in chosen]))
    found = found.reshape(len(chosen), -1)[:, 1:]  # without the background
    return Row(
        "tensorflow/mobilenet_v1_1.0_224",
        "ImageNet samples, top-1 / top-5",
        top(found, labels[chosen]),
        "93.8 / 100 % of 96 with TensorFlow; ILSVRC validation 70.9 / 89.9 % stated",
    )


def quantized_mobilenet(files: Files) -> Row:
    """Classifies the samples by a quantized network that runs in floating point."""
    net = zoo.load(files.folder / "tensorflow" / "mobilenet_v1_0.25_128_quant.tflite")
    net = dataclasses.replace(net, preprocessing=net.preprocessing or zoo.Preprocessing(size=128, value_range=(0, 255)))
    images, labels, _ = files.samples()
    found = run_batches(net, np.stack([net.preprocess(image) for image in images]))[:, 1:]
    return Row(
        "tensorflow/mobilenet_v1_0.25_128_quant",
        "ImageNet samples, top-1 / top-5, de-quantized",
        top(found, labels),
        "43.4 / 71.4 % of 1000 samples with TensorFlow Lite",
    )


def denoiser(name: str, *, residual: bool) -> Callable[[Files], Row]:
    """Removes noise from the images of Set12; ``residual``: whether the network returns the noise."""

    def check(files: Files) -> Row:
        net = zoo.load(files.folder / "matconvnet" / f"{name}.mat")
        rng, ratios = np.random.RandomState(0), []
        for path in sorted((files.folder / "matconvnet" / "Set12").iterdir())[: 2 if files.quick else None]:
            clean = np.asarray(PIL.Image.open(path).convert("L"), np.float32)[..., None] / 255
            noisy = clean + rng.normal(0, 25 / 255, clean.shape).astype(np.float32)
            found = run_batches(net, noisy[None], 1)[0]
            restored = noisy - found if residual else found
            ratios.append(-10 * np.log10(np.mean((np.clip(restored, 0, 1) - clean) ** 2)))
        return Row(
            f"matconvnet/{name}",
            f"Set12, {len(ratios)} images, sigma 25, PSNR",
            f"{np.mean(ratios):.2f} dB",
            "30.45 dB with MatConvNet's weights",
        )

    return check


def face_detector(number: int) -> Callable[[Files], Row]:
    """Compares one net of MTCNN with the copy of its weights for TensorFlow in the same network."""

    def check(files: Files) -> Row:
        net = zoo.load(files.folder / "caffe" / f"mtcnn_det{number}.caffemodel")
        copies = zoo.read(files.folder / "tensorflow" / f"mtcnn_det{number}.npy").tensors
        roles = {"kernel": "weights", "bias": "biases", "slope": "alpha"}
        params: dict[str, dict[str, np.ndarray]] = {}
        for layer, parts in net.variables["params"].items():
            params[layer] = {role: copies[f"{layer}/{roles[role]}"] for role in parts}
        dense = {2: ("conv4", 64), 3: ("conv5", 128)}.get(number)
        if dense is not None:  # its inputs are (row, column, channel) there, (channel, row, column) here
            name, channels = dense
            kernel = params[name]["kernel"].reshape(3, 3, channels, -1)
            params[name]["kernel"] = kernel.transpose(2, 0, 1, 3).reshape(9 * channels, -1)
        size = (12, 24, 48)[number - 1]
        x = np.random.default_rng(number).uniform(-1, 1, (8, size, size, 3)).astype(np.float32)
        apply: Any = jax.jit(net.model.apply)
        difference = compare_outputs(apply({"params": params}, x), apply(net.variables, x))
        return Row(f"caffe/mtcnn_det{number}", "8 random images, TensorFlow's weights", f"{difference:.1e}", "0")

    return check


def ultraface(files: Files) -> Row:
    """Compares the detector of Caffe with its copy for TensorFlow Lite."""
    one = zoo.load(files.folder / "tensorflow" / "ultraface_slim-320_float.tflite")
    other = zoo.load(files.folder / "caffe" / "ultraface_slim-320.caffemodel")
    x = np.random.default_rng(0).standard_normal((2, 240, 320, 3)).astype(np.float32)
    found, expected = (jax.jit(net.model.apply)(net.variables, x) for net in (one, other))
    found = {"boxes": found["Identity"], "scores": found["Identity_1"]}
    text = f"{compare_outputs(found, expected):.1e}"
    return Row(
        "tensorflow/ultraface_slim-320_float", "boxes and scores, difference from the file of Caffe", text, "1e-4"
    )


def compare_outputs(found: dict[str, jax.Array], expected: dict[str, jax.Array]) -> float:
    """Computes the largest difference of several outputs, each relative to its largest value."""
    return max(float(abs(found[name] - value).max() / abs(value).max()) for name, value in expected.items())


def mobilenet_like_keras(files: Files) -> Row:
    """Compares images one by one with Keras's own network, which gets the tensors of the file."""
    path = files.folder / "keras" / "mobilenet_v1_0.25_224_imagenet.h5"
    keras = _harness.optional("keras")
    title = "keras/mobilenet_v1_0.25_224", "16 samples, largest difference of a probability from Keras"
    if keras is None:
        return Row(*title, "Keras is not installed", "1e-4")
    checkpoint = zoo.read(path)
    original = keras.applications.MobileNet(alpha=0.25, weights=None)
    for layer in original.layers:
        names = checkpoint.metadata["layers"].get(layer.name, ())
        if names:
            values = [checkpoint.tensors[name] for name in names]
            layer.set_weights([v.reshape(w.shape) for v, w in zip(values, layer.get_weights(), strict=True)])
    net = _scaled(zoo.load(path), 224)
    images, _, _ = files.samples()
    x = np.stack([net.preprocess(image) for image in images[:: max(1, len(images) // 16)][:16]])
    difference = np.abs(run_batches(net, x, 16) - np.asarray(original.predict(x, verbose=0))).max()
    return Row(*title, f"{difference:.1e}", "1e-4")


def like_keras(name: str, shape: tuple[int, ...]) -> Callable[[Files], Row]:
    """Compares a network with Keras itself."""

    def check(files: Files) -> Row:
        path = files.folder / "keras" / name
        keras = _harness.optional("keras")
        x = np.random.default_rng(0).uniform(-1, 1, (8, *shape)).astype(np.float32)
        found = run_batches(zoo.load(path), x, 8)
        if keras is None:
            return Row(f"keras/{path.stem}", "largest difference from Keras", "Keras is not installed", "1e-4")
        expected = np.asarray(keras.models.load_model(path, compile=False).predict(x, verbose=0))
        return Row(
            f"keras/{path.stem}",
            "8 random images, largest difference from Keras",
            f"{np.abs(found - expected).max():.1e}",
            "1e-4",
        )

    return check


def squeezenet(files: Files) -> Row:
    """Classifies the samples with a file that carries weights only."""
    net = families.scale_as_caffe(zoo.load(files.folder / "keras" / families.SQUEEZENET, model="squeezenet1_1"))
    images, labels, _ = files.samples()
    found = run_batches(net, np.stack([net.preprocess(image) for image in images]))
    return Row("keras/squeezenet1_1 with top", "ImageNet samples, top-1 / top-5", top(found, labels), "")


def squeezenet_like_keras(files: Files) -> Row:
    """Compares images one by one with the same network of Keras's layers."""
    path = files.folder / "keras" / families.SQUEEZENET
    net = families.scale_as_caffe(zoo.load(path, model="squeezenet1_1"))
    images, _, _ = files.samples()
    x = np.stack([net.preprocess(image) for image in images[:: max(1, len(images) // 16)][:16]])
    found, title = run_batches(net, x, 16), "16 samples, largest relative difference of a logit from Keras"
    try:
        expected = families.build_squeezenet(path)(x)
    except _harness.Skipped as error:
        return Row("keras/squeezenet1_1 with top", title, str(error), "1e-4")
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    return Row("keras/squeezenet1_1 with top", title, f"{difference:.1e}", "1e-4")


def cifar_resnet(name: str, reference: str) -> Callable[[Files], Row]:
    """Classifies training images of CIFAR-10."""

    def check(files: Files) -> Row:
        net = zoo.load(files.folder / "pytorch" / families.CIFAR_RESNETS[name], model=name)
        path = files.folder / "cifar10" / "cifar10_train4000_lossless.npz"
        right, every = families.count_right(net, path, 200 if files.quick else 4000)
        return Row(f"pytorch/{name}", f"CIFAR-10, {every:,} training images", f"{100 * right / every:.2f} %", reference)

    return check


def slim_mobilenet_family(files: Files) -> Row:
    """Compares the family's model with the graph of the same file."""
    path = files.folder / "tensorflow" / "mobilenet_v1_1.0_224_retrained_frozen.pb"
    name = "MobilenetV1/Logits/Conv2d_1c_1x1/BiasAdd"
    model, graph = zoo.load(path, model="tensorflow/mobilenet_v1"), zoo.load(path, outputs=(name,))
    x = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    found, expected = run_batches(model, x), run_batches(graph, x).reshape(len(x), -1)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    title = "2 random images, model of the family against its graph, relative"
    return Row("tensorflow/mobilenet_v1_1.0_224", title, f"{difference:.1e}", "1e-4")


CHECKS: Sequence[Callable[[Files], Row]] = (
    lenet,
    half_resnet,
    face_detector(1),
    face_detector(2),
    face_detector(3),
    ultraface,
    keras_mobilenet,
    mobilenet_like_keras,
    like_keras("fer2013_mini_XCEPTION.102-0.66.hdf5", (64, 64, 1)),
    like_keras("mlperftiny_cifar10_resnet8.h5", (32, 32, 3)),
    slim_mobilenet,
    quantized_mobilenet,
    denoiser("dncnn_sigma25_merged", residual=True),
    denoiser("dncnn_dagnn_epoch50", residual=False),
    squeezenet,
    squeezenet_like_keras,
    slim_mobilenet_family,
    cifar_resnet("cifar_resnet20", "99.8 % measured with PyTorch"),
    cifar_resnet("cifar_resnet56", "100 % measured with PyTorch"),
)


def _scaled(net: zoo.Pretrained, size: int) -> zoo.Pretrained:
    known = zoo.Preprocessing(size=size, value_range=(0, 255), mean=(127.5,), std=(127.5,))
    return dataclasses.replace(net, preprocessing=known)


def run(options: Options) -> dict[str, Any]:
    """Checks all files, prints the table and writes it."""
    folder = options.data or Path(os.environ.get("JAXCNN_TEST_DATA") or _harness.RESULTS.parents[2] / "shared" / "data")
    files = Files(folder, quick=options.quick)
    rows = []
    for check in CHECKS:
        try:
            row = check(files)
        except (ValueError, OSError) as error:
            row = Row(
                getattr(check, "__name__", "network"), "loads", f"no: {str(error).replace(str(folder), '')[:160]}", ""
            )
        rows.append(row)
        print(f"{row.file:45} {row.checked:55} {row.result:32} {row.reference}", flush=True)
    results = _harness.document(NAME, [], _harness.Options(quick=options.quick, out=options.out), libraries=("keras",))
    results["command"] = "python -m benchmarks.experiments.zoo"
    results["tables"] = {
        "Networks": [[field.name for field in dataclasses.fields(Row)], *map(dataclasses.astuple, rows)]
    }
    path = _harness.write(results, _harness.Options(quick=options.quick, out=options.out))
    print(f"wrote {path.name} and {path.with_suffix('.md').name}")
    return results


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
