"""The examples of docs/planning.md run, one after the other, and what they assert holds."""

import re
from pathlib import Path


def test_examples_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 7
    names = {}
    for example in examples:
        exec(example, names)
