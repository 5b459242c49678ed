"""What single statements and expressions do to a cell's names, told from their syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from fim_magic.control_flow import TRIES

CATCH_UNDEFINED = frozenset({"NameError", "UnboundLocalError", "Exception", "BaseException"})
"""The errors whose handlers catch that a name is undefined."""

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
"""What has its own variables, and binds none around it but by `:=`."""

_MEANT_FOR_UNDEFINED = frozenset({"NameError", "UnboundLocalError"})
_ENDS = frozenset({"exit", "quit", "_exit", "abort"})
_TAKES_ALL = frozenset({"all", "any", "dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple"})
_SEES_NAMES = frozenset({"dir", "eval", "exec", "globals", "locals", "vars"})
# Line magics and methods of IPython's shell that leave the user's names alone; of others nothing is known.
_HARMLESS = """
    alias_magic autoreload bookmark cat cd clear colors conda config cp debug dirs dhist doctest_mode env getoutput gui
    history ipconfig ll load_ext ls lsmagic magic_list man matplotlib memit mkdir mv notebook page pastebin pdb pdef
    pdoc pfile pinfo pinfo2 pip popd precision prun psearch psource pushd pwd pycat quickref rehashx reload_ext rm rmdir
    save sc set_env sx system tb time timeit unalias uv who who_ls whos writefile xmode
"""
_LEAVES_NAMES = frozenset(_HARMLESS.split())


def stored(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that some statements bind where they stand, not within functions or classes.

    A name that is only changed (`total += 1`) or declared (`total: int`) is not bound by that.
    """
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from map(alias_name, node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
            continue
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, COMPREHENSIONS):
            yield from (part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
            continue
        for field in ("name", "rest"):  # of handlers and of patterns
            if isinstance(name := getattr(node, field, None), str):
                yield name
        yield from stored(_parts(node))


def may_define_names(node: ast.AST) -> bool:
    """Whether something may define names that the text does not show: a star import, `exec`, a magic."""
    if isinstance(node, ast.ImportFrom):
        return node.names[0].name == "*"
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in _SEES_NAMES
    if not (isinstance(called, ast.Attribute) and _is_shell(called.value)):
        return False
    magic = node.args[0] if called.attr == "run_line_magic" and node.args else None
    name = magic.value if isinstance(magic, ast.Constant) else called.attr
    return name not in _LEAVES_NAMES


def unguarded_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a cell uses where it does not catch a NameError."""
    if isinstance(node, ast.Name):
        yield node.id
    caught: Sequence[ast.AST] = ()
    if catches(node, _MEANT_FOR_UNDEFINED):
        caught = node.body  # type: ignore[attr-defined] # of a try or with statement
    for part in ast.iter_child_nodes(node):
        if part not in caught:
            yield from unguarded_names(part)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What a node consists of, without the names that it changes or declares."""
    declares = isinstance(node, ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value is None)
    for part in ast.iter_child_nodes(node):
        if not (declares and part is node.target and isinstance(part, ast.Name)):  # type: ignore[attr-defined] # both have one
            yield part


def alias_name(alias: ast.alias) -> str:
    """Return the name that a part of an import binds: `a` of `import a.b`."""
    return alias.asname or alias.name.partition(".")[0]


def root_of(node: ast.expr) -> ast.expr:
    """Return what attributes and items are taken of in the end: `df` of `df.loc[0]`."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def type_parameters(node: ast.AST) -> list[str]:
    """Return the names of the type parameters of a function or a class; Python knows them from 3.12 on."""
    return [parameter.name for parameter in getattr(node, "type_params", ())]


def _is_shell(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython"


def always(test: ast.expr) -> bool:
    """Whether a condition holds whatever happens; in a notebook `__name__ == "__main__"` does."""
    if isinstance(test, ast.Compare):
        return ast.unparse(test) == "__name__ == '__main__'"
    return isinstance(test, ast.Constant) and bool(test.value)


def ends(statement: ast.stmt) -> bool:
    """Whether nothing behind a statement, in its block, can run."""
    if isinstance(statement, (ast.Raise, ast.Break, ast.Continue)):
        return True
    call = statement.value if isinstance(statement, ast.Expr) else None
    called = call.func if isinstance(call, ast.Call) else None
    return getattr(called, "attr", getattr(called, "id", "")) in _ENDS


def takes_all(called: ast.expr) -> bool:
    """Whether a function asks a generator for its values at once."""
    return (isinstance(called, ast.Name) and called.id in _TAKES_ALL) or getattr(called, "attr", "") == "join"


def catches(node: ast.AST, errors: frozenset[str]) -> bool:
    """Whether a statement catches one of these errors in its body, or an error whose class cannot be told."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        classes: list[ast.expr | None] = [item.context_expr for item in node.items]
    elif isinstance(node, TRIES):
        classes = [handler.type for handler in node.handlers]
    else:
        return False
    parts = [part for expression in classes if expression is not None for part in ast.walk(expression)]
    return None in classes or any(isinstance(part, ast.Name) and part.id in errors for part in parts)
