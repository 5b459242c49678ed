"""Which model a session's next request takes, and that it takes none where the user has chosen one in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fim_magic.errors import ModelError
from fim_magic.visible import say

if TYPE_CHECKING:
    from fim_magic.loading.manager import ModelManager
    from fim_magic.settings import Settings


class ModelChoice:
    """The model that a session uses.

    Args:
        settings: They name it; "auto" is what is loaded, and else what suits the machine.
        models: Returns where models are loaded.
    """

    def __init__(self, settings: Settings, models: Callable[[], ModelManager]) -> None:
        self._settings = settings
        self._models = models
        self._failed = False  # the last choice, and nothing was in use before

    @contextmanager
    def changed(self, typed: str) -> Iterator[None]:
        """Keep the model that is in use where the block fails, which takes another one; and say which it is.

        Where none was, none is from then on: no cell is filled by a model that nobody has named.

        Args:
            typed: What the user typed behind `%fim use`.
        """
        try:
            yield
        except BaseException:
            if not typed:
                raise
            kept = self.in_use()
            self._failed = not kept
            if kept and kept not in typed.split():
                say(f"{kept} stays in use.")
            raise
        self._failed = False

    def require(self, typed: str | None) -> None:
        """Raise if the last choice has failed, and no model is in use.

        Args:
            typed: The model that this call names; None where it names none.

        Raises:
            ModelError: So it is. The message says what to type.
        """
        refusal = self.refusal() if typed is None else ""
        if refusal:
            raise ModelError(refusal)

    def refusal(self) -> str:
        """Say why the next request has no model, and what to type; "" where it has one."""
        if not self._failed or self.in_use():
            return ""
        return (
            "No model is chosen: the last %fim use failed, and nothing was in use before. Type it again, or %fim use "
            "auto for the model that suits this machine; %fim models lists others."
        )

    def in_use(self) -> str:
        """Return the name of the model that the next request takes, or "" where that is for "auto" to say."""
        if self._settings.model != "auto":
            return self._settings.model
        models = self._models()
        if models.loaded is not None:
            return models.loaded.engine.info.model
        coming = models.loading
        return coming.name if coming is not None and not coming.failed else models.unloaded_idle
