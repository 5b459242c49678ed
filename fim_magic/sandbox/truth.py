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


def holds(value: Any) -> tuple[bool, str]:
    """Return whether a value says that a check has passed, and if not, what is to be known of the value.

    What unittest and doctest give says so where tests ran, and none of them failed.
    """
    if issubclass(type(value), _NEVER_CALLED):
        return False, "which is always true"
    program, result = _kind("unittest.main", "TestProgram"), _kind("unittest.result", "TestResult")
    if program is not None and issubclass(type(value), program):
        value = value.result
    if result is not None and issubclass(type(value), result):
        return _counted(value.testsRun, bool(value.wasSuccessful()))
    counted = _kind("doctest", "TestResults")
    if counted is not None and issubclass(type(value), counted):
        failed, attempted = tuple.__iter__(value)
        return _counted(attempted, not failed)
    return bool(value), ""


def _counted(tests: int, none_failed: bool) -> tuple[bool, str]:
    return (none_failed, "") if tests else (False, "which has run no test")


def _kind(module: str, name: str) -> Any:
    found = _modules.get(module)
    kind = None if found is None else vars(found).get(name)
    return kind if issubclass(type(kind), type) else None
