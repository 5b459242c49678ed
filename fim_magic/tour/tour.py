"""One user's tour: which step they are at, the cells that it has put into their notebook, and how it ends."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fim_magic.errors import OptionError
from fim_magic.frontends import Connection, Owner, Placed, has_next_input, has_prompt
from fim_magic.frontends.interface import KernelMessage
from fim_magic.review.render import NO_MATHS
from fim_magic.review.text import html_text
from fim_magic.tour import steps
from fim_magic.tour.language import LANGUAGES, Language, language_for, typed_language
from fim_magic.tour.steps import Cursor, Step, Surroundings, Text, listed, steps_for, together
from fim_magic.visible import say

if TYPE_CHECKING:
    from fim_magic.frontends.bridge import PageAnswer

ACTIONS = ("next", "restart", "end")
"""What `%fim tour` takes, beside a language."""

_ORDER = tuple(dict.fromkeys(step.name for step in steps.STEPS))
"""The names of all steps that there are, the end's last."""

_COMMAND = re.compile(r"\s*%fim\s+tour\b")
_BEGINNING = re.compile(r"%%\w+|%fim(?: \w+)?|(?:def )?\w+\(")
_MARKED = re.compile(r"`(?P<code>[^`]+)`|(?P<link>https://\S+)")


@dataclass
class _Cell:
    """A cell that the tour has put there.

    Attributes:
        step: What it shows.
        id: Its own in the notebook, or "" where that is not known.
        undo: What a page needs to take it back, or None.
    """

    step: Step
    id: str = ""
    undo: dict[str, Any] | None = None

    def placed(self, placed: Placed) -> None:
        """Keep what a page has answered that made it."""
        if placed.undo is not None:
            self.undo = placed.undo
            self.id = placed.undo["id"]

    def runs_as(self, cell_id: str) -> None:
        """Keep its id, which the front end tells when it runs; then a page can find it."""
        if cell_id and not self.id:
            self.id = cell_id
            self.undo = {"how": "inserted", "id": cell_id, "text": self.step.code, "before": None}


@dataclass
class _Shown:
    """What is said below a cell.

    Attributes:
        owner: The cell.
        name: Of the output.
        texts: What is said.
        language: In which.
    """

    owner: Owner
    name: str
    texts: Sequence[Text]
    language: Language

    def update(self, data: dict[str, str]) -> None:
        """Put something in its place, where the front end can."""
        if self.owner.front_end.updates_outputs:
            self.owner.show(self.name, data, update=True)


