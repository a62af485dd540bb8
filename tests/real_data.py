"""Where real images and weights lie, and the mark of tests that need them."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("JAXCNN_TEST_DATA") or Path(__file__).parent.parent.parent / "shared" / "data")
needs_data = pytest.mark.skipif(not ROOT.is_dir(), reason="real data: set JAXCNN_TEST_DATA to its folder")
