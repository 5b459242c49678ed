"""Loading a model for a command of the shell."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fim_magic.visible import say

if TYPE_CHECKING:
    from fim_magic.loading.loaded import Loaded


def load(model: str, options: argparse.Namespace) -> Loaded:
    """Load a model as the options say, with progress and what the user should know of it on standard error.

    `options.models` is where it is loaded, if it is there; else this is the process's manager.
    """
    from fim_magic.loading.manager import MODELS
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.progress import TerminalProgress
    from fim_magic.settings import LOADING, Settings

    how = Settings().loading(**{name: getattr(options, name) for name in LOADING})
    spec = ModelSpec.of(model, **how, allow_code=options.allow_code)
    with TerminalProgress() as progress:
        loaded = (getattr(options, "models", None) or MODELS).use(spec, progress)
    for notice in loaded.notices:
        say(notice, sys.stderr)
    return loaded
