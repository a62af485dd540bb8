"""Writes the files of weight records that the package carries, one record per line."""

import json
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "jaxcnn" / "zoo" / "records" / "recorded"


def text_of(content: dict[str, Any]) -> str:
    """Formats a source's records as JSON.

    Args:
        content: ``common``: fields of every record. ``texts``: texts that notes and ``stated_in`` refer to.
            ``preprocessing``: entries that the records refer to. ``records``: their fields. ``listed``: networks that
            the source's page lists and that have no record, each with the reason.
    """
    parts = [f' "common": {_line(content["common"])}']
    for key in ("texts", "preprocessing"):
        lines = ",\n".join(f"  {_line(name)}: {_line(value)}" for name, value in content[key].items())
        parts.append(f' "{key}": {{\n{lines}\n }}')
    for key in ("records", "listed"):
        lines = ",\n".join(f"  {_line(entry)}" for entry in content[key])
        parts.append(f' "{key}": [\n{lines}\n ]' if lines else f' "{key}": []')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write(source: str, content: dict[str, Any]) -> None:
    """Writes a source's file."""
    path = FOLDER / f"{source}.json"
    path.write_text(text_of(content), encoding="utf-8")
    print(f"{path.name}: {len(content['records'])} records, {len(content['listed'])} networks without")


def read(source: str) -> dict[str, Any]:
    """Reads a source's file as JSON."""
    return json.loads((FOLDER / f"{source}.json").read_text(encoding="utf-8"))


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
