"""What imports what in fim_magic, as a graph in Mermaid: `python tests/import_graph.py` prints it.

CONTRIBUTING.md shows it, and test_contributing.py compares the two. A package is one node with all that is in it. An
import counts wherever it stands: at a module's top, in a function, or for type checking alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "fim_magic"

Graph = dict[str, set[str]]
"""The nodes, each with those that it imports. A node is a package or a module directly below fim_magic."""


def read(package: Path = PACKAGE) -> Graph:
    """Read which nodes import which. The root itself, `__init__`, is one."""
    nodes = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    graph: Graph = {node: set() for node in nodes}
    for path in sorted(package.rglob("*.py")):
        node = path.relative_to(package).parts[0].removesuffix(".py")
        graph[node] |= set(_imported(ast.parse(path.read_text("utf-8")), package.name, nodes)) - {node}
    return graph


def _imported(tree: ast.AST, root: str, nodes: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == root:
                below = rest.partition(".")[0]
                yield below if below in nodes else "__init__"  # `from fim_magic import infill` is of the root


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that reach each other, by name; there are none where every arrow goes down."""
    reached = {node: _reached(graph, node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def _reached(graph: Graph, node: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[node])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += graph[other]
    return found


def without_shortcuts(graph: Graph) -> Graph:
    """Return a graph without the arrows whose end is also reached by way of another node; those in circles stay."""
    reached = {node: _reached(graph, node) for node in graph}

    def is_shortcut(node: str, other: str) -> bool:
        ways = [way for way in graph[node] if node not in reached[way] and way not in reached[other]]
        return node not in reached[other] and any(other in reached[way] for way in ways)

    return {node: {other for other in graph[node] if not is_shortcut(node, other)} for node in graph}


def mermaid(package: Path = PACKAGE) -> str:
    """Draw the graph, without its shortcuts."""
    graph = without_shortcuts(read(package))

    def name(node: str) -> str:
        return "root" if node == "__init__" else node

    def label(node: str) -> str:
        return package.name if node == "__init__" else f"{node}/" if (package / node).is_dir() else node

    lines = [f'    {name(node)}["{label(node)}"]' for node in sorted(graph)]
    lines += [f"    {name(node)} --> {name(other)}" for node in sorted(graph) for other in sorted(graph[node])]
    return "\n".join(["flowchart TD", *lines])


if __name__ == "__main__":
    print(mermaid())
    for circle in circles(read()):
        print("A circle:", ", ".join(circle), file=sys.stderr)