class Tour:
    """The tour of one shell. While it is under way it hears of every cell that has run, and of nothing else."""

    def __init__(self, shell: Any, *, has_model: Callable[[], bool], has_page: Callable[[], bool]) -> None:
        """Begin nothing yet.

        Args:
            shell: IPython's.
            has_model: Says whether a model is loaded, or chosen.
            has_page: Says whether a page fills at its cursor.
        """
        self._shell = shell
        self._has_model = has_model
        self._has_page = has_page
        self._language: Language | None = None  # as the user has said
        self._step = ""  # the name of the one whose cell is to be run; "" while there is no tour
        self._is_deferred = False  # its cell comes after the one that the user has just got
        self._cells: list[_Cell] = []
        self._shown: list[_Shown] = []

    def act(self, words: str) -> None:
        """Begin the tour, show its step again, or do what is said.

        Args:
            words: What stands behind `%fim tour`: one of `ACTIONS`, a language, both, or nothing.

        Raises:
            OptionError: They are none of these.
        """
        action, language = _read(words)
        self._language = language or self._language
        if action == "end":
            self._end()
        elif not self._step or action == "restart":
            self._begin()
        elif action == "next":
            self._go_on()
        else:
            self._offer()

    def close(self) -> None:
        """Hear of no more cells."""
        if self._step:
            self._shell.events.unregister("post_run_cell", self._after_cell)
        self._step, self._language, self._is_deferred = "", None, False
        self._cells, self._shown = [], []

    # --- from step to step -------------------------------------------------------------------------

    def _begin(self) -> None:
        owner = Owner.current(self._shell)
        if not self._step:
            self._shell.events.register("post_run_cell", self._after_cell)
        self._step = _ORDER[0]
        has_cells = owner.front_end.has_kernel and owner.front_end.updates_outputs
        self._show(owner, [steps.BELOW if has_cells else steps.AT_THE_PROMPT])
        self._offer()

    def _go_on(self) -> None:
        """Go on to the next step; behind the last one is the end."""
        if self._step == _ORDER[-1]:
            self._end()
            return
        self._step = _ORDER[_ORDER.index(self._step) + 1]
        self._offer()

    def _offer(self) -> None:
        """Say what the step shows, and put its cell below the one that runs."""
        owner = Owner.current(self._shell)
        self._is_deferred = not owner.makes_cells and has_next_input(self._shell)
        if self._is_deferred:
            self._show(owner, [steps.AFTER_THE_NEXT])
            return
        every = self._steps(owner)
        # The one that it is at, or the next one if this front end has none of that name.
        number, step = next(
            (number, step)
            for number, step in enumerate(every, 1)
            if _ORDER.index(step.name) >= _ORDER.index(self._step)
        )
        self._step = step.name
        is_last = step is every[-1]
        self._show(owner, [step.text] if is_last else [steps.heading(number, len(every) - 1), step.text])
        cell = _Cell(step)
        self._cells.append(cell)
        owner.add_below(step.code, quiet=step.is_quiet, on_result=cell.placed)

    def _steps(self, owner: Owner) -> tuple[Step, ...]:
        cursor: Cursor = "terminal" if has_prompt(self._shell) else "page" if self._has_page() else ""
        return steps_for(Surroundings(has_model=self._has_model(), accepts_by_click=owner.makes_cells, cursor=cursor))

    def _after_cell(self, result: Any) -> None:
        """Go on where the cell of the step has run (a `post_run_cell` event)."""
        info = result.info
        if info is None or info.silent or not info.store_history:
            return  # not the user's: front ends run code of their own
        if _COMMAND.match(info.raw_cell):
            return  # it has done what it says
        if self._is_deferred:
            if result.success:
                self._offer()
        elif self._is_step(info.raw_cell):
            if result.success:
                self._go_on()
            else:
                self._show(Owner.current(self._shell), [steps.FAILED])

    def _is_step(self, source: str) -> bool:
        """Whether what has run is the step's cell, edited or not."""
        cell_id = KernelMessage.of(self._shell).cell_id
        cells = [cell for cell in self._cells if cell.step.name == self._step]
        for cell in cells:
            if source.strip() == cell.step.code.strip():
                cell.runs_as(cell_id)
                return True
            if cell_id and cell.id == cell_id:
                return True
        # Where nothing tells which cell it is, its beginning does.
        return any(not cell.id and _begins_as(cell.step.code, source) for cell in cells)

    # --- the end -----------------------------------------------------------------------------------

    def _end(self) -> None:
        owner = Owner.current(self._shell)
        if not self._step:
            self._show(owner, [steps.NO_TOUR])
            return
        language, cells, shown = self._language_now(), self._cells, self._shown
        self.close()
        for each in shown:
            each.update({"text/plain": ""})
        if owner.front_end.has_kernel:
            _take_away(owner, language, cells)
        else:
            say(steps.ENDED.in_language(language))

    # --- what is said ------------------------------------------------------------------------------

    def _language_now(self) -> Language:
        if self._language is not None:
            return self._language
        bridge = Connection.of(self._shell).bridge
        return language_for(() if bridge is None else bridge.languages(KernelMessage.of(self._shell).client))

    def _show(self, owner: Owner, texts: Sequence[Text]) -> None:
        """Say something below the running cell, until the tour ends."""
        language = self._language_now()
        told = together(texts, language)
        if not owner.front_end.has_kernel:
            say(told)
            return
        bridge = owner.bridge
        if bridge is not None and not bridge.has_page:
            bridge.when_page(self._say_again)
        shown = _Shown(owner, uuid.uuid4().hex, texts, language)
        self._shown.append(shown)
        owner.show(shown.name, _bundle(told, language, owner.anchor))

    def _say_again(self) -> None:
        """Say what was said before the page had told its language in that."""
        language = self._language_now()
        for each in self._shown:
            if each.language != language:
                each.language = language
                each.update(_bundle(together(each.texts, language), language, each.owner.anchor))


