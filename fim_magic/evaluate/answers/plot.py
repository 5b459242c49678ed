"""The picture of an evaluation: for each set, pass@1 of every arm with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fim_magic.errors import OptionError
from fim_magic.evaluate import picture
from fim_magic.evaluate.answers.reckoning import BenchmarkResult
from fim_magic.evaluate.answers.report import BenchmarkReport, shown_name, subset

_BAR, _OURS, _BOUND, _LINE = "#4c6a92", "#2a7f62", "#b9c3d0", "#222222"
_BEST = ("trimmed", "auto", "chosen", "checked")
_ROW_INCHES = 0.34


def draw(report: BenchmarkReport, path: Path) -> None:
    """Draw the report; an OptionError where that cannot be done."""
    picture.require(path)
    from matplotlib.figure import Figure

    sets = [result for result in report.sets if result.arms]
    if not sets:
        raise OptionError("There is nothing to draw yet: no task was answered. Run it without --only-report first.")
    heights = [len(result.arms) + 2 for result in sets]
    figure = Figure(figsize=(9, 1.2 + _ROW_INCHES * sum(heights)), layout="constrained", facecolor="white")
    panels = figure.subplots(len(sets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, result in zip(panels, sets, strict=True):
        _panel(axes, result, report.about)
    panels[-1].set_xlabel("pass@1 in percent, with its 95 % interval", fontsize=9)
    figure.suptitle(f"fim-magic eval: {report.about.get('model', '')}", fontsize=11)
    picture.save(figure, path)


def _panel(axes: Any, result: BenchmarkResult, about: dict[str, Any]) -> None:
    """One bar for each arm; a dashed line for each number that others have published."""
    for position, arm in enumerate(result.arms):
        share, low, high = (100 * value for value in (arm.share, arm.interval.low, arm.interval.high))
        colour = _OURS if arm.name in _BEST or arm.name.startswith("context") else _BAR
        error = [[max(share - low, 0)], [max(high - share, 0)]]
        axes.barh(position, share, color=_BOUND if arm.name == "any" else colour, height=0.62)
        axes.errorbar(share, position, xerr=error, color=_LINE, capsize=3, lw=1)
        axes.text(1.02, position, f"{share:.1f} %", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    for number in result.published:
        axes.axvline(number.percent, color=_LINE, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(result.arms)), [shown_name(arm.name, about) for arm in result.arms], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    dashed = "; dashed: published" if result.published else ""
    axes.set_title(f"{result.name}: {subset(result, about)}{dashed}", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
