"""`fim-magic replay`: the infills of a saved notebook are made again, with no model that the user has not named."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace

from fim_magic.candidate import Ending
from fim_magic.cli_consent import HostConsent, ask
from fim_magic.cli_loading import load, models_of, spec_of
from fim_magic.errors import FimError, OptionError, ServerError
from fim_magic.pipeline import follow
from fim_magic.progress import TerminalProgress
from fim_magic.replay import Recorded, compare, recorded, request_of
from fim_magic.saved_record import read_record
from fim_magic.visible import plain_text, say


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
        except FimError as error:
            same, text = False, str(error)
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
        from fim_magic.loading.consent import host_in, kind_of, needs_consent

        spec = spec_of(name, self._options)
        if self._answers.get(name) or not needs_consent(spec, models_of(self._options), self._permission):
            return name
        if name not in self._answers:
            self._answers[name] = ask(f"The notebook names the model {name!r}, {kind_of(name)}. Load it?")
        if self._answers[name]:
            if host := host_in(spec.name):
                self.hosts.allow(host)
            return name
        raise OptionError(_refusal(name, str(self._options.notebook)))


def _refusal(name: str, notebook: str) -> str:
    from fim_magic.loading.consent import kind_of

    return (
        f"It was not made again: its record names the model {name!r}, {kind_of(name)}. A notebook may come from "
        "anybody, so it does not decide what is loaded. If you want this model, or another one: fim-magic replay "
        f"{shlex.quote(notebook)} --model {shlex.quote(name)}"
    )
