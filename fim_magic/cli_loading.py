"""Loading a model for a command of the shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fim_magic.visible import notify, plain_text

if TYPE_CHECKING:
    from fim_magic.loading.loaded import Loaded
    from fim_magic.loading.manager import ModelManager
    from fim_magic.loading.spec import ModelSpec


def load(model: str, options: argparse.Namespace) -> Loaded:
    """Load a model as the options say, with progress and what the user should know of it on standard error.

    Where it is loaded, `models_of` says.
    """
    from fim_magic.progress import TerminalProgress

    spec = spec_of(model, options)
    with TerminalProgress() as progress:
        loaded = models_of(options).use(spec, progress)
    for notice in loaded.notices:
        notify(plain_text(notice))
    return loaded


def spec_of(model: str, options: argparse.Namespace) -> ModelSpec:
    """Return which model is asked for by its name, and how the options say that it is loaded.

    Raises:
        OptionError: An option makes no sense.
    """
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.settings import LOADING, Settings

    how = Settings().loading(**{name: getattr(options, name) for name in LOADING})
    return ModelSpec.of(model, **how, allow_code=options.allow_code)


def models_of(options: argparse.Namespace) -> ModelManager:
    """Return where models are loaded: in `options.models`, if it is there; else this is the process's manager."""
    from fim_magic.loading.manager import MODELS

    return getattr(options, "models", None) or MODELS
