"""Records of weight files: their form, what their sources have, downloads by name, the command line, the page."""

import collections
import hashlib
import json
import os
import re
import urllib.parse
import warnings
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.cli import main
from jaxcnn.zoo.download import downloads, transfers
from jaxcnn.zoo.families import find_records
from jaxcnn.zoo.records import weight_records
from jaxcnn.zoo.records.checksums import Checksum
from jaxcnn.zoo.records.weight_records import PADDINGS, SOURCES
from tests.support import recorded, records_table
from tests.support.local_server import Served, server
from tests.support.paths import ROOT
from tests.support.real_data import DATA, needs_data
from tests.support.selection import daily
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

ALL = zoo.records()
NAME = "keras/mobilenet_v1_0.25_224"
BODY = np.random.default_rng(0).bytes(50_000)
SHA1 = f"sha1:{hashlib.sha1(BODY).hexdigest()}"


# Form


def test_every_source_has_records():
    counts = collections.Counter(one.source for one in ALL)
    assert counts == {"pytorch": 115, "tensorflow": 80, "caffe": 15, "matconvnet": 27, "keras": 160}
    assert [one for source in SOURCES for one in zoo.records(source=source)] == list(ALL)


def test_names_are_unique_and_found():
    assert len({one.name for one in ALL}) == len(ALL)
    for one in ALL:
        assert re.fullmatch(rf"({'|'.join(SOURCES)})/[a-z0-9][a-z0-9._-]*", one.name), one.name
        assert zoo.record(one.name) is one


def test_addresses_are_of_files_with_safe_names(tmp_path):
    for one in ALL:
        parts = urllib.parse.urlsplit(one.url)
        assert parts.scheme in ("http", "https") and re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", str(parts.hostname)), one.url
        assert one.url.isascii() and " " not in one.url
        assert re.fullmatch(r"[A-Za-z0-9._-]+\.(pth|tar\.gz|tgz|caffemodel|mat|h5)", one.file_name), one.file_name
        assert zoo.cached(one.name, folder=tmp_path) is None  # accepts name, address and checksum
    files = collections.defaultdict(set)
    for one in ALL:
        files[one.file_name].add(one.url)
    assert all(len(urls) == 1 for urls in files.values())  # so that one cache can hold all


def test_checksums_are_as_the_sources_write_them():
    digits = {"pytorch": (8, 10), "caffe": (40,), "matconvnet": (32,), "keras": (32, 64), "tensorflow": ()}
    kinds = collections.Counter()
    for one in ALL:
        if one.checksum is not None:
            checksum = Checksum.parse("test", one.checksum)
            assert str(checksum) == one.checksum and len(checksum.digits) in digits[one.source]
            kinds[one.source, checksum.algorithm] += 1
    assert kinds == {
        **{("pytorch", "sha256"): 115, ("caffe", "sha1"): 6, ("matconvnet", "md5"): 24},
        **{("keras", "md5"): 74, ("keras", "sha256"): 10},
    }
    for one in zoo.records(source="pytorch"):
        assert one.checksum is not None and f"-{one.checksum.removeprefix('sha256:')}.pth" in one.url


def test_what_is_stated_has_a_meaning():
    for one in ALL:
        assert one.network and one.stated_in and all(one.stated_in) and all(one.notes), one.name
        assert one.license is None or one.license.strip()
        assert one.labels in (None, "imagenet-1000", "imagenet-1001")
        assert one.padding is None or one.padding in PADDINGS
        assert one.batch_norm_epsilon is None or 1e-6 <= one.batch_norm_epsilon <= 1e-2
        assert one.batch_norm_momentum is None or 0.8 <= one.batch_norm_momentum < 1
        assert (one.batch_norm_epsilon is None) == (one.batch_norm_momentum is None)
        for figure in one.accuracies:
            assert 0 < figure.percent <= 100 and figure.measure and figure.data_set, one.name
        first, fifth = one.accuracy(), one.accuracy("top-5")
        assert first is None or fifth is None or first < fifth
        for text in (*one.stated_in, *one.notes):
            assert not text.endswith(".") and text.isascii(), text


def test_preprocessing_has_a_meaning():
    for one in ALL:
        wanted = one.preprocessing
        if wanted is None:
            continue
        assert wanted.color_order in ("RGB", "BGR") and wanted.value_range in ((0, 1), (0, 255)), one.name
        assert wanted.size is None or 32 <= wanted.size <= 1000
        assert wanted.resize is None or (untyped(wanted.size) <= wanted.resize and wanted.keep_aspect is not None)
        assert wanted.crop_fraction is None or (0 < wanted.crop_fraction <= 1 and wanted.resize is None)
        assert wanted.interpolation in (None, "bilinear", "bicubic")
        for numbers in (wanted.mean, wanted.std):
            assert numbers is None or (len(numbers) == 3 and all(0 <= v <= wanted.value_range[1] for v in numbers))
        assert wanted.std is None or min(wanted.std) > 0
        # The size stands in many names.
        sizes = re.findall(r"_(96|128|160|192|224|299|331)(?=_|$)", one.name)
        assert wanted.size is None or all(int(size) == wanted.size for size in sizes)


