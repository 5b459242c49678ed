"""The report of a comparison, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fim_magic.evaluate.answers.intervals import Interval, bootstrap, difference, mean
from fim_magic.evaluate.exactness.comparison import PARTS, READ, WRITTEN, Compared
from fim_magic.evaluate.printing import heading, percent, warned, wrapped
from fim_magic.evaluate.serving.crowd import percentile

_TITLES = {READ: "prompts, read at once", WRITTEN: "answers, token by token"}
_HIGH = 0.99
_LEAST_GROUPS = 2  # of one alone, nothing can be said about others


@dataclass(frozen=True)
class Figures:
    """How far another way of computing is from the reference, over all places of one part.

    Attributes:
        places: How many there are.
        mean: The mean divergence, in nats.
        mean_interval: Its 95 % interval, prompts of one group taken together; None where there are too few.
        p99: What 99 % of the divergences do not exceed.
        highest: The largest of all.
        agreement: In which share of the places both have the same most probable token.
        agreement_interval: Its 95 % interval, likewise.
    """

    places: int
    mean: float
    mean_interval: Interval | None
    p99: float
    highest: float
    agreement: float
    agreement_interval: Interval | None


@dataclass(frozen=True)
class Change:
    """How much further one other is from the reference than another, at the same places.

    Attributes:
        name: The one.
        against: The other, which is taken off.
        mean: The difference of the mean divergences, in nats. Below 0, the one is nearer to the reference.
        mean_interval: Its 95 % interval, paired.
        agreement: The difference of the shares of agreement.
        agreement_interval: Its 95 % interval, paired.
    """

    name: str
    against: str
    mean: float
    mean_interval: Interval | None
    agreement: float
    agreement_interval: Interval | None


@dataclass
class ExactnessReport:
    """A run, with all that is needed to judge and to repeat it.

    Attributes:
        about: Command, date, model, machine, what was compared.
        others: What was compared with the reference, by its name: how it is computed.
        prompts: What came of each prompt.
        warnings: What makes the figures doubtful.
    """

    about: dict[str, Any]
    others: dict[str, str] = field(default_factory=dict)
    prompts: list[Compared] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def figures(self, name: str, part: str) -> Figures | None:
        """Return what one other's places of one part come to; None where there are none."""
        found, agreed, groups = _values(self.prompts, name, part)
        if not found:
            return None
        divergences = [*found.values()]
        sure = len(set(groups.values())) >= _LEAST_GROUPS
        return Figures(
            places=len(divergences),
            mean=mean(divergences),
            mean_interval=bootstrap(found, groups) if sure else None,
            p99=percentile(divergences, _HIGH),
            highest=max(divergences),
            agreement=mean([*agreed.values()]),
            agreement_interval=bootstrap(agreed, groups) if sure else None,
        )

    def changes(self, part: str) -> list[Change]:
        """Return each other but the first beside the first."""
        found = []
        first, *rest = self.others or [""]
        for name in rest if self.prompts else []:
            before, agreed_before, groups = _values(self.prompts, first, part)
            after, agreed_after, _ = _values(self.prompts, name, part)
            sure = len(set(groups.values())) >= _LEAST_GROUPS
            more, more_interval = difference(before, after, groups)
            oftener, oftener_interval = difference(agreed_before, agreed_after, groups)
            intervals = (more_interval, oftener_interval) if sure else (None, None)
            found.append(Change(name, first, more, intervals[0], oftener, intervals[1]))
        return found

    def to_json(self) -> str:
        """Return everything as JSON: what was measured, and what was reckoned from it."""
        figures = {
            name: {part: None if (found := self.figures(name, part)) is None else asdict(found) for part in PARTS}
            for name in self.others
        }
        changes = {part: [asdict(change) for change in self.changes(part)] for part in PARTS}
        facts = {
            "about": self.about,
            "others": self.others,
            "warnings": self.warnings,
            "figures": figures,
            "changes": changes,
            "prompts": [asdict(prompt) for prompt in self.prompts],
        }
        return json.dumps(facts, indent=1, ensure_ascii=False)


def _values(
    prompts: Sequence[Compared], name: str, part: str
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Return the divergence of each place, whether it agrees, and the group that it belongs to."""
    divergences, agreed, groups = {}, {}, {}
    for prompt in prompts:
        places = prompt.places[name][part]
        for number, (far, same) in enumerate(zip(places.divergences, places.agreed, strict=True)):
            place = f"{prompt.name} {number}"
            divergences[place], agreed[place], groups[place] = far, float(same), prompt.group
    return divergences, agreed, groups


def table(report: ExactnessReport) -> str:
    """Return the report as text."""
    lines = heading("fim-magic exactness", report.about, ("reference", "prompts", "machine", "command"))
    lines += [*warned(report.warnings), "", _line("against", "places", "mean KL", "95 %", "p99", "top-1", "95 %")]
    for name, how in report.others.items():
        lines += wrapped(f"{name}: {how}", indent=2)
        lines += [_figures(report, name, part) for part in PARTS]
    for part in PARTS:
        for change in report.changes(part):
            lines += ["", *wrapped(f"{_TITLES[part]}: {_told(change)}", indent=2)]
    explained = (
        "KL is the divergence of what each says of the next token from what the reference says, in nats; top-1 is how "
        "often both have the same most probable token. The intervals are by bootstrap over prompts."
    )
    return "\n".join([*lines, "", *wrapped(explained)])


def _figures(report: ExactnessReport, name: str, part: str) -> str:
    found = report.figures(name, part)
    if found is None:
        return _line(f"  {_TITLES[part]}", "none", *[""] * 5)
    return _line(
        f"  {_TITLES[part]}",
        f"{found.places:,}",
        _nats(found.mean),
        _ends(found.mean_interval, _nats),
        _nats(found.p99),
        percent(found.agreement, digits=2),
        _ends(found.agreement_interval, lambda share: f"{share * 100:.2f}"),
    )


def _told(change: Change) -> str:
    more, oftener = (
        f" ({_ends(interval, write)})" if interval else ""
        for interval, write in ((change.mean_interval, _nats), (change.agreement_interval, _points))
    )
    return (
        f"{change.name} less {change.against}, place by place: mean KL {change.mean:+.1e}{more}, top-1 "
        f"{_points(change.agreement)} points{oftener}"
    )


def _line(what: str, *cells: str) -> str:
    return "".join(_aligned(what, cells)).rstrip()


def _aligned(what: str, cells: Sequence[str]) -> Iterator[str]:
    yield f"{what:<25}"
    for cell, width in zip(cells, (7, 8, 19, 8, 9, 16), strict=True):
        yield f" {cell:>{width}}"


def _ends(interval: Interval | None, write: Any) -> str:
    return "" if interval is None else f"{write(interval.low)} to {write(interval.high)}"


def _nats(value: float) -> str:
    return f"{value:.1e}"


def _points(share: float) -> str:
    return f"{share * 100:+.2f}"
