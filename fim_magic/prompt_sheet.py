"""The prompt of a request, to be looked at later: `%fim prompt` shows the last one, when its model may be gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fim_magic.errors import OptionError

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.formats import Prompt
    from fim_magic.request import Request
    from fim_magic.review.prompt import PromptSheet


def prompt_sheet(request: Request, engine: Engine) -> Callable[[], PromptSheet]:
    """Build the prompt of a request now, and lay it out when it is asked for. It outlives the model's unloading.

    Raises:
        FimError: The model cannot be asked this.
    """
    from fim_magic.generation import prompt_for
    from fim_magic.review.prompt import lay_out

    prompt = prompt_for(request, engine)
    other = _in_other_order(prompt, request, engine)
    title = f"{engine.info.model} ({engine.info.revision}), {engine.family.name}"
    return partial(lay_out, prompt, other, engine.tokenizer, title)


def _in_other_order(prompt: Prompt, request: Request, engine: Engine) -> Prompt | None:
    from fim_magic.generation import prompt_for

    other = {"psm": "spm", "spm": "psm"}.get(prompt.order)
    if other is None:
        return None
    try:
        return prompt_for(replace(request, order=other), engine)
    except OptionError:  # the model was not trained in it
        return None
