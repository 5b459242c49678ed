"""From a document with a hole to the token ids that a model is given.

Prompts are assembled from ids. Sentinel text is never pasted around the user's text, and the user's text is encoded
without matching sentinels in it.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fim_magic.context import EMPTY_CONTEXT, Context, fit
from fim_magic.document import Document
from fim_magic.errors import ModelError, OptionError
from fim_magic.formats.family import Family, Part, Template, Text
from fim_magic.tokenization import TextTokenizer

ORDERS = ("auto", "psm", "spm")

_LONGEST_HEALED = 80  # characters that are generated again: indentation, where it is most


@dataclass(frozen=True)
class Piece:
    """A part of a prompt.

    Attributes:
        kind: "sentinel", "prefix", "suffix", "context" (other files, cells and names), or "text" (words of the
            template).
        text: What it says.
        ids: Its token ids.
    """

    kind: str
    text: str
    ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Prompt:
    """What a model is given.

    Attributes:
        pieces: The prompt in order.
        stop_ids: The ids that end the answer.
        order: "psm", "spm", or "" for left to right.
        order_reason: Why "auto" took that order; "" where the user chose.
        dropped_prefix_tokens: Tokens cut from the start of the prefix so that it fits.
        dropped_suffix_tokens: Tokens cut from the end of the suffix, likewise.
        healed: The end of the prefix that is not in the prompt: the answer has to begin with it (token healing).
        context: What of the context is in the prompt.
        limit: How many tokens it could have, where that was less than the model's context allows and it is shorter for
            that; else None.
        limit_reason: Why so many; "" without a limit.
    """

    pieces: tuple[Piece, ...]
    stop_ids: frozenset[int]
    order: str
    order_reason: str = ""
    dropped_prefix_tokens: int = 0
    dropped_suffix_tokens: int = 0
    healed: str = ""
    context: Context = EMPTY_CONTEXT
    limit: int | None = None
    limit_reason: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for piece in self.pieces for token in piece.ids)

    @property
    def sha256(self) -> str:
        """Of the token ids, as unsigned 32-bit numbers in this machine's byte order: tells two prompts apart."""
        return hashlib.sha256(array("I", self.ids).tobytes()).hexdigest()


def fim_prompt(
    family: Family,
    tokenizer: TextTokenizer,
    document: Document,
    *,
    order: str,
    room: int,
    context: Context = EMPTY_CONTEXT,
    healing: bool = True,
) -> Prompt:
    """Build the infilling prompt for the hole in `document`.

    Args:
        family: A row whose sentinels `tokenizer` has.
        tokenizer: The checkpoint's own.
        document: The text, as models know it.
        order: "psm", "spm" or "auto".
        room: How many tokens the prompt may have.
        context: The other files, shown as the family was trained to see them, and the notebook's cells and names as
            a script around the text. What doesn't fit beside the text is left out.
        healing: Whether a token that the hole cuts in two is left out, to be generated again.

    Raises:
        ModelError: The family cannot infill, or the checkpoint lacks a token that its prompts need.
        OptionError: It was not trained in that order.
    """
    order, reason = _order(family, document, order)
    template = family.psm if order == "psm" else family.spm
    return _Builder(family, tokenizer, document, context, room).build(template or (), order, reason, healing=healing)


def completion_prompt(
    family: Family,
    tokenizer: TextTokenizer,
    document: Document,
    *,
    room: int,
    context: Context = EMPTY_CONTEXT,
    healing: bool = True,
) -> Prompt:
    """Build the left-to-right prompt: only what stands before the hole. The arguments are those of `fim_prompt`.

    Models that cannot infill can be continued, so any family will do.

    Raises:
        OptionError: There is nothing to continue.
    """
    prompt = _Builder(family, tokenizer, document, context, room).build(family.complete, "", "", healing=healing)
    if prompt.ids or prompt.healed:
        return prompt
    # A model needs something to continue: an end-of-text token is what stands between documents in training.
    first = sorted(prompt.stop_ids)[:1]
    if not first:
        raise OptionError("There is nothing to continue: the text is empty. Write the beginning of what you want.")
    return Prompt((Piece("sentinel", tokenizer.decode(first), tuple(first)),), prompt.stop_ids, "")


def stop_ids(family: Family, tokenizer: TextTokenizer) -> frozenset[int]:
    """Return the ids that end an answer: the family's stop tokens, as far as the checkpoint has them.

    Its sentinels are among them: what comes after one is no longer the middle.
    """
    found = (tokenizer.sentinel(token) for token in (*family.stop, *family.sentinels()))
    return frozenset(token for token in found if token is not None)


