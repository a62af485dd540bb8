"""The package holds its data files. ``.ci/run`` runs this file alone on the built wheel, outside of the checkout."""

import json
from importlib.resources import files

import pytest

RECORDS = sorted(path.name for path in (files("jaxcnn") / "zoo" / "records" / "recorded").iterdir())


def test_annotations_are_announced():
    assert (files("jaxcnn") / "py.typed").is_file()


def test_records_are_there():
    assert len(RECORDS) > 3


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_read(name):
    assert json.loads((files("jaxcnn") / "zoo" / "records" / "recorded" / name).read_text())