def test_files_are_written_by_their_scripts():
    for source in SOURCES:
        content = recorded.read(source)
        text = (recorded.FOLDER / f"{source}.json").read_text(encoding="utf-8")
        assert recorded.text_of(content) == text and len(text) < 200_000
        used = {key for entry in content["records"] for field in ("notes", "stated_in") for key in entry.get(field, ())}
        assert used <= set(content["texts"])
        wanted = {entry["preprocessing"] for entry in content["records"] if "preprocessing" in entry}
        assert wanted == set(content["preprocessing"])


@pytest.mark.parametrize("source", ["tensorflow", "caffe", "matconvnet"])
def test_transcribed_records_are_what_their_script_says(source):
    import importlib

    script = importlib.import_module(f"tests.fixtures.make_records_{source}")
    assert json.loads(recorded.text_of(script.content())) == recorded.read(source)


def test_some_records_in_full():
    one = zoo.record("pytorch/resnet50_imagenet1k_v2")
    assert one.network == "resnet50" and one.source == "pytorch" and one.file_name == "resnet50-11ad3fa6.pth"
    assert one.preprocessing == zoo.Preprocessing(
        size=224,
        resize=232,
        keep_aspect=True,
        interpolation="bilinear",
        antialias=True,
        color_order="RGB",
        value_range=(0, 1),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    assert one.accuracies == (
        zoo.Accuracy("top-1", 80.858, "ImageNet-1K"),
        zoo.Accuracy("top-5", 95.434, "ImageNet-1K"),
    )
    assert (one.padding, one.batch_norm_epsilon, one.batch_norm_momentum) == ("symmetric", 1e-5, 0.9)
    assert one.stated_in[0].endswith(": torchvision/models/resnet.py")
    one = zoo.record("caffe/bvlc_alexnet")
    assert one.checksum == "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377" and one.license == "unrestricted"
    assert one.preprocessing is not None and one.preprocessing.color_order == "BGR" and one.preprocessing.mean is None
    one = zoo.record("matconvnet/imagenet-vgg-f")
    assert one.url == "http://www.vlfeat.org/matconvnet/models/imagenet-vgg-f.mat" and one.accuracy() == 58.9
    one = zoo.record("tensorflow/mobilenet_v1_0.25_128_quant")
    assert one.checksum is None and one.labels == "imagenet-1001" and one.accuracy() == 39.9
    one = zoo.record(NAME)
    assert (one.checksum, one.padding, one.batch_norm_epsilon, one.batch_norm_momentum) == (None, "same", 0.001, 0.99)
    assert zoo.record(f"{NAME}_notop").labels is None


# What the sources have


def test_hashes_of_keras_stand_in_the_installed_keras():
    keras = pytest.importorskip("keras")
    folder = Path(keras.__file__).parent / "src" / "applications"
    modules = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    found = {digits for text in modules.values() for digits in re.findall(r'"([0-9a-f]{32}|[0-9a-f]{64})"', text)}
    for one in zoo.records(source="keras"):
        module = untyped(re.fullmatch(r"keras [\d.]+: keras/src/applications/(\w+)\.py", one.stated_in[0]))[1]
        assert module in modules
        assert one.checksum is None or one.checksum.partition(":")[2] in found, one.name
        assert (one.checksum is None) == (module in ("mobilenet", "mobilenet_v2"))


@pytest.mark.parametrize(
    "name",
    daily(["mobilenet_v2_0.35_96", "mobilenet_v3_small_minimalistic_1.0_224", "resnet50_v2"], ["mobilenet_v2_0.35_96"]),
)
def test_keras_would_download_what_is_recorded(name):
    pytest.importorskip("keras")
    from tests.fixtures import make_records_keras as script

    (variant,) = (variant for variant in script.variants() if variant[2] == name)
    found = script.fields(*variant)
    stored = {entry["name"]: entry for entry in recorded.read("keras")["records"]}
    assert found == [stored[f"keras/{name}"], stored[f"keras/{name}_notop"]]


@needs_data
def test_a_real_file_has_what_its_record_says():
    checkpoint = zoo.read(DATA / "keras" / "mobilenet_v1_0.25_224_imagenet.h5")
    one = zoo.record(NAME)
    layers = checkpoint.graph["config"]["layers"]
    norms = [layer["config"] for layer in layers if layer["class_name"] == "BatchNormalization"]
    assert len(norms) == 27
    assert {(norm["epsilon"], norm["momentum"]) for norm in norms} == {
        (one.batch_norm_epsilon, one.batch_norm_momentum)
    }
    (shape,) = (c["config"]["batch_input_shape"] for c in layers if c["class_name"] == "InputLayer")
    assert shape[1:] == [untyped(one.preprocessing).size, untyped(one.preprocessing).size, 3]
    pads = [layer["config"]["padding"] for layer in layers if layer["class_name"] == "ZeroPadding2D"]
    assert pads and all(pad == [[0, 1], [0, 1]] for pad in pads) and "below" in one.notes[0]


# Labels


def test_labels():
    thousand = zoo.labels("imagenet-1000")
    assert len(thousand) == len(set(thousand)) == 1000 and all(thousand)
    assert zoo.labels("imagenet-1001") == ("background", *thousand)


@needs_data
def test_labels_are_in_the_order_of_other_lists():
    ours = zoo.labels("imagenet-1001")
    lines = (DATA / "images" / "coral_imagenet_labels.txt").read_text().splitlines()
    assert len(lines) == 1001
    differ = {name for name, line in zip(ours, lines, strict=True) if name not in line.split(", ")}
    assert differ == {"crane bird", "maillot tank suit"}  # which torchvision tells from the other crane and maillot
    lines = (DATA / "imagenet_samples" / "classes.txt").read_text().splitlines()
    names = {int(index): name for index, _, name in (line.split("\t") for line in lines)}
    differ = {ours[i + 1] for i, name in names.items() if letters(name) != letters(ours[i + 1])}
    assert differ == {"crane bird", "maillot tank suit"}


def letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


@pytest.mark.errors
def test_errors_of_names():
    with pytest.raises(ValueError, match="^labels: name must be one of .*'imagenet-1001'.*, got 'cifar-10'"):
        zoo.labels("cifar-10")
    with pytest.raises(ValueError, match=r"got 'keras/xceptoin' \(did you mean 'keras/xception'\?\)"):
        zoo.record("keras/xceptoin")
    with pytest.raises(ValueError, match="^record: name must be one of those in records.., got 3[.]$"):
        zoo.record(untyped(3))
    with pytest.raises(ValueError, match="^records: source must be one of .*, got 'torch'"):
        zoo.records(source="torch")


# Downloads by name


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfers, "_PAUSES", ())
    with server() as one:
        yield one


