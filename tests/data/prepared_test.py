"""A small real data set with Image features, prepared and read with no network and no TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import data
from tests.support.paths import ROOT
from tests.support.untyped import untyped

BUILDER = '''
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits


class Builder(tfds.core.GeneratorBasedBuilder):
    """Scikit-learn's digits as PNG files."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 40), "test": self._generate_examples(40, 60)}

    def _generate_examples(self, begin, end):
        bunch = load_digits()
        for i in range(begin, end):
            file = io.BytesIO()
            Image.fromarray((bunch["images"][i] * 15).astype(np.uint8)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": int(bunch["target"][i])}
'''

NO_NETWORK = """
import socket, sys


def refuse(*args, **kwargs):
    raise AssertionError("the network was tried")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""

PREPARE = """
from tiny_digits.tiny_digits_dataset_builder import Builder

Builder(data_dir="prepared", file_format="array_record").download_and_prepare()
"""

READ = """
import json, pathlib

import numpy as np

from jaxcnn import data

result = {}
source = data.tfds_source("tiny_digits", split="train", data_dir="prepared")
result["length"], result["classes"] = len(source), source.classes
result["digest"] = sorted((int(e["image"].sum()), int(e["label"])) for e in (source[i] for i in range(len(source))))
item = source[0]
result["form"] = [item["image"].shape, str(item["image"].dtype), str(item["label"].dtype)]
batch = data.Loader(source, 8, seed=0)[3]
result["batch"] = [batch["image"].shape, str(batch["image"].dtype), float(batch["image"].max())]
result["part"] = len(data.tfds_source("tiny_digits:1.2.0", split="train[:25%]+test", data_dir="prepared"))
result["errors"], result["damaged"] = [], []
for options in (
    {"name": "tiny_digits", "split": "valid"},
    {"name": "tiny_digits", "split": "train+valid"},
    {"name": "tiny_digits", "split": "train[["},
    {"name": "tiny_digits", "split": "train", "label": "class"},
    {"name": "tiny_digits:9.9.9", "split": "train"},
    {"name": "mnist", "split": "train"},
    {"name": "../tiny_digits", "split": "train"},
):
    try:
        data.tfds_source(**options, data_dir="prepared")
        result["errors"].append("none")
    except (ValueError, FileNotFoundError) as error:
        result["errors"].append(f"{type(error).__name__}: {error}")
for name in ("features.json", "dataset_info.json"):
    path = pathlib.Path("prepared/tiny_digits/1.2.0", name)
    intact = path.read_text()
    for content in (intact[: len(intact) // 2], "[]", ""):
        path.write_text(content)
        try:
            data.tfds_source("tiny_digits", split="train", data_dir="prepared")
            result["damaged"].append("none")
        except ValueError as error:
            result["damaged"].append(str(error))
    path.write_text(intact)
import grain

loader = grain.MapDataset.source(source).batch(4)
result["grain"] = loader[1]["image"].shape
result["tensorflow"] = "tensorflow" in sys.modules
print("RESULT" + json.dumps(result))
"""


def run(code: str, folder: Path) -> str:
    root = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(folder)]), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", NO_NETWORK + code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    package = folder / "tiny_digits"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tiny_digits_dataset_builder.py").write_text(BUILDER)
    run(PREPARE, folder)
    return json.loads(run(READ, folder).split("RESULT")[1])


def test_examples(result):
    from sklearn.datasets import load_digits

    bunch = untyped(load_digits())
    expected = sorted((int(bunch["images"][i].sum() * 15), int(bunch["target"][i])) for i in range(40))
    assert result["length"] == 40
    assert [tuple(pair) for pair in result["digest"]] == expected
    assert result["form"] == [[8, 8, 1], "uint8", "int32"]
    assert result["classes"] == [str(i) for i in range(10)]
    assert result["part"] == 30


def test_batches(result):
    shape, dtype, largest = result["batch"]
    assert shape == [8, 8, 8, 1] and dtype == "float32" and 0.5 < largest <= 1
    assert result["grain"] == [4, 8, 8, 1]


def test_no_tensorflow(result):
    assert result["tensorflow"] is False


def test_what_is_refused(result):
    split, sum_, syntax, feature, version, missing, hostile = result["errors"]
    for message in (split, sum_, syntax):
        assert message.startswith("ValueError: tfds_source: split must be")
    assert split.startswith("ValueError: tfds_source: split must be one of ('train', 'test')")
    assert feature.startswith("ValueError: tfds_source: label must be one of the features ('image', 'label')")
    for message in (version, missing):
        assert message.startswith("FileNotFoundError: tfds_source: name must be a data set prepared in 'prepared'")
        assert "download_and_prepare()" in message and "Nothing is downloaded" in message
    assert hostile.startswith("ValueError: tfds_source: name must be of the form")


def test_broken_files_are_named(result):
    assert len(result["damaged"]) == 6
    for message in result["damaged"]:
        assert message.startswith(
            "tfds_source: name must be a data set with intact features.json and dataset_info.json"
        )
        assert "tiny_digits/1.2.0' (" in message and "\n" not in message


def test_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(FileNotFoundError, match=r"prepared in '.*mine'"):
        data.tfds_source("mnist", split="train")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError, match=r"prepared in '.*home/tensorflow_datasets'"):
        data.tfds_source("mnist", split="train")


def test_config_must_be_named(tmp_path):
    folder = tmp_path / "letters" / "upper" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text("{}")
    with pytest.raises(ValueError, match=r"given with one of the configs \('upper',\)"):
        data.tfds_source("letters", split="train", data_dir=tmp_path)


def test_other_features_take_the_usual_names():
    examples = [{"picture": np.zeros((2, 2, 3), np.uint8), "class": i, "id": "x"} for i in range(3)]
    source = data.PreparedSource(examples, image="picture", label="class", classes=None)
    assert [int(item["label"]) for item in source.__getitems__([2, 0])] == [2, 0]
    assert set(source[1]) == {"image", "label"} and len(source) == 3
