r"""Fill in the middle of notebook cells with open code models on your own machine.

In a notebook, `%load_ext fim_magic` and then `%%fim?`. In Python:

    from fim_magic import infill
    result = infill("def mean(xs):\n    <cursor>\n    return total / len(xs)\n")
    print(result.text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from fim_magic.candidate import Result
    from fim_magic.context import Context
    from fim_magic.request import Request

__all__ = ["__version__", "complete", "infill", "load_ipython_extension", "model_folder", "unload_ipython_extension"]


def __getattr__(name: str) -> str:
    """`__version__`, read when somebody wants to know it."""
    if name != "__version__":
        raise AttributeError(f"module 'fim_magic' has no attribute {name!r}")
    from fim_magic.version import find_version

    return find_version()


def infill(text: str, **options: Any) -> Result:
    r"""Fill the hole in `text`.

    Where a notebook allows no answers (`fim_magic.filling` in its metadata, or the settings), this gives none either.

    Args:
        text: Source text with a cursor marker, such as `<cursor>`.
        **options: As of `%%fim`, with underscores: `model`, `candidates`, `max_new_tokens`, `temperature`, `top_p`,
            `seed`, `order`, `method`, `check`, `quantize`, `family`, `engine`, `markers`; `context`, if this is
            called in a notebook: without it, the model sees only the text; `wait_seconds`: how long to wait while
            another thread's request is under way (600; 0 does not wait); and `allowed_hosts`: the other hosts that may
            get the text, `["HOST:PORT"]`, where a server runs the model.

    Raises:
        FimError: Something that you can mend; the message says how.
        BrokenOffError: A server failed in the middle; a FimError whose `.result` holds the partial text.
        Interrupted: Ctrl-C; a KeyboardInterrupt whose `.result` holds the partial text.
    """
    return _ask(text, options)


def complete(text: str, **options: Any) -> Result:
    """Continue `text` left to right, from its marker or else from its end.

    Text after the marker is kept in the rebuilt text, and not shown to the model. Arguments as of [`infill`][].
    """
    return _ask(text, options, complete=True)


def model_folder(name: str) -> Path:
    """Return the folder of a model as transformers reads it, for those who want to load it by hand.

    What is not on this machine is fetched, and a `.gguf` file converted. It is the copy that `%fim use` loads.

    Args:
        name: As `%fim use` takes it: a short name, a folder, a `.gguf` file, or `owner/name` on the Hub.

    Raises:
        FimError: Something that you can mend; the message says how.
    """
    from fim_magic.loading.folder import folder_of
    from fim_magic.progress import TerminalProgress
    from fim_magic.visible import notify

    with TerminalProgress() as progress:
        return folder_of(name, progress, notify)


def _ask(text: str, options: dict[str, Any], *, complete: bool = False) -> Result:
    from fim_magic.errors import is_failure

    try:
        return _answer(text, options, complete=complete)
    except BaseException as error:
        if not is_failure(error):
            raise
        from fim_magic.faults import in_words

        told = in_words(error)
        if told is error:
            raise
        raise told from error


def _answer(text: str, options: dict[str, Any], *, complete: bool) -> Result:
    # Imported at the first request: torch and transformers take seconds.
    from dataclasses import replace

    from IPython.core.getipython import get_ipython

    from fim_magic.events import Finished, Waits
    from fim_magic.interruption import BrokenOffError, Interrupted, interruptible
    from fim_magic.loading.manager import MODELS
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.permission import check_allowed_in_python
    from fim_magic.pipeline import run
    from fim_magic.progress import TerminalProgress
    from fim_magic.settings import Settings

    settings = Settings()
    shell = get_ipython()
    check_allowed_in_python(shell, settings.filling, settings.markers)
    model, request = settings.request(text, complete=complete, **options)
    if model == "auto":
        _require_model(shell, options.get("model"))
    hosts = request.permission.hosts | _hosts_of_session(shell)
    request = replace(
        request,
        context=_context(shell, request, options.get("context") or "none"),
        permission=replace(request.permission, hosts=hosts),
    )
    engine = MODELS.use(ModelSpec.of(model, **settings.loading(**options)), TerminalProgress()).engine
    with TerminalProgress() as progress, interruptible() as stop:
        for last in run(request, engine, stop, wait_seconds=settings.waiting(**options)):
            if isinstance(last, Waits):
                progress(last.progress)
    assert isinstance(last, Finished)  # `run` promises it
    if stop.is_set():
        raise Interrupted(last.result)
    if last.result.is_partial:
        raise BrokenOffError(last.result)
    return last.result


def _require_model(shell: Any, named: str | None) -> None:
    """Raise if the notebook that this runs in has no model, since its last `%fim use` failed."""
    from fim_magic.kernel import magics_of

    magics = magics_of(shell)
    if magics is not None:
        magics.session.choice.require(named)


def _hosts_of_session(shell: Any) -> frozenset[str]:
    """Return the other hosts that the notebook that this runs in has allowed."""
    from fim_magic.kernel import magics_of

    magics = magics_of(shell)
    return frozenset() if magics is None else magics.permission().hosts


def _context(shell: Any, request: Request, mode: str) -> Context:
    """Return what the notebook that this runs in says."""
    from fim_magic.errors import OptionError
    from fim_magic.kernel import context_for

    if shell is None and mode != "none":
        raise OptionError(f"context={mode!r} needs a notebook, and this runs in none. Omit it.")
    return context_for(shell, request.document, mode)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext fim_magic`: register `%%fim`, `%%complete` and `%fim`."""
    from fim_magic.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext fim_magic`: take the magics away and give the model's memory back."""
    from fim_magic.extension import unload

    unload(shell)