def _order(family: Family, document: Document, order: str) -> tuple[str, str]:
    """Choose between the orders that the family was trained in, and say why if the user didn't."""
    if order not in ORDERS:
        raise OptionError(f"--order is one of {', '.join(ORDERS)}; {order!r} is none of them.")
    if not family.can_infill:
        raise ModelError(_cannot_infill(family))
    trained = [name for name, template in (("psm", family.psm), ("spm", family.spm)) if template is not None]
    if order in trained:
        return order, ""
    if order != "auto":
        raise OptionError(
            f"{family.name} was not trained in that order, and with --order {order} answers would be worse. "
            f"Omit --order, or use --order {trained[0]}."
        )
    if len(trained) == 1:
        return trained[0], f"the only order that {family.name} was trained in"
    if family.spm_for_lines and document.hole_begins_line:
        return "spm", f"{family.name} fills whole lines better with the suffix first"
    if family.spm_for_lines:
        return "psm", f"{family.name} fills holes inside a line better with the prefix first"
    return "psm", "the order that the vendor's examples have"


def _cannot_infill(family: Family) -> str:
    from fim_magic import catalog

    nearest = catalog.nearest_infilling(family.name)
    return (
        f"This model ({family.name}) cannot fill in the middle: {family.why_not}. %%complete continues from what "
        f"stands before the hole; the nearest model that infills is loaded by: %fim use {nearest.name}"
    )


