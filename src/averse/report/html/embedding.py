"""How data get into a page that needs nothing else: JSON that cannot end its script, data: addresses, plotly itself."""

import base64
import csv
import gzip
import importlib
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from averse.extras import extra_module

_SPECIAL = re.compile("[<>&\u2028\u2029]")  # what HTML or an older JavaScript could take for something else


@dataclass(frozen=True)
class Download:
    """A file inside the page."""

    name: str
    words: str  # what it holds
    address: str  # data:..., "" where the page has no room for it

    @property
    def kilobytes(self) -> float:
        """About how large the file is."""
        return len(self.address) * 0.75 / 1000


def script_json(value: Any) -> str:
    """JSON for the inside of a <script>: no text in it can end the script. Raises ValueError for NaN and infinity."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def address(content: bytes, kind: str) -> str:
    """Bytes as a data: address of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def json_download(name: str, words: str, value: Any) -> Download:
    """An object as a JSON file, packed (.gz) where the name says so; what is not finite is null."""
    return _download(name, words, json.dumps(_finite(value), indent=1).encode(), "application/json")


def csv_download(name: str, words: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Download:
    """A table as a CSV file, packed (.gz) where the name says so."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_harmless(heading) for heading in headings])
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    content = file.getvalue().encode("utf-8", "replace")
    return _download(name, words, content, "text/csv")


def packed_plotly() -> str:
    """plotly.js, all of it, gzipped in base64, which `page.js` unpacks. Raises AverseError where there is no plotly."""
    extra_module("plotly", "an HTML report")
    text = importlib.import_module("plotly.offline").get_plotlyjs()
    return base64.b64encode(_packed(text.encode())).decode()


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)  # without the time, so that a page is the same byte for byte


def _download(name: str, words: str, content: bytes, kind: str) -> Download:
    if name.endswith(".gz"):
        return Download(name, words, address(_packed(content), "application/gzip"))
    return Download(name, words, address(content, kind))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _harmless(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula, as a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
