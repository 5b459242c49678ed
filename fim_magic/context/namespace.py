"""What a kernel knows of names, in a line each: `# sales: DataFrame, 3 rows, columns: shop object, units int64`.

Looking must not run the user's code, which may be slow, print, raise or change something: `safe_reading` says how.
What cannot be read so is known by the name of its class.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fim_magic.context.data import LibraryClasses, column_names, data_text, library_classes
from fim_magic.context.definitions import class_line, function_line, module_line
from fim_magic.context.redaction import secret_name
from fim_magic.context.safe_reading import derives, entries_of, entries_of_module, module_of, top_package


@dataclass(frozen=True)
class NameDescription:
    """What is known of a name.

    Attributes:
        name: The name.
        line: One line of Python: a comment, or an import.
        by_source: Whether the source that defines or imports it shows as much.
        columns: Of a DataFrame whose columns all have a text for a name, these names, in the order of the alphabet.
    """

    name: str
    line: str
    by_source: bool = False
    columns: tuple[str, ...] | None = None


def describe(
    names: Iterable[str], namespace: Mapping[str, object], *, values: bool = False
) -> tuple[NameDescription, ...]:
    """Describe names in a line each, without running any of the user's code.

    Names that look like secrets, names that the namespace lacks, and what is of this package are left out.

    Args:
        names: Which, the most useful first.
        namespace: Where they are, a `dict`: of another mapping nothing can be read without running its code.
        values: Say also the values of numbers and short strings.
    """
    known, libraries = entries_of(namespace), library_classes()
    wanted = dict.fromkeys(name for name in names if type(name) is str and name in known and not secret_name(name))
    found = (_description(name, known[name], libraries, values=values) for name in wanted)
    return tuple(description for description in found if description is not None)


def _description(name: str, value: object, libraries: LibraryClasses, *, values: bool) -> NameDescription | None:
    kind = type(value)
    if _is_ours(value):
        return None  # a model that is shown our results writes about them
    if kind is types.ModuleType:
        line = module_line(name, value)
        return None if line is None else NameDescription(name, line, by_source=True)
    if kind is types.FunctionType or kind is types.BuiltinFunctionType:
        return NameDescription(name, function_line(name, value), by_source=True)
    if derives(kind, type):
        return NameDescription(name, class_line(name, value), by_source=True)
    text = data_text(value, libraries, values=values)
    return NameDescription(name, f"# {name}: {text}", columns=column_names(value, libraries))


def _is_ours(value: object) -> bool:
    """Whether something is of this package: an answer that was kept, or what was imported from it."""
    kind = type(value)
    module: object
    if kind is types.ModuleType:
        module = entries_of_module(value).get("__name__")
    elif type(value) is types.FunctionType:
        module = value.__module__
    else:
        module = module_of(value if derives(kind, type) else kind)
    return top_package(module) == top_package(__name__)
