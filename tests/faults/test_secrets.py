"""What must not stand in a prompt, and what has to stay: `secrets/*.txt` in two halves, one of which nothing was tuned on."""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass
from pathlib import Path

import pytest

from fim_magic.context.redaction import redacted

FOLDER = Path(__file__).parent / "secrets"
LEAST_FOUND = 0.97
MOST_SPOILT = 0.02
PIECE = 6  # characters of a secret that must not be left

_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "b": string.ascii_letters + string.digits + "+/",
    "c": string.ascii_letters,
    "d": string.digits,
    "h": string.digits + "abcdef",
    "H": string.digits + "ABCDEF",
    "k": string.ascii_uppercase + "234567",
    "l": string.ascii_lowercase + string.digits,
    "u": string.ascii_uppercase + string.digits,
    "w": string.ascii_letters + string.digits + "-_",
}


@dataclass(frozen=True)
class Case:
    """A line of the set: a text, and the parts of it that are secrets."""

    kind: str
    held: bool
    line: int
    text: str
    secrets: tuple[str, ...]

    def leaks(self, shown: str) -> bool:
        outside = self.text
        for secret in self.secrets:
            outside = outside.replace(secret, "\0")
        return any(piece in shown and piece not in outside for secret in self.secrets for piece in _pieces(secret))


def _pieces(secret: str) -> list[str]:
    lines = [line for line in secret.splitlines() if not line.startswith("-----")]
    return [line[i : i + PIECE] for line in lines for i in range(max(1, len(line) - PIECE + 1)) if line.strip()]


def read(name: str) -> list[Case]:
    """Return the cases of a file. Of each kind every second is held back from tuning."""
    cases: list[Case] = []
    kind, of_kind = "", 0
    for number, line in enumerate((FOLDER / name).read_text("utf-8").splitlines(), 1):
        if line.startswith("## "):
            kind, of_kind = line[3:], 0
        elif line and not line.startswith(";; "):
            draw = random.Random(line)
            drawn = re.sub(r"⟨(\w)(\d+)⟩", lambda match: _drawn(draw, match[1], int(match[2])), line)
            whole = drawn.replace("¦", "").replace("⏎", "\n")
            text = whole.replace("«", "").replace("»", "")
            cases.append(Case(kind, of_kind % 2 == 1, number, text, tuple(re.findall(r"«(.+?)»", whole, re.DOTALL))))
            of_kind += 1
    return cases


def _drawn(draw: random.Random, alphabet: str, length: int) -> str:
    return "".join(draw.choices(_ALPHABETS[alphabet], k=length))


POSITIVES = read("positives.txt")
NEGATIVES = read("negatives.txt")


@pytest.mark.parametrize("held", [False, True], ids=["tuned on", "held back"])
def test_secrets_go(held):
    cases = [case for case in POSITIVES if case.held == held]
    left = [case for case in cases if case.leaks(redacted(case.text))]
    assert len(left) <= (1 - LEAST_FOUND) * len(cases), "\n".join(f"{case.line}: {case.text}" for case in left)


@pytest.mark.parametrize("held", [False, True], ids=["tuned on", "held back"])
def test_harmless_texts_stay(held):
    cases = [case for case in NEGATIVES if case.held == held]
    changed = [case for case in cases if redacted(case.text) != case.text]
    assert len(changed) <= MOST_SPOILT * len(cases), "\n".join(f"{case.line}: {case.text}" for case in changed)


def test_the_set_is_large():
    assert len(POSITIVES) >= 300
    assert len(NEGATIVES) >= 300
    assert all(case.secrets for case in POSITIVES)
    assert not any(case.secrets for case in NEGATIVES)
