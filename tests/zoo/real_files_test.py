"""Real weight files: each is read, and networks that several frameworks have files of have the same tensors."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.reading import formats
from tests.support.paths import FIXTURES
from tests.support.real_data import DATA, needs_data
from tests.support.selection import daily

pytestmark = needs_data

# Every real file, its format and how many tensors it has.
FILES = {
    "caffe/lenet_iter_10000.caffemodel": ("caffe", 8),
    "caffe/lenet_train_test.prototxt": ("caffe-prototxt", 0),
    "caffe/mtcnn_det1.caffemodel": ("caffe", 13),
    "caffe/mtcnn_det1.prototxt": ("caffe-prototxt", 0),
    "caffe/mtcnn_det2.caffemodel": ("caffe", 18),
    "caffe/mtcnn_det2.prototxt": ("caffe-prototxt", 0),
    "caffe/mtcnn_det3.caffemodel": ("caffe", 21),
    "caffe/mtcnn_det3.prototxt": ("caffe-prototxt", 0),
    "caffe/resnet_50_1by2.caffemodel": ("caffe", 320),
    "caffe/resnet_50_1by2.prototxt": ("caffe-prototxt", 0),
    "caffe/ultraface_slim-320.caffemodel": ("caffe", 84),
    "caffe/ultraface_slim-320.prototxt": ("caffe-prototxt", 0),
    "keras/fer2013_mini_XCEPTION.102-0.66.hdf5": ("keras-h5", 80),
    "keras/mlperftiny_cifar10_perf_samples_idxs.npy": ("numpy", 1),
    "keras/mlperftiny_cifar10_resnet8.h5": ("keras-h5", 48),
    "keras/mobilenet_v1_0.25_224_imagenet.h5": ("keras-h5", 137),
    "keras/squeezenet_v1.1_weights_tf_dim_ordering_tf_kernels_top.h5": ("keras-h5", 52),
    "keras/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5": ("keras-h5", 50),
    "keras/squeezenet_weights_th_dim_ordering_th_kernels_notop.h5": ("keras-h5", 50),
    "matconvnet/dncnn_dagnn_epoch50.mat": ("matconvnet", 79),
    "matconvnet/dncnn_sigma25_merged.mat": ("matconvnet", 34),
    "pytorch/cifar10_resnet20-12fca82f.th": ("pytorch", 97),
    "pytorch/cifar10_resnet56-4bfd9763.th": ("pytorch", 277),
    "pytorch/mobilenet_v2_1.0_features_tonylins.pt": ("pytorch", 312),
    "pytorch/mtcnn_onet.pt": ("pytorch", 21),
    "pytorch/mtcnn_pnet.pt": ("pytorch", 13),
    "pytorch/mtcnn_rnet.pt": ("pytorch", 16),
    "pytorch/torchvision_mobilenet_v2_quantized_torchscript.pt": ("pytorch", 158),
    "pytorch/ultraface_version-slim-320.pth": ("pytorch", 184),
    "tensorflow/mobilenet_v1_0.25_128_quant.tflite": ("tflite", 57),
    "tensorflow/mobilenet_v1_1.0_224_retrained_frozen.pb": ("tensorflow-graph", 167),
    "tensorflow/mtcnn_det1.npy": ("numpy", 13),
    "tensorflow/mtcnn_det2.npy": ("numpy", 16),
    "tensorflow/mtcnn_det3.npy": ("numpy", 21),
    "tensorflow/ultraface_slim-320_float.tflite": ("tflite", 90),
    "tensorflow/ultraface_slim_savedmodel": ("tensorflow-checkpoint-v2", 159),
    "tensorflow/ultraface_slim_savedmodel/variables": ("tensorflow-checkpoint-v2", 159),
    "tensorflow/ultraface_slim_savedmodel/variables.data-00000-of-00001": ("tensorflow-checkpoint-v2", 159),
    "tensorflow/ultraface_slim_savedmodel/variables.index": ("tensorflow-checkpoint-v2", 159),
}

# Real files that must not be read.
REFUSED = {"pytorch/dncnn_sigma25_model.pth"}


def tensors_of(name: str) -> dict[str, np.ndarray]:
    return dict(zoo.read(DATA / name).tensors)


SAME = "tensorflow/ultraface_slim_savedmodel/variables"  # files of a model that is read as a folder, too


@pytest.mark.parametrize("name", daily(FILES, [name for name in FILES if not name.startswith(SAME)]))
def test_every_real_file_is_read(name):
    kind, count = FILES[name]
    checkpoint = zoo.read(DATA / name)
    assert (checkpoint.metadata["format"], len(checkpoint.tensors)) == (kind, count)
    assert checkpoint.metadata["framework"] == checkpoint.metadata["framework"].lower()
    assert all(isinstance(note, str) for note in checkpoint.metadata["notes"])
    assert set(checkpoint.metadata["layouts"]) <= set(checkpoint.tensors)
    for array in checkpoint.tensors.values():
        assert isinstance(array, np.ndarray) and array.flags.writeable and array.flags.c_contiguous
        assert array.dtype.isnative and (array.dtype.kind != "f" or np.isfinite(array).all())


def test_no_real_file_is_left_out():
    endings = (".caffemodel", ".prototxt", ".h5", ".hdf5", ".mat", ".th", ".pt", ".pth", ".npy", ".tflite", ".pb")
    found = {path.relative_to(DATA).as_posix() for path in DATA.glob("*/*") if path.is_file()}
    new = sorted({name for name in found if name.endswith(endings)} - REFUSED - set(FILES))
    gone = sorted(name for name in FILES if not any(DATA.glob(f"{name}*")))  # also the common prefix of several files
    assert not new and not gone, (
        f"The files of {DATA} are not the ones that are tested.\n  new: {new}\n  gone: {gone}\n"
        "For a new file, add `name: (format, number of tensors)`, as printed by `jaxcnn inspect FILE`, to FILES in "
        f"{__file__}.\nIf the file must be refused, add it to REFUSED, with a test of the message. For a file that is "
        "gone, delete its line."
    )


@pytest.mark.parametrize("name", FILES)
def test_one_reader_claims_a_file(name):
    path = DATA / name
    head = path.read_bytes()[:4096] if path.is_file() else b""
    assert len([one.name for one in formats() if one.matches(path, head)]) == 1


def test_fixtures_are_claimed_by_one_reader_at_most():
    for path in FIXTURES.rglob("*"):
        head = path.read_bytes()[:4096] if path.is_file() else b""
        claimed = [one.name for one in formats() if one.matches(path, head)]
        assert len(claimed) <= 1, (path, claimed)


@pytest.mark.errors
@pytest.mark.parametrize("name", ["images/coral_cat.bmp", "tensorflow/ultraface_slim_320_mapping.json", "matconvnet"])
def test_error_for_what_holds_no_weights(name):
    with pytest.raises(zoo.FormatError, match="must be of a known format .PyTorch, NumPy, .*, Caffe., got a f"):
        zoo.read(DATA / name)


@pytest.mark.nightly
def test_face_detector_of_pytorch_and_tensorflow():
    source, target = (
        tensors_of("pytorch/ultraface_version-slim-320.pth"),
        tensors_of("tensorflow/ultraface_slim_savedmodel"),
    )
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for layer in json.loads((DATA / "tensorflow" / "ultraface_slim_320_mapping.json").read_text()):
        normalised = f"{layer['name']}/gamma" in target
        for name in layer["weight"]:
            last = name.rpartition(".")[2]
            part = parts[last] if normalised else {"weight": "kernel", "bias": "bias"}[last]
            if f"{layer['name']}/depthwise_{part}" in target:
                part = f"depthwise_{part}"
            array = source.pop(name)
            if part == "depthwise_kernel":
                array = array.reshape(*array.shape[:2], -1, 1)  # PyTorch's file does not state the groups
            np.testing.assert_array_equal(array, target.pop(f"{layer['name']}/{part}"), strict=True)
    assert target == {} and all(array.ndim == 0 for array in source.values())


@pytest.mark.nightly
def test_depthwise_kernels_of_the_face_detector():
    """Those of PyTorch stay (kh, kw, 1, out); Caffe's are told by their groups, TensorFlow's by their names."""
    tensors = tensors_of("pytorch/ultraface_version-slim-320.pth")
    single = [array for array in tensors.values() if array.ndim == 4 and array.shape[2] == 1]
    depthwise = [(*array.shape[:2], array.shape[3], 1) for array in single]
    caffe = tensors_of("caffe/ultraface_slim-320.caffemodel")
    lite = tensors_of("tensorflow/ultraface_slim-320_float.tflite")
    model = tensors_of("tensorflow/ultraface_slim_savedmodel")
    named = [array.shape for name, array in model.items() if name.endswith("/depthwise_kernel")]
    assert len(depthwise) > 12 and all(shape[:2] == (3, 3) and shape[3] == 1 for shape in depthwise)
    for other in (caffe, lite):
        shapes = [array.shape for array in other.values() if array.ndim == 4 and array.shape[3] == 1]
        assert sorted(shapes) == sorted(depthwise)
    assert sorted(named) == sorted(depthwise)


@pytest.mark.parametrize(("number", "net"), [(1, "pnet"), (2, "rnet"), (3, "onet")])
def test_cascade_of_caffe_tensorflow_and_pytorch(number, net):
    """The first two have one orientation; PyTorch's has images upright, so height and width are exchanged."""
    caffe = tensors_of(f"caffe/mtcnn_det{number}.caffemodel")
    tensorflow = tensors_of(f"tensorflow/mtcnn_det{number}.npy")
    pytorch = tensors_of(f"pytorch/mtcnn_{net}.pt")
    flat = {2: ("conv4", (64, 3, 3)), 3: ("conv5", (128, 3, 3))}.get(number, ("", ()))
    dense = {2: ("conv4", "conv5"), 3: ("conv5", "conv6")}.get(number, ())
    for name in list(tensorflow):
        layer, _, part = name.partition("/")
        array = tensorflow.pop(name)
        found = caffe.pop(f"{layer}/{'slope' if part == 'alpha' else part}")
        if layer == flat[0] and part == "weights":  # Caffe flattens (channel, row, column), the others channels last
            found = found.reshape(*flat[1], -1).transpose(1, 2, 0, 3).reshape(array.shape)
        np.testing.assert_array_equal(found, array, err_msg=name, strict=True)
        twin = layer.lower().replace("-", "_")
        twin = twin.replace("conv", "dense") if layer.partition("-")[0] in dense else twin
        other = pytorch.pop(f"{twin}.{'bias' if part == 'biases' else 'weight'}")
        other = other.swapaxes(0, 1) if other.ndim == 4 else other
        np.testing.assert_array_equal(other, array, err_msg=name, strict=True)
    assert tensorflow == {} and pytorch == {}
    assert set(caffe) == ({"conv5-3/weights", "conv5-3/biases"} if number == 2 else set())  # landmarks, of Caffe only


def test_squeezenet_in_both_orders_of_keras():
    names = [f"keras/squeezenet_weights_{order}_dim_ordering_{order}_kernels_notop.h5" for order in ("tf", "th")]
    one, other = (tensors_of(name) for name in names)
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name, strict=True)


def test_no_framework_is_imported():
    code = (
        "import sys; from jaxcnn import zoo\n"
        "for path in sys.argv[1:]: zoo.read(path)\n"
        "names = ('caffe', 'cv2', 'keras', 'tensorflow', 'tf_keras', 'tflite', 'torch', 'torchvision')\n"
        "print([name for name in names if name in sys.modules])"
    )
    one_of_each = {kind: str(DATA / name) for name, (kind, _) in FILES.items()}
    fixtures = [FIXTURES / "tensorflow" / name for name in ("frozen.pb", "saved_model", "named_v1")]
    done = subprocess.run(
        [sys.executable, "-c", code, *one_of_each.values(), *map(str, fixtures)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
