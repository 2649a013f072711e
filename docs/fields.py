"""An extension of griffe for the API pages: the fields of a class are listed in one place, with what is said of each.

A field is documented by a docstring below it or, as in `rewards: jax.Array  # float32 [T, B, A]`, by the comment on its
line. Both become one list under the class instead of a heading for each field.
"""

import ast
import io
import textwrap
import tokenize
from typing import Any

import griffe


class Fields(griffe.Extension):
    """Moves what is said of a class's fields into a section `Attributes` of its docstring."""

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **_: Any) -> None:
        """Called when all members of a class have been collected."""
        lines = []
        for name, field in cls.members.items():
            if field.is_alias or not field.is_attribute or "property" in field.labels or name.startswith("_"):
                continue
            told = field.docstring.value if field.docstring else _comment(field)
            if told:
                field.docstring = None
                lines.append(textwrap.indent(f"{name}: {textwrap.indent(told, '  ').strip()}", "  "))
        if lines and cls.docstring is not None and "\nAttributes:\n" not in cls.docstring.value:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(lines)


def _comment(field: griffe.Object) -> str:
    """The comments of a field's statement, joined; empty where it has none or they are for tools."""
    source = textwrap.dedent("\n".join(field.lines))
    try:
        tokens = [*tokenize.generate_tokens(io.StringIO(source + "\n").readline)]
    except (tokenize.TokenError, IndentationError):
        return ""
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    return " ".join(comment for comment in comments if not comment.startswith(("type:", "noqa", "fmt:")))
