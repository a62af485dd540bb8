"""Checks that runs of pytest together ran every test, each once, and skipped none.

Command: ``python .ci/ran_once.py LIST REPORT...`` with what ``pytest --list-tests LIST`` wrote and JUnit reports.
"""

import collections
import sys
from pathlib import Path
from xml.etree import ElementTree

listed = Path(sys.argv[1]).read_text().splitlines()
runs = [list(ElementTree.parse(path).iter("testcase")) for path in sys.argv[2:]]
ran = collections.Counter((case.get("classname"), case.get("name")) for run in runs for case in run)
skipped = [case.get("name") for run in runs for case in run if case.find("skipped") is not None]

assert not skipped, f"tests were skipped: {skipped}"
assert ran.total() == len(listed), f"{ran.total()} tests ran of {len(listed)}"
twice = [name for name, times in ran.items() if times > 1]
assert not twice, f"tests that ran twice: {twice}"
print(f"{' + '.join(str(len(run)) for run in runs)} = {len(listed)} tests, each once")
