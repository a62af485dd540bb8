"""Where real images and weights lie, and the mark of tests that need them."""

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DATA = Path(os.environ.get("JAXCNN_TEST_DATA") or ROOT.parent / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real data: set JAXCNN_TEST_DATA to its folder")
