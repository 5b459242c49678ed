"""What `fim-magic doctor --prove` prints."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from fim_magic import catalog
from fim_magic.proof import ProbeAnswer, PromptCheck, Proof, recognised
from fim_magic.review.prompt import lay_out, print_sheet
from fim_magic.visible import plain_text, say

if TYPE_CHECKING:
    from fim_magic.loading.loaded import Loaded

_WHAT_IT_SHOWS = "A right prompt is answered from what its text says. A small model may err all the same."
_WIDTH = 100  # columns


def print_proof(loaded: Loaded, proof: Proof) -> None:
    """Print what a proof has found, check by check, with the prompts and the answers."""
    engine = loaded.engine
    entry = catalog.find(engine.info.model) or catalog.by_repo(engine.info.model)
    stated_by = "--family" if loaded.spec.family else "the catalogue" if entry is not None else ""
    _print_field("Model", f"{engine.info.model} ({engine.info.revision}), {engine.info.runs_on}")
    _print_field("Family", f"{engine.family.name}: {recognised(engine.family, stated_by)}")
    _print_field("Source", engine.family.source)
    if engine.info.server is not None:
        way = "token ids" if engine.capabilities.takes_ids else "text"
        by = engine.info.server.proved_by
        proved = (
            f"that the server reads them as they are meant is proved by {by}"
            if by
            else "how they are read is not proved"
        )
        _print_field("Prompts", f"go as {way}; {proved}")
    say("\nIts tokenizer and its prompts:")
    for check in proof.checks:
        _print_check(check)
    if proof.answers:
        say(f"\nThe ten lines:\n\n{textwrap.indent(proof.answers[0].probe.text, '    ')}\n")
        _print_prompt(loaded, proof)
        say("\nIts answers:")
    for answer in proof.answers:
        _print_answer(answer)
    failed = len(proof.failed)
    judged = f"{failed} of {len(proof.all_checks)} checks FAILED" if failed else "Nothing failed"
    say(f"\n{judged}. {_WHAT_IT_SHOWS}")


def _print_prompt(loaded: Loaded, proof: Proof) -> None:
    """Print the example's prompt token by token, and below it the same in the family's other order."""
    engine = loaded.engine
    first = proof.answers[0]
    others = (answer.prompt for answer in proof.answers[1:] if answer.probe is first.probe and answer.prompt.order)
    sheet = lay_out(first.prompt, next(others, None), engine.tokenizer, f"{engine.info.model}, {engine.family.name}")
    print_sheet(sheet)


def _print_answer(answer: ProbeAnswer) -> None:
    _print_check(answer.check)
    ended = "ended by a stop token" if answer.stopped else "went on until it was stopped"
    rest = answer.text.removeprefix(answer.middle)
    cut = f", and {len(rest)} more characters that %%fim cuts off" if rest else ""
    say(f"{'':<13}{plain_text(answer.middle)}")
    say(f"{'':<13}({ended}{cut})")


def _print_check(check: PromptCheck) -> None:
    _print_field(f"{check.verdict.value:<11}", f"{check.name}: {check.detail}", margin=13)


def _print_field(label: str, text: str, *, margin: int = 9) -> None:
    whole = f"{label:<{margin}}{plain_text(text)}"
    say(textwrap.fill(whole, _WIDTH, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False))
