"""A drawing of the system: microgrids, each with wind, load, battery and its own controller, at one main grid."""

import os

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from averse.report.style import BLUE, FAINT, GREEN, INK, PAPER, PINK, WASH, YELLOW, panels, save

_BUS = 2.95


def draw_architecture(path: str | os.PathLike, microgrids: int = 3) -> None:
    """Power lines solid, information dashed."""
    width = 3.6 * microgrids
    figure, ((axes,),) = panels(size=(0.95 * width + 0.4, 6.3))
    axes.set(xlim=(0, width), ylim=(0, 6.3), aspect="equal")
    axes.axis("off")
    goal = "main grid: the team's reward is the power sold,\n$r = \\sum_i H_i$; it maximises $\\eta - \\beta\\zeta$"
    _box(axes, (width / 2, 5.75), (width - 0.4, 0.8), INK, goal)
    for number in range(microgrids):
        _microgrid(axes, 3.6 * number + 1.8, number + 1)
        _arrow(axes, (3.6 * number + 1.8, 4.42), (3.6 * number + 1.8, 5.33), INK, both=True)
        axes.text(3.6 * number + 1.9, 4.85, f"$H_{number + 1}$", color=INK, fontsize=11, va="center")
    for left in range(microgrids - 1):
        x = 3.6 * left
        _arrow(axes, (x + 3.02, 3.98), (x + 4.18, 3.98), BLUE, both=True, dashed=True)
    axes.plot([], [], color=INK, linewidth=1.6, label="power")
    axes.plot([], [], color=BLUE, linewidth=1.6, linestyle="--", label="information: joint state, common reward")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.03), ncols=2, frameon=False, fontsize=10)
    save(figure, path)


def _microgrid(axes: Axes, x: float, number: int) -> None:
    frame = FancyBboxPatch((x - 1.6, 0.45), 3.2, 3.95, boxstyle="round,pad=0,rounding_size=0.12", facecolor=WASH,
                           edgecolor=FAINT, linewidth=1)  # fmt: skip
    axes.add_patch(frame)
    _box(axes, (x, 3.98), (2.4, 0.62), BLUE, f"microgrid {number}: agent\nchooses $b_{number}$ and $v_{number}$")
    axes.plot([x - 1.35, x + 1.35], [_BUS, _BUS], color=INK, linewidth=4, solid_capstyle="round")
    axes.plot([x + 1.42, x + 1.42, x], [_BUS, 4.42, 4.42], color=INK, linewidth=1.6)
    axes.plot([x + 1.35, x + 1.42], [_BUS, _BUS], color=INK, linewidth=1.6)
    for shift, color, words, inward, outward in (
        (-1.02, GREEN, f"wind\n$G_{number} - v_{number}$", True, False),
        (0.0, YELLOW, f"battery\n$B_{number}$, $e_{number}$", True, True),
        (1.02, PINK, f"load\n$D_{number}$", False, True),
    ):
        _box(axes, (x + shift, 1.5), (0.9, 0.95), color, words)
        low, high = (x + shift, 1.99), (x + shift, _BUS - 0.04)
        start, end = (low, high) if inward else (high, low)
        _arrow(axes, start, end, INK, both=inward and outward)
    axes.text(x, 0.73, f"$H_{number} = G_{number} - D_{number} + e_{number} - v_{number}$", ha="center", va="center",
              fontsize=9.5, color=INK)  # fmt: skip


def _box(axes: Axes, centre: tuple[float, float], size: tuple[float, float], color: str, words: str) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=0.08", facecolor=PAPER, edgecolor=color, linewidth=2
        )
    )
    axes.text(*centre, words, ha="center", va="center", fontsize=9.5, color=INK)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    both: bool = False,
    dashed: bool = False,
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="<|-|>" if both else "-|>",
            mutation_scale=11,
            color=color,
            linewidth=1.6,
            linestyle="--" if dashed else "-",
            shrinkA=0,
            shrinkB=0,
        )
    )
