"""What a model is shown beside the hole: how much of the text around it, and what else is known."""

from fim_magic.context.beside import EMPTY_CONTEXT, Context, ContextCell, File
from fim_magic.context.fitting import Fitted, fit
from fim_magic.context.gathering import MODES, gather, names_in
from fim_magic.context.namespace import NameDescription, describe
from fim_magic.context.redaction import redacted, secret_name

__all__ = [
    "EMPTY_CONTEXT",
    "MODES",
    "Context",
    "ContextCell",
    "File",
    "Fitted",
    "NameDescription",
    "describe",
    "fit",
    "gather",
    "names_in",
    "redacted",
    "secret_name",
]
