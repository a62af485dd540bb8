"""The package holds its data files. ``.ci/run`` runs this file alone on the built wheel, outside of the checkout."""

import json
from importlib.resources import files

import pytest

from jaxcnn import zoo

RECORDS = sorted(path.name for path in (files("jaxcnn") / "zoo" / "records" / "recorded").iterdir())


def test_annotations_are_announced():
    assert (files("jaxcnn") / "py.typed").is_file()


def test_records_are_there():
    assert len(RECORDS) > 3


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_read(name):
    assert json.loads((files("jaxcnn") / "zoo" / "records" / "recorded" / name).read_text())


def test_class_names_are_read():
    assert len(zoo.labels("imagenet-1000")) == 1000