def _take_away(owner: Owner, language: Language, cells: Sequence[_Cell]) -> None:
    """Remove the tour's cells that are as they were put there, where a page can, and say that it has ended.

    Args:
        owner: The cell that ends it. It goes last if it is the tour's, and stays where there is more to say in it.
        language: Of what is said.
        cells: All that were put there.
    """
    name = uuid.uuid4().hex

    def tell(changed: Sequence[_Cell], lost: Sequence[_Cell], *, update: bool) -> None:
        told = [steps.ENDED]
        for text, stay in ((steps.STAY_CHANGED, changed), (steps.STAY, lost)):
            if stay:
                told += [text, listed(dict.fromkeys(cell.step.first_line for cell in stay))]
        owner.show(name, _bundle(together(told, language), language, owner.anchor), update=update)

    bridge = owner.bridge
    if bridge is None or not owner.makes_cells:
        tell((), cells, update=False)
        return
    lost = [cell for cell in cells if cell.undo is None]
    tell((), lost, update=False)
    own = [cell for cell in cells if cell.undo is not None and cell.id == owner.cell_id]
    others = [cell for cell in cells if cell.undo is not None and cell.id != owner.cell_id]
    client = KernelMessage.of(owner.shell).client

    def on_answer(answer: PageAnswer) -> None:
        changed = [cell for cell, how in zip(others, answer["cells"], strict=False) if how not in ("undone", "gone")]
        if changed:
            tell(changed, lost, update=True)
        elif not lost:
            bridge.remove(client, [cell.undo for cell in own if cell.undo is not None], lambda _answer: None)

    bridge.remove(client, [cell.undo for cell in others if cell.undo is not None], on_answer)


def _read(words: str) -> tuple[str, Language | None]:
    """Return the action that is typed, or "", and the language, or None."""
    typed = words.split()
    languages = [language for language in map(typed_language, typed) if language is not None]
    actions = [word for word in typed if word in ACTIONS]
    if len(languages) > 1 or len(actions) > 1 or len(languages) + len(actions) < len(typed):
        raise OptionError(
            f"%fim tour takes {', '.join(ACTIONS)} or nothing, and a language, {' or '.join(LANGUAGES)}: {words!r} is "
            "none of that."
        )
    return "".join(actions), languages[0] if languages else None


def _begins_as(code: str, source: str) -> bool:
    """Whether a cell begins with what the code of a step begins with: its magic and its command, or its function."""
    beginning, typed = _BEGINNING.match(code), _BEGINNING.match(source.lstrip())
    return beginning is not None and typed is not None and beginning[0] == typed[0]


def _bundle(told: str, language: Language, anchor: str) -> dict[str, str]:
    """Return what is said by MIME type, with `anchor` as a CSS class by which the page finds its notebook."""
    classes = " ".join(("fim-tour", *NO_MATHS, anchor))
    html = "".join(_html(told))
    return {"text/html": f'<p class="{classes}" lang="{language}" role="status">{html}</p>', "text/plain": told}


def _html(told: str) -> Iterator[str]:
    """Yield what is said as HTML: code, and addresses as links."""
    end = 0
    for match in _MARKED.finditer(told):
        yield html_text(told[end : match.start()])
        end = match.end()
        if code := match["code"]:
            yield f'<code style="white-space: nowrap">{html_text(code)}</code>'
        else:
            yield f'<a href="{html_text(match["link"])}">{html_text(match["link"])}</a>'
    yield html_text(told[end:])
