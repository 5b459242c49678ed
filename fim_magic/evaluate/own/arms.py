"""What is compared on the user's own files: how many answers are asked for, and what the model is shown beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fim_magic.engines import GREEDY
from fim_magic.errors import OptionError
from fim_magic.evaluate.answers.arms import MANY, seed_of
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.evaluate.own import OwnTask

DEFAULT, ONE, NONE, RAW = "default", "one", "none", "raw"
_CONTEXTS = ("cells", "names", "all")

WHAT = {
    DEFAULT: "what %%fim does by itself: as many answers as it finds right, with the context that it chooses",
    ONE: "one answer, with the context that %%fim chooses",
    NONE: "as default, without context",
    "cells": "as default, and of the context the cells above alone",
    "names": "as default, and of the context what the kernel's names are alone",
    "all": "as default, and all of the notebook that fits, also the cells below",
    MANY: "as many answers as -n says, with the context that %%fim chooses",
    RAW: "one greedy answer to the vendor's prompt without context, as the model gave it",
}
"""Of each arm, for the report."""

ARMS = tuple(WHAT)
"""What `--arms` takes, in the order in which arms are asked."""

USUAL = (DEFAULT, ONE, NONE)
"""The arms where the user names none."""


def check(names: Sequence[str]) -> tuple[str, ...]:
    """Return arms in the order in which they are asked; an OptionError where there are none, or unknown ones."""
    unknown = [name for name in names if name not in ARMS]
    if unknown or not names:
        raise OptionError(
            f"--arms names some of {','.join(ARMS)} for files of your own; {','.join(unknown)!r} is none of them."
        )
    return tuple(arm for arm in ARMS if arm in names)


def request(arm: str, task: OwnTask, template: Request) -> Request:
    """Return what is asked; the sampling and the number of candidates of `template` are for "many"."""
    mode = {NONE: "none", RAW: "none"}.get(arm, arm if arm in _CONTEXTS else "auto")
    request = replace(template, document=task.document, known=task.known, context=task.context(mode))
    if arm == MANY:
        return replace(request, sampling=replace(request.sampling, seed=seed_of(request.sampling.seed, task.task_id)))
    request = replace(request, candidates=1 if arm in (ONE, RAW) else 0, sampling=GREEDY)
    return replace(request, trimming=False, healing=False) if arm == RAW else request


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return which arms are compared with which: each as second less first."""
    first = [(other, DEFAULT) for other in (NONE, ONE, "cells", "names", RAW)] + [(DEFAULT, "all"), (DEFAULT, MANY)]
    return [pair for pair in first if set(pair) <= set(names)]
