"""The risk measures by name: ours, those that others register, and those of installed packages."""

from averse.plugins import Registry

OURS = {
    "mean": "Expectation",
    "entropic": "Entropic",
    "cvar": "CVaR",
    "var": "VaR",
    "mean-variance": "MeanVariance",
    "wang": "Wang",
    "cpw": "CPW",
    "evar": "EVaR",
    "worst-case": "WorstCase",
}

REGISTRY = Registry(
    "risk measure", "averse.measures", {kind: f"averse.risk.measures:{name}" for kind, name in OURS.items()}
)


def names() -> list[str]:
    """The kinds of risk measures that `parse` knows: ours first, then those that were registered or installed."""
    return REGISTRY.names()