class _Builder:
    """Turns one template and one document into pieces."""

    def __init__(
        self, family: Family, tokenizer: TextTokenizer, document: Document, context: Context, room: int
    ) -> None:
        self._family = family
        self._tokenizer = tokenizer
        self._document = document
        self._context = context
        self._room = room
        controls = (*family.sentinels(), *family.stop, family.bos or "")
        self._controls = {token for token in map(tokenizer.sentinel, controls) if token is not None}

    def build(self, template: Template, order: str, reason: str, *, healing: bool) -> Prompt:
        before, head = self._own()
        bos = self._bos()
        notebook = bool(self._context.cells or self._context.described)
        follows = bool(head) or (self._family.layout.in_prefix and bool(self._context.files)) or notebook
        unspaced = follows or Part.PREFIX in self._family.unspaced  # no space of the tokenizer's before the prefix
        prefix = self._ids(self._document.prefix, unspaced=unspaced)
        suffix = self._ids(self._document.suffix, unspaced=Part.SUFFIX in self._family.unspaced)
        healed = self._healed(order, prefix) if healing else ""
        if healed and (len(healed) > _LONGEST_HEALED or not self._tokenizer.can_open(healed.encode())):
            healed = ""  # it would take as long as an answer, or no token of this vocabulary brings it back
        if healed.isspace() and self._document.hole_begins_line and self._family.can_infill:
            prefix = self._ids(self._document.prefix.removesuffix(healed), unspaced=unspaced)
        elif healed:
            prefix = prefix[:-1]
        fixed = [
            *bos,
            *self._joined(before),
            *self._joined(head),
            *(self._fixed(item) for item in template if not isinstance(item, Part)),
        ]
        room = self._room - sum(piece.tokens for piece in fixed)
        suffix = suffix if Part.SUFFIX in template else []
        fitted = fit(prefix, suffix, room)
        # Not what a cut leaves empty: that changes with every edit, and other files would come and go at the beginning.
        room -= len(prefix) + len(suffix)
        others = self._others(room)
        chosen = self._chosen(room - self._tokens(others), below=Part.SUFFIX in template)
        above, below = chosen.above_text, self._below(chosen) if Part.SUFFIX in template else ""
        if self._family.layout.in_prefix:
            head = [*others, *head]
        else:
            before = [*others, *before]
        head = [*head, *([Piece("context", above, ())] if above else [])]
        texts = {
            Part.PREFIX: [
                *self._joined(head, spaced=Part.PREFIX not in self._family.unspaced),
                self._text(Part.PREFIX, fitted.prefix, unspaced=follows or fitted.dropped_prefix > 0),
            ],
            Part.SUFFIX: [
                self._text(Part.SUFFIX, fitted.suffix),
                *([Piece("context", below, tuple(self._ids(below, unspaced=True)))] if below else []),
            ],
        }
        pieces = [*bos, *self._joined(before)]
        for item in template:
            pieces += texts[item] if isinstance(item, Part) else [self._fixed(item)]
        return Prompt(
            tuple(piece for piece in pieces if piece.ids or piece.kind in ("prefix", "suffix")),
            stop_ids(self._family, self._tokenizer),
            order,
            reason,
            fitted.dropped_prefix,
            fitted.dropped_suffix,
            healed,
            chosen,
        )

    def _ids(self, text: str, *, unspaced: bool) -> list[int]:
        return self._tokenizer.encode(text, unspaced=unspaced, apart=self._controls)

    def _text(self, part: Part, ids: list[int], *, unspaced: bool = False) -> Piece:
        text = self._tokenizer.decode(ids, unspaced=unspaced or part in self._family.unspaced)
        return Piece(part.value, text, tuple(ids))

    def _joined(self, pieces: Sequence[Piece], *, spaced: bool = False) -> list[Piece]:
        """Encode neighbouring texts as one, as training saw them: a line end and what follows it may be one token."""
        found: list[Piece] = []
        for is_sentinel, run in itertools.groupby(pieces, key=lambda piece: piece.kind == "sentinel"):
            if is_sentinel:
                found += run
            else:
                text = "".join(piece.text for piece in run)
                found.append(Piece("context", text, tuple(self._ids(text, unspaced=not spaced))))
        return found

    def _healed(self, order: str, prefix: list[int]) -> str:
        """The text of the prefix's last token, if a longer token could stand in its place.

        Only after a word or a space: people do not stop inside other tokens, and after a bracket or a colon it does not
        help (`.github/DECISIONS.md`).

        Where a hole begins a line, all its indentation is generated again: a token of indentation often holds the
        space of the word behind it, so that a model that is given all of it indents the first line once more.

        A model that was never trained to infill has not seen texts cut anywhere. Many have a line end and the
        indentation behind it as one token, and a prompt that ends between them leads to anything but indented code. So
        the line end is generated again.
        """
        if order not in self._family.heals or len(prefix) < 2:
            return ""
        if self._document.hole_begins_line:
            indentation = self._document.prefix.rpartition("\n")[2]
            return indentation if self._family.can_infill else self._tokenizer.unfinished(prefix[-1], following=" ")
        text = self._tokenizer.unfinished(prefix[-1])
        return text if re.search(r"[\w ]$", text) else ""

    def _bos(self) -> list[Piece]:
        if self._family.bos is None:
            return [
                Piece("sentinel", self._tokenizer.decode([token]), (token,)) for token in self._tokenizer.leading_ids
            ]
        return [self._fixed(self._family.bos)] if self._family.bos else []

    def _fixed(self, item: str | Text) -> Piece:
        if isinstance(item, Text):
            return Piece("text", item.text, tuple(self._ids(item.text, unspaced=True)))
        return Piece("sentinel", item, (_required(self._tokenizer, item),))

    def _own(self) -> tuple[list[Piece], list[Piece]]:
        """The name of the file with the hole, as pieces: before the prompt, and at the start of its prefix."""
        if not self._context.path:
            return [], []
        layout = self._family.layout
        values = {Part.PATH: self._context.path}
        return self._filled(layout.own, values), self._filled(layout.head, values)

    def _others(self, room: int) -> list[Piece]:
        """The other files, as many as fit; the ones given first go first."""
        layout = self._family.layout
        pieces: list[Piece] = []
        if self._context.repository:
            pieces += self._filled(layout.repository, {Part.REPOSITORY: self._context.repository})
        for file in self._context.files:
            more = self._filled(layout.file, {Part.PATH: file.path, Part.CODE: file.text})
            if self._tokens([*pieces, *more]) <= room:
                pieces += more
        return pieces if self._tokens(pieces) <= room else []

    def _chosen(self, room: int, *, below: bool) -> Context:
        """What of the notebook fits into `room` tokens. In a left-to-right prompt nothing stands below."""
        context = self._context if below else replace(self._context, below=())
        if not (context.cells or context.below or context.described):
            return context

        def count(text: str) -> int:
            return len(self._ids(text, unspaced=True))

        chosen, limit = context.within(room, count), room
        # Parts that are encoded together rarely have more tokens than apart, but may.
        while limit > 0 and (over := count(chosen.above_text) + count(chosen.below_text) + 1 - room) > 0:
            limit -= over
            chosen = context.within(limit, count)
        return chosen

    def _below(self, chosen: Context) -> str:
        """The cells below, a blank line after the text with the hole."""
        text = chosen.below_text
        return text.removeprefix("\n") if self._document.suffix.endswith("\n") else text

    def _tokens(self, pieces: Sequence[Piece]) -> int:
        return sum(piece.tokens for piece in self._joined(pieces, spaced=True))

    def _filled(self, template: Template, values: Mapping[Part, str]) -> list[Piece]:
        """Fill in a layout. Its texts are encoded later, together with their neighbours."""
        return [
            self._fixed(item)
            if isinstance(item, str)
            else Piece("context", item.text if isinstance(item, Text) else values[item], ())
            for item in template
        ]


def _required(tokenizer: TextTokenizer, token: str) -> int:
    found = tokenizer.sentinel(token)
    if found is None:
        raise ModelError(
            f"This checkpoint's vocabulary has no {token}, which its family's prompts need. Choose another model "
            "with %fim use NAME; %fim models lists them."
        )
    return found
