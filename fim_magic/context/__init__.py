"""What a model is shown beside the hole: how much of the text around it, and what else is known."""

from fim_magic.context.beside import NOTHING_ELSE, Cell, Context, File
from fim_magic.context.fitting import Fitted, fit
from fim_magic.context.gathering import MODES, gather, names_in
from fim_magic.context.namespace import Described, describe
from fim_magic.context.redaction import redacted, secret_name

__all__ = [
    "MODES",
    "NOTHING_ELSE",
    "Cell",
    "Context",
    "Described",
    "File",
    "Fitted",
    "describe",
    "fit",
    "gather",
    "names_in",
    "redacted",
    "secret_name",
]
