"""`fim-magic replay`: the infills of a saved notebook are made again, with no model that the user has not named."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import replace

from fim_magic.candidate import Ending
from fim_magic.cli_consent import HostConsent, ask
from fim_magic.cli_loading import load, models_of, spec_of
from fim_magic.errors import OptionError, ServerError, is_failure
from fim_magic.faults import in_words
from fim_magic.pipeline import follow
from fim_magic.progress import TerminalProgress
from fim_magic.replay import Recorded, compare, recorded, request_of
from fim_magic.saved_record import read_record
from fim_magic.visible import plain_text, say

_TYPED = re.compile(r"[\w./~][\w ./~@:+-]*", re.ASCII)
"""A name that stands in a line to type. What else somebody puts into a record might be run by whoever pastes it."""


def replay(options: argparse.Namespace) -> int:
    """Make a notebook's infills again. Returns 1 if one cannot be made, or has another answer.

    Args:
        options: As typed: `notebook`, `model`, how a model is loaded, and `models`, where.

    Raises:
        OptionError: The file is no notebook, or holds no record.
    """
    if options.allow_code and options.model is None:
        raise OptionError(
            "--allow-code runs code that a model brings, and which model that is may not be left to a notebook. Name "
            "it: --model OWNER/NAME@COMMIT --allow-code"
        )
    infills = recorded(options.notebook)
    if not infills:
        raise OptionError(f"{str(options.notebook)!r} holds no record of an infill.")
    consent = _Consent(options)
    all_same = True
    for infill in infills:
        try:
            same, text = _made_again(infill, consent, options)
        except BaseException as error:
            if not is_failure(error):
                raise
            same, text = False, str(in_words(error))  # others may be fine
        say(f"Cell {infill.cell}: {plain_text(text)}")
        all_same &= same
    return 0 if all_same else 1


def _made_again(infill: Recorded, consent: _Consent, options: argparse.Namespace) -> tuple[bool, str]:
    """Return whether an infill has the same answers again, and say so in words."""
    from fim_magic.settings import Settings

    request = request_of(infill, Settings().markers)
    model = options.model or consent.model_of(read_record(infill.record).model)
    engine = load(model, options).engine
    request = replace(request, permission=consent.hosts.permission_for(engine.info))
    with TerminalProgress() as progress:
        result = follow(request, engine, on_wait=progress.wait)
    if any(candidate.ending is Ending.INTERRUPTED for candidate in result.candidates):
        raise KeyboardInterrupt
    if result.broken_off:
        raise ServerError(result.broken_off)
    return compare(infill.record, result)


class _Consent:
    """Asks before a model is loaded that a notebook names, once for each.

    Attributes:
        hosts: Asks before text goes to another host.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from fim_magic.settings import Settings

        self._options = options
        self._permission = Settings().permission()
        self.hosts = HostConsent(self._permission)
        self._answers: dict[str, bool] = {}

    def model_of(self, name: str) -> str:
        """Return the name that a record gives a model, if it may be loaded.

        Raises:
            OptionError: It may not. The message says what to type.
        """
        from fim_magic.loading.consent import LONGEST_NAME, described, host_in, needs_consent

        spec = spec_of(name, self._options)
        if self._answers.get(name) or not needs_consent(spec, models_of(self._options), self._permission):
            return name
        if name not in self._answers:
            asks = len(name) <= LONGEST_NAME
            self._answers[name] = asks and ask(f"The notebook names the model {described(name)}. Load it?")
        if self._answers[name]:
            if host := host_in(spec.name):
                self.hosts.allow(host)
            return name
        raise OptionError(_refusal(name, str(self._options.notebook)))


def _refusal(name: str, notebook: str) -> str:
    from fim_magic.loading.consent import LONGEST_NAME, described

    is_short = len(name) <= LONGEST_NAME
    told = f"the model {described(name)}" if is_short else f"a model in {len(name):,} characters"
    typed = shlex.quote(name) if is_short and _TYPED.fullmatch(name) else "NAME"
    return (
        f"It was not made again: its record names {told}. A notebook may come from anybody, so it does not decide what "
        f"is loaded. If you want this model, or another one: fim-magic replay {shlex.quote(notebook)} --model {typed}"
    )