def serve(web, monkeypatch, served=None, **changes):
    """Serves a record's file from here, with changes to the record."""
    one = zoo.record(NAME)
    url = web.serve(f"/deep/{one.file_name}", served or Served(BODY))
    fields = {field: getattr(one, field) for field in type(one).__dataclass_fields__}
    monkeypatch.setattr(weight_records, "_by_name", lambda: {NAME: zoo.Record(**(fields | {"url": url} | changes))})
    return url


def test_download_by_name(web, monkeypatch, tmp_path):
    serve(web, monkeypatch, checksum=SHA1)
    assert zoo.cached(NAME, folder=tmp_path) is None
    path = zoo.download(NAME, folder=tmp_path)
    assert path == tmp_path / "mobilenet_2_5_224_tf.h5" and path.read_bytes() == BODY
    assert zoo.cached(NAME, folder=tmp_path) == zoo.download(NAME, folder=tmp_path) == path
    assert len(web.requests) == 1
    assert zoo.download(NAME, folder=tmp_path, name="own.h5").name == "own.h5"


def test_download_of_other_bytes_is_refused(web, monkeypatch, tmp_path):
    serve(web, monkeypatch, served=Served(BODY + b"more"), checksum=SHA1)
    with pytest.raises(zoo.DownloadError, match=f"the checksum must be {SHA1}, got sha1:"):
        zoo.download(NAME, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_given_checksum_wins(web, monkeypatch, tmp_path):
    serve(web, monkeypatch, checksum=f"sha1:{'0' * 40}")
    with pytest.raises(zoo.DownloadError):
        zoo.download(NAME, folder=tmp_path)
    assert zoo.download(NAME, folder=tmp_path, checksum=SHA1).read_bytes() == BODY
    assert zoo.cached(NAME, folder=tmp_path) is None
    assert zoo.cached(NAME, folder=tmp_path, checksum=SHA1) is not None


def test_download_without_a_published_checksum_is_unverified_once(web, monkeypatch, tmp_path):
    url = serve(web, monkeypatch)
    with pytest.warns(
        UserWarning, match=f"mobilenet_2_5_224_tf.h5 came from {url} without a checksum, so it is unverif"
    ):
        zoo.download(NAME, folder=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.download(NAME, folder=tmp_path)


def test_read_by_name(web, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "kernels.npz"
    np.savez(file, kernel=np.arange(6.0))
    serve(
        web, monkeypatch, served=Served(file.read_bytes()), checksum=f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
    )
    with pytest.raises(FileNotFoundError, match=f"run 'jaxcnn download {NAME}', or in Python pass download=True"):
        zoo.read(NAME)
    assert web.requests == []
    for options in ({"download": True}, {"download": True}, {}):
        np.testing.assert_array_equal(zoo.read(NAME, **options).tensors["kernel"], np.arange(6.0))
    assert len(web.requests) == 1


def test_read_prefers_a_file_of_that_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path(NAME).parent.mkdir()
    with open(NAME, "wb") as file:
        np.save(file, np.arange(3))
    assert zoo.read(NAME, download=True).metadata["format"] == "numpy"


def test_nothing_is_downloaded_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "transfer", lambda *_, **__: pytest.fail("went to the network"))
    for name in (NAME, NAME + "x"):
        with pytest.raises(FileNotFoundError):
            zoo.read(name)
    for one in zoo.records():
        zoo.record(one.name)
    assert zoo.cached(NAME, folder=tmp_path) is None


@pytest.mark.errors
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "keras/mobilenet_v1_0.25_223",
            "or the name of a record, got 'keras/mobilenet_v1_0.25_223' (did you mean 'keras/",
        ),
        ("mobilenet_v1_0.25_224", "(did you mean 'keras/mobilenet_v1_0.25_224'"),
        ("weights", "or the name of a record, got 'weights'."),
    ],
)
def test_errors_of_downloads_by_name(tmp_path, name, message):
    for function in (zoo.download, zoo.cached):
        with pytest.raises(ValueError) as caught:
            function(name, folder=tmp_path)
        assert message in str(caught.value) and str(caught.value).startswith(f"{function.__name__}: url must be a URL")


