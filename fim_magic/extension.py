"""`%load_ext fim_magic` and `%unload_ext fim_magic`: what a shell gets, and how all of it is taken away again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fim_magic.frontends import Connection, has_prompt
from fim_magic.magics import FimMagics

if TYPE_CHECKING:
    from fim_magic.loading.manager import ModelManager


def load(shell: Any, models: ModelManager | None = None) -> None:
    """Register the magics with a shell. `models` is where models are loaded; by default the process's manager."""
    Connection.of(shell).open_bridge(_undecided)
    magics = FimMagics(shell, models)
    shell.register_magics(magics)
    shell.events.register("pre_run_cell", magics.remember_cell)
    if has_prompt(shell):
        from fim_magic import ghost  # brings prompt_toolkit

        ghost.register(shell)
    magics.session.begin_configured()


def unload(shell: Any) -> None:
    """Take the magics away from a shell, and unload the model."""
    if has_prompt(shell):
        from fim_magic import ghost

        ghost.unregister(shell)
    magics = shell.magics_manager.registry.pop(FimMagics.__name__, None)
    if magics is None:
        from fim_magic.loading.manager import MODELS

        MODELS.unload()
        return
    magics.session.models.unload()
    magics.close()
    shell.events.unregister("pre_run_cell", magics.remember_cell)
    shell.configurables.remove(magics)
    for kind, name in (("cell", "fim"), ("cell", "complete"), ("line", "fim")):
        shell.magics_manager.magics[kind].pop(name, None)


def _undecided() -> dict[str, str]:
    from fim_magic.review.render import undecided

    return undecided()
