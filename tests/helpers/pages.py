"""What stands in an HTML page: its elements, tables, texts and data, by Python's own parser."""

import base64
import gzip
import json
from html.parser import HTMLParser
from typing import Any

VOID = frozenset(["meta", "link", "img", "br", "hr", "input"])


class Page(HTMLParser):
    """A page, read. `elements` are (tag, attributes) in order; tables are rows of the texts of their cells."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""  # outside of scripts and styles
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
            return
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in ("th", "td", "span") and "table" in self._open:
            self.tables[-1][-1][-1] += data

    def table(self, first: str) -> list[list[str]]:
        """The first table whose heading begins so, with its heading."""
        return next(table for table in self.tables if table[0][0] == first)

    def figures(self) -> list[dict[str, Any]]:
        """What plotly is to draw, in the order of the page."""
        return [json.loads(text) for attributes, text in self.scripts if "data-for" in attributes]

    def downloads(self) -> dict[str, bytes]:
        """The files inside the page, unpacked: the last one of each name."""
        found = {}
        for tag, attributes in self.elements:
            if tag == "a" and (name := attributes.get("download")):
                content = base64.b64decode((attributes["href"] or "").partition(",")[2])
                found[name] = gzip.decompress(content) if name.endswith(".gz") else content
        return found


def named(figures: list[dict[str, Any]], axis: str) -> dict[str, Any]:
    """The first figure whose horizontal axis has a title."""
    return next(f for f in figures if f["layout"].get("xaxis", {}).get("title", {}).get("text") == axis)
