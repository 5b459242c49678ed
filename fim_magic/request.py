"""A request to a model. The magics, the command line and the Python interface all make one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from fim_magic.allowed_hosts import NOTHING_ALLOWED, Permission
from fim_magic.branching import read_tokens
from fim_magic.candidate import Candidate
from fim_magic.checks import NO_CHECKS, CheckSpec
from fim_magic.checks.sufficiency import Sufficiency
from fim_magic.context import EMPTY_CONTEXT, Context
from fim_magic.default_candidates import ON_A_CPU, ON_A_GPU, TO_CHOOSE_FROM
from fim_magic.document import Document
from fim_magic.engines import Engine, EngineInfo, Sampling
from fim_magic.errors import OptionError
from fim_magic.holes import MultiHoleDocument
from fim_magic.trimming import Hole, statement_count


@dataclass(frozen=True)
class Request:
    """A request to a model.

    Attributes:
        document: The user's text, with the hole.
        method: "fim", "complete" to keep the suffix from the model, or "rank": complete from left to right, and prefer
            what makes the suffix likely.
        order: "auto", "psm" or "spm".
        candidates: How many answers; 0 for as many as this machine makes cheap.
        max_new_tokens: The most tokens that one answer may have.
        max_prompt_tokens: The most tokens that the prompt may have; 0 for what is read here in some ten seconds, and
            None for as many as the model's context has room for.
        sampling: How tokens are chosen.
        context: What the model may see beside the document.
        blanks: Where the text has several holes, its parts; `document` then has them all as one.
        known: The names that the notebook defines, for the check of names.
        check_spec: What is to be run on each candidate.
        trimming: Whether our rules end an answer; without them it is the model's raw text.
        healing: Whether a token that the hole cuts in two is generated again.
        lines: How many statements an answer has at least, where the hole has room for more than one.
        is_short: Whether an answer is one statement, or the block where a line opens one, and stays in its line where
            something stands behind the hole: ghost text is read at a glance.
        begins: The tokens that an answer begins with, what `healing` generates again among them.
        permission: Which other hosts it may go to, and how much of the context.
        at_hand: All of the context where not all of it goes to the model; None for `context`. Checks use it here.
    """

    document: Document
    method: str = "fim"
    order: str = "auto"
    candidates: int = 1
    max_new_tokens: int = 128
    max_prompt_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    context: Context = EMPTY_CONTEXT
    blanks: MultiHoleDocument | None = None
    known: frozenset[str] = frozenset()
    check_spec: CheckSpec = NO_CHECKS
    trimming: bool = True
    healing: bool = True
    lines: int = 1
    is_short: bool = False
    begins: tuple[int, ...] = ()
    permission: Permission = NOTHING_ALLOWED
    at_hand: Context | None = None

    @property
    def gathered(self) -> Context:
        """All that is known beside the document, for the checks here, whether the model may see it or not."""
        return self.at_hand or self.context

    def bound_for(self, info: EngineInfo) -> Request:
        """Return the request with as much of its context as may go where a model computes."""
        shown = self.permission.goes_along(self.context, info)
        return self if shown == self.context else replace(self, context=shown, at_hand=self.at_hand or self.context)

    @cached_property
    def hole(self) -> Hole:
        """The place that an answer has to fit into. What goes on from left to right is not as long as the hole asks."""
        document = self.document.for_model()
        if self.method != "fim":
            return Hole(document, is_short=self.is_short)
        shown = self.context.above_text + self.context.below_text
        suffices = Sufficiency(document, self.known)
        return Hole(document, least_statements=self.lines, suffices=suffices, shown=shown, is_short=self.is_short)

    @property
    def unfilled(self) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The middle before anything is written, and where it is the user's own text."""
        return ("", ()) if self.blanks is None else self.blanks.joined(())

    def again(self) -> Request:
        """Return the request for one other answer to the same question."""
        return replace(self, candidates=1, sampling=self.sampling.varied())

    def longer(self, candidate: Candidate) -> Request:
        """Return the request for one answer that begins as a candidate does, and has a statement more.

        Raises:
            OptionError: The text has several holes: none of them is known to be the one that lacks something.
        """
        if self.blanks is not None:
            raise OptionError("An answer to several holes is not made longer. Again asks for another one.")
        begins = read_tokens(candidate)
        return replace(
            self,
            candidates=1,
            begins=begins,
            lines=statement_count(self.hole, candidate.middle) + 1,
            max_new_tokens=self.max_new_tokens + len(begins),
        )

    def settled(self, engine: Engine) -> Request:
        """Return the request with a number of candidates, where that was left to us.

        One on a CPU, where each costs time, and more only if that one is doubtful; a GPU reads its weights once for
        all of them. Checks and ranking can only choose among several, so that they are worth the time anywhere.
        """
        if self.candidates:
            return self
        chooses = self.check_spec.anything or self.method == "rank"
        several = TO_CHOOSE_FROM if chooses else ON_A_CPU if engine.info.is_on_cpu else ON_A_GPU
        return replace(self, candidates=several)
