"""Checks that runs of pytest together ran every test, each once, and skipped none but what torchvision is missing for.

Command: ``python .ci/ran_once.py LIST REPORT...`` with what ``pytest --list-tests LIST`` wrote and JUnit reports.
"""

import collections
import sys
from pathlib import Path
from xml.etree import ElementTree

listed = Path(sys.argv[1]).read_text().splitlines()
runs = [list(ElementTree.parse(path).iter("testcase")) for path in sys.argv[2:]]
ran = collections.Counter((case.get("classname"), case.get("name")) for run in runs for case in run)
reasons = {
    case.get("name"): skip.get("message", "")
    for run in runs
    for case in run
    if (skip := case.find("skipped")) is not None
}
left_out = [name for name, reason in reasons.items() if "torchvision is not installed" in reason]
skipped = [name for name in reasons if name not in left_out]

assert not skipped, f"tests were skipped: {skipped}"
assert ran.total() == len(listed), f"{ran.total()} tests ran of {len(listed)}"
twice = [name for name, times in ran.items() if times > 1]
assert not twice, f"tests that ran twice: {twice}"
print(f"{' + '.join(str(len(run)) for run in runs)} = {len(listed)} tests, each once")
if left_out:
    print(f"left out, as torchvision is not installed: {len(left_out)}")
