"""Files of pictures: what can be asked for, and writing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_DOTS = 150  # an inch


def require(path: Path) -> None:
    """Raise an OptionError that would only be found out after minutes or hours of measuring."""
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"--plot is a file that ends in {', '.join(FORMATS)}; {path.name!r} does not.")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"There is no folder {str(path.parent)!r} to write {path.name} to. Make it first.")
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionError("--plot draws with matplotlib, which is not installed. Type: pip install 'fim-magic[bench]'")


def save(figure: Figure, path: Path) -> None:
    """Write a picture; an OptionError where that cannot be done."""
    try:
        figure.savefig(path, dpi=_DOTS)
    except OSError as error:
        raise OptionError(
            f"{str(path)!r} could not be written: {error.strerror}. Name another file after --plot."
        ) from error
