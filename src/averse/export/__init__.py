"""Policies that leave: as ONNX graphs, or as arrays with a reader that needs numpy alone."""

from averse.export.policy import Exported, export_policy
from averse.export.reader import PortablePolicy

__all__ = ["Exported", "PortablePolicy", "export_policy"]


def __dir__() -> list[str]:
    return __all__
