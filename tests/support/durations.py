"""Lists where the time of a test run went: ``python -m tests.support.durations REPORT...``, of JUnit reports.

``pytest --junit-xml report.xml`` writes one. Of the seconds by the clock, those of files that compile much are mostly
of the processor; the first test of a process also pays for imports and for what all tests share.
"""

import collections
import sys
from xml.etree import ElementTree

SHOWN = 25


def spent(paths: list[str]) -> tuple[collections.defaultdict[str, float], collections.defaultdict[str, float]]:
    """Sums the seconds of reports by file and by test function, all its parameters together."""
    files = collections.defaultdict[str, float](float)
    functions = collections.defaultdict[str, float](float)
    for path in paths:
        for case in ElementTree.parse(path).iter("testcase"):
            file, name = case.get("classname", ""), case.get("name", "").partition("[")[0]
            seconds = float(case.get("time", 0))
            files[file] += seconds
            functions[f"{file}.{name}"] += seconds
    return files, functions


if __name__ == "__main__":
    for found in spent(sys.argv[1:]):
        sys.stdout.write(f"{sum(found.values()):8.1f} s\n")
        for name, seconds in sorted(found.items(), key=lambda item: -item[1])[:SHOWN]:
            sys.stdout.write(f"{seconds:8.1f} s  {name}\n")
