"""The report of a run, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from fim_magic.evaluate.printing import WIDTH, heading, warned, wrapped
from fim_magic.evaluate.speed.arms import LLAMA_CPP
from fim_magic.evaluate.speed.goals import Goal, amount, goals
from fim_magic.evaluate.speed.measure import Fresh, Record, Timing, TokenCheck
from fim_magic.evaluate.speed.ratios import Ratio, limit, ratios


@dataclass
class SpeedReport:
    """A run, with all that is needed to judge and to repeat it."""

    about: dict[str, Any]  # command, date, model, machine, versions, rounds
    record: Record = field(default_factory=Record)
    warnings: list[str] = field(default_factory=list)  # what makes the numbers doubtful
    remarks: list[str] = field(default_factory=list)  # what else to know, such as which arms were left out
    on_gpu: bool = False  # whether the goals for a GPU are the ones that count
    random_weights: bool = False  # whether the model says nothing, so that speculation must not count
    is_packed: bool = False  # whether fim-magic computed with packed weights, which may say something else

    @property
    def rows(self) -> list[Ratio]:
        return ratios(self.record)

    @property
    def goals(self) -> list[Goal]:
        return goals(self.record, on_gpu=self.on_gpu, random_weights=self.random_weights, is_packed=self.is_packed)

    @property
    def failed_checks(self) -> list[TokenCheck]:
        """The comparisons that had to come out the same and did not."""
        return [check for check in self.record.checks if self.demands(check) and not check.passed]

    def demands(self, check: TokenCheck) -> bool:
        """Whether its tokens have to be the same: where weights and precision are."""
        return check.demanded and not self.is_packed

    def to_json(self) -> str:
        """Return everything as JSON: what was measured, and what was reckoned from it."""
        facts = asdict(self) | {
            "rows": [asdict(row) | {"median": row.median} for row in self.rows],
            "goals": [asdict(goal) | {"reached": goal.reached} for goal in self.goals],
        }
        return json.dumps(facts, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> SpeedReport:
        """Read back what `to_json` wrote. What was reckoned is reckoned again."""
        facts = json.loads(text)
        del facts["rows"], facts["goals"]
        record = facts["record"]
        record |= {name: [_timing(row) for row in record[name]] for name in ("timings", "warm_ups")}
        record["fresh"] = [Fresh(**row) for row in record["fresh"]]
        record["checks"] = [TokenCheck(**row) for row in record["checks"]]
        return cls(**facts | {"record": Record(**record)})


def _timing(row: dict[str, Any]) -> Timing:
    return Timing(**{**row, "at": tuple(row["at"])})


def table(report: SpeedReport) -> str:
    """Return the report as text, at most `WIDTH` columns wide, with a line for each goal at its end."""
    lines = heading("fim-magic bench", report.about, ("machine", "precision", LLAMA_CPP, "command", "rounds"))
    lines += _limits(report.record)
    lines += warned(report.warnings)
    lines += ["", _line("ratio", "against", "who", "median", "min to max", "goal"), *_body(report)]
    lines += ["", "Greedy tokens against generate():", *_checks(report)]
    for remark in report.remarks:
        lines += ["", *wrapped(remark)]
    return "\n".join([*lines, "", "Goals:", *map(_goal_line, report.goals)])


def _body(report: SpeedReport) -> Iterator[str]:
    targets = {goal.row: goal for goal in report.goals}
    shown = ""
    for row in report.rows:
        if row.what != shown:
            shown = row.what
            yield shown
        goal = targets.get((row.what, row.arm, row.against))
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        unit, scale = ("ms", 1e3) if row.unit == "s" and row.median < 1 else (row.unit, 1.0)
        spread = f"{_number(min(row.samples) * scale)} to {_number(max(row.samples) * scale)}"
        median = f"{_number(row.median * scale)} {unit}"
        yield _line(ratio, row.against, row.arm, median, spread, goal.target if goal else "")


def _line(ratio: str, against: str, who: str, median: str, spread: str, goal: str) -> str:
    return f"{ratio:>8}  {against:<17} {who:<25} {median:>16} {spread:>18}  {goal:<9}".rstrip()


def _limits(record: Record) -> Iterator[str]:
    if record.bandwidth:
        low, middle, high = (value(record.bandwidth) / 1e9 for value in (min, statistics.median, max))
        yield f"  memory:    {middle:.1f} GB/s, from {low:.1f} to {high:.1f} in {len(record.bandwidth)} readings"
    for arm, size in record.bytes_per_token.items():
        bound = limit(record, arm)
        if bound is not None:
            yield f"  limit:     {bound:.1f} tokens/s for {arm}, which reads {size / 1e6:.0f} MB a token"


def _checks(report: SpeedReport) -> Iterator[str]:
    for check in report.record.checks:
        mark = "ok" if check.passed else "DIFFERENT" if report.demands(check) else "different"
        yield f"  {mark:<10} {check.workload:<36} {check.arm:<26} {check}"[:WIDTH]
    if not report.record.checks:
        yield "  nothing was compared"


def _goal_line(goal: Goal) -> str:
    measured = "" if goal.measured is None else amount(goal.measured, goal.unit)
    return f"  {goal.verdict:<14}{goal.what:<50} {measured:>10}   goal {goal.target}"


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