# The command line


def test_command_lists_records(capsys):
    assert main(["records"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ALL) + 1 and lines[0].split() == ["name", "top-1", "top-5", "checksum", "license"]
    assert main(["records", "ResNet50"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == [one.name for one in ALL if "resnet50" in one.name] and "pytorch/resnet50_imagenet1k_v1" in names


def test_command_shows_a_record(capsys):
    for one in (zoo.record(NAME), zoo.record("caffe/vgg_face"), zoo.record("matconvnet/imagenet-resnet-50-dag")):
        assert main(["records", one.name]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == [f"name: {one.name}", f"network: {one.network}", f"url: {one.url}"]
        assert ("checksum: not stated" in lines) == (one.checksum is None)
        assert [line for line in lines if line.startswith("stated in: ")] == [f"stated in: {t}" for t in one.stated_in]


def test_command_takes_names_in_any_case_and_knows_similar_ones(capsys):
    assert main(["records", "Keras/Xception"]) == 0
    assert capsys.readouterr().out.startswith("name: keras/xception\n")
    assert main(["records", "keras/xcption"]) == 2
    assert "did you mean 'keras/xception'" in capsys.readouterr().err


def test_command_downloads_by_name(web, monkeypatch, tmp_path, capsys):
    serve(web, monkeypatch, checksum=SHA1)
    assert main(["download", NAME, "--folder", str(tmp_path), "--no-progress"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{tmp_path / 'mobilenet_2_5_224_tf.h5'}\n", "")


def test_errors_of_the_commands(capsys):
    for arguments, message in (
        (["records", "nothing"], "jaxcnn: records: text must be part of a record's name, got 'nothing'."),
        (["download", "keras/xceptio", "--no-progress"], "(did you mean 'keras/xception'"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == "" and message in said.err and said.err.count("\n") == 1


# The page


def test_page_has_a_row_per_network():
    text = records_table.PAGE.read_text(encoding="utf-8")
    assert records_table.page(text) == text, "python -m tests.support.records_table writes docs/zoo.md anew"
    for source in SOURCES:
        networks = [row[0] for row in records_table.rows(source)]
        assert len(set(networks)) == len(networks)
        stated = {one.network for one in zoo.records(source=source)}
        assert stated | {entry["network"] for entry in recorded.read(source)["listed"]} == set(networks)
        assert all("|" not in cell for row in records_table.rows(source) for cell in row)


def test_page_claims_what_tests_do():
    networks = {(source, row[0]) for source in SOURCES for row in records_table.rows(source)}
    assert {*records_table.READS, *records_table.RUNS} <= networks
    described = map(records_table.describe_model, find_records())
    for claim in (*records_table.READS.values(), *records_table.RUNS.values(), *described):
        names = re.findall(r"`([\w/]+\.py)`", claim)
        assert names and all((ROOT / ("" if "benchmarks" in name else "tests") / name).is_file() for name in names)
