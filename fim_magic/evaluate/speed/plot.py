"""The picture of a report: ratios beside their goals, and tokens a second beside the memory limit."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from fim_magic.evaluate import picture
from fim_magic.evaluate.speed.goals import Goal
from fim_magic.evaluate.speed.ratios import limit
from fim_magic.evaluate.speed.report import SpeedReport

_REACHED, _MISSED, _BAR, _LIMIT = "#2a7f62", "#c2513d", "#4c6a92", "#222222"


def draw(report: SpeedReport, path: Path) -> None:
    """Draw the report; an OptionError where that cannot be done."""
    picture.require(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _goals(left, [goal for goal in report.goals if goal.measured is not None])
    _decode(right, report)
    figure.suptitle(f"fim-magic bench: {report.about.get('model', '')}", fontsize=11)
    picture.save(figure, path)


def _goals(axes: Any, measured: list[Goal]) -> None:
    """One bar for each goal, so long that 1 is the goal itself and longer is better."""
    scores = [_score(goal) for goal in measured]
    colours = [_REACHED if goal.reached else _MISSED for goal in measured]
    axes.barh(range(len(measured)), scores, color=colours, height=0.6)
    axes.axvline(1.0, color=_LIMIT, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(measured)), [goal.what for goal in measured], fontsize=8)
    axes.invert_yaxis()
    beside = axes.get_yaxis_transform()  # x as a share of the width: the texts stand in a column of their own
    for position, goal in enumerate(measured):
        axes.text(1.02, position, f"{_value(goal)} ({goal.target})", transform=beside, va="center", fontsize=8)
    axes.set_xlim(0, max([2.0, *scores]) * 1.05)
    axes.set_xlabel("goal = 1, longer is better", fontsize=9)
    axes.set_title("Goals", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _score(goal: Goal, most: float = 4.0) -> float:
    """How far beyond the goal, at most `most`: one bar must not make all others invisible."""
    measured = goal.measured or 0.0
    if goal.at_least:
        return min(most, measured / goal.bound)
    return min(most, goal.bound / measured) if measured > 0 else most


def _value(goal: Goal) -> str:
    measured = goal.measured or 0.0
    return {"x": f"{measured:.2f}x", "%": f"{measured:.0f} %", "ms": f"{measured:.0f} ms"}[goal.unit]


def _decode(axes: Any, report: SpeedReport) -> None:
    """Tokens a second of each arm, with a line at what memory allows it."""
    samples = {row.arm: row.samples for row in report.rows if row.what == "decode"}
    for position, (arm, own) in enumerate(samples.items()):
        median = statistics.median(own)
        axes.bar(position, median, color=_BAR, width=0.6, yerr=[[median - min(own)], [max(own) - median]], capsize=3)
        axes.annotate(f"{median:.1f}", (position, median / 2), ha="center", color="white", fontsize=9)
        bound = limit(report.record, arm)
        if bound is not None:
            axes.hlines(bound, position - 0.4, position + 0.4, color=_LIMIT, linewidth=1.6)
    axes.set_xticks(range(len(samples)), [arm.replace(", ", ",\n") for arm in samples], fontsize=8, rotation=20)
    axes.set_ylabel("tokens a second", fontsize=9)
    axes.set_title("Decode; the line is the memory limit", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
