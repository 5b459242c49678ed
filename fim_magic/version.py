"""The version of the package. pyproject.toml alone states it; it is read from what was installed with it."""

from __future__ import annotations

from pathlib import Path

UNKNOWN = "0+unknown"
"""The version of a copy of the package that is neither installed nor in a checkout."""

_DISTRIBUTION = "fim-magic"
_CHECKOUT = Path(__file__).parent.parent


def find_version(distribution: str = _DISTRIBUTION, folder: Path = _CHECKOUT) -> str:
    """Return the installed version; in a checkout that is not installed, that of its pyproject.toml, else `UNKNOWN`.

    Args:
        distribution: What is installed under this name.
        folder: The checkout, if it is one.
    """
    # Not above: `%load_ext` imports this, and the modules that read metadata take their time.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return _stated_in(folder / "pyproject.toml")


def _stated_in(path: Path) -> str:
    import re

    try:
        text = path.read_text("utf-8")
    except OSError:
        return UNKNOWN
    # tomllib comes with Python 3.11.
    project = text.partition("[project]\n")[2].partition("\n[")[0]
    stated = dict(re.findall(r'^(name|version) = "(.+)"$', project, re.MULTILINE))
    return stated.get("version", UNKNOWN) if stated.get("name") == _DISTRIBUTION else UNKNOWN


def __getattr__(name: str) -> str:
    """Read the version when somebody wants to know it."""
    if name == "__version__":
        return find_version()
    raise AttributeError(name)
