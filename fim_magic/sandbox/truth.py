"""Whether the value of a check's expression says that the check has passed.

The child loads this file by its path, as it does `kernel.py`. It uses its own copy of the builtins.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

# What is true whatever happened: somebody forgot to call or to await it.
_NEVER_CALLED = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.CoroutineType,
    types.GeneratorType,
    types.AsyncGeneratorType,
    types.ModuleType,
    type,
)
_modules = sys.modules


def says_nothing(value: Any) -> bool:
    """Whether a value is true whatever a check has found."""
    return issubclass(type(value), _NEVER_CALLED)


def holds(value: Any) -> bool:
    """Whether a value is true; what unittest and doctest give holds where tests ran, and none of them failed."""
    program, result = _kind("unittest.main", "TestProgram"), _kind("unittest.result", "TestResult")
    if program is not None and issubclass(type(value), program):
        value = value.result
    if result is not None and issubclass(type(value), result):
        return bool(value.testsRun and value.wasSuccessful())
    counted = _kind("doctest", "TestResults")
    if counted is not None and issubclass(type(value), counted):
        failed, attempted = tuple.__iter__(value)
        return bool(attempted and not failed)
    return bool(value) and not says_nothing(value)


def _kind(module: str, name: str) -> Any:
    found = _modules.get(module)
    kind = None if found is None else vars(found).get(name)
    return kind if issubclass(type(kind), type) else None
