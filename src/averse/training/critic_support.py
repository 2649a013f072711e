"""Whether a critic's support suits what it learned: what training logs at its end, and reports repeat."""

from collections.abc import Mapping, Sequence

CLAMPED_MASS = 0.1  # fraction of the targets' mass beyond the support that deserves a warning


def support_warnings(figures: Sequence[Mapping[str, float]]) -> list[str]:
    """What is wrong with the support, one sentence each, by the last figures of some trials.

    Args:
      figures: of each trial, as in `metrics.jsonl`: `clamped_mass`, `support_premium`, `support_std`, where known.
    """
    found = []
    clamped = max((row.get("clamped_mass", 0.0) for row in figures), default=0.0)
    if clamped > CLAMPED_MASS:
        found.append(
            f"the critic's support is too narrow: {100 * clamped:.1f} % of its targets' mass was clamped at the end of "
            "training; widen it with --support LOW HIGH"
        )
    # A measure of tolerance tau is all but neutral to widths well below tau. From a width of tau on it charges more
    # than half of that width, tau/2, for what the world has no part in: premium = width^2/(2 tau) > width/2.
    added = [(row.get("support_premium", 0.0), row.get("support_std", 0.0)) for row in figures]
    premium, width = max(added, default=(0.0, 0.0))
    if 2 * premium > width:
        found.append(
            "the critic's atoms are too far apart for this tau: projecting returns onto them adds a standard deviation "
            f"of {width:.3g}, more than tau, for which the entropic measure takes off {premium:.3g} reward units at "
            "the end of training; raise --num-atoms, or narrow --support LOW HIGH"
        )
    return found
