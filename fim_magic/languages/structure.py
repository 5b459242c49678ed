"""What stands at a position of a parsed text: blocks, statements, brackets, strings and comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fim_magic.languages.parsing import Tree

if TYPE_CHECKING:
    from tree_sitter import Node

_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # words
_MAY_STAY_OPEN = frozenset("dd dt li option p tbody td tfoot th thead tr".split())
_NAMED = ("name", "declarator", "lhs", "pattern")  # the fields that lead to a name
_MAY_DEFINE = frozenset({"assignment", "binary_operator", "lexical_declaration"})
_FUNCTIONS = frozenset({"arrow_function", "class", "function_definition", "function_expression", "call_expression"})
_INTERPOLATION = ("interpolation", "substitution", "expansion")


@dataclass(frozen=True)
class Mark:
    """A token that opens or closes a block or a bracket; `closer` is the token that closes it, or it itself."""

    start: int
    end: int
    closer: str
    opens: bool


@dataclass(frozen=True, eq=False)
class Boundary:
    """A position between two tokens; comments are none.

    Attributes:
        before: The token that ends there or before it, or None at the beginning.
        after: The one that begins there or behind it, or None at the end.
        between: The innermost node that holds both, or None.
        root: Of all of the text.
    """

    before: Node | None
    after: Node | None
    between: Node | None
    root: Node

    def sides(self) -> tuple[Node | None, Node | None]:
        """The two children of `between` that stand at the position: two statements, if it is a block."""
        return self._side(self.before), self._side(self.after)

    def _side(self, token: Node | None) -> Node | None:
        child = None if token is None or self.between is None else self.between.child_with_descendant(token)
        return child or (None if token is None else self.root)


def _path_to(root: Node, node: Node) -> list[Node]:
    """The nodes from the root down to one of them. A node's `parent` is looked for from the root each time."""
    path = [root]
    while path[-1] != node and (child := path[-1].child_with_descendant(node)) is not None:
        path.append(child)
    return path


def _path_at(root: Node, byte: int) -> list[Node]:
    """The nodes that hold a byte, from the root down.

    Not by `descendant_for_byte_range` and `child_with_descendant`: of a node without a character, which the parser has
    put in, the second calls itself for each level, at each level.
    """
    path = [root]
    while (child := next((child for child in path[-1].children if _holds(child, byte)), None)) is not None:
        path.append(child)
    return path


def _holds(node: Node, byte: int) -> bool:
    return node.start_byte <= byte < node.end_byte or node.start_byte == byte == node.end_byte


def text_at(tree: Tree, position: int) -> str:
    """Return "comment" or "string" for a position that is inside one, else "". What a string interpolates is code."""
    byte = tree.byte(position)
    for node in reversed(_path_at(tree.root, max(byte - 1, 0))):
        kind = node.type
        ends_here = node.end_byte == byte
        if "comment" in kind and (not ends_here or not tree.text_of(node).rstrip().endswith(("*/", "-->"))):
            return "comment"
        if any(word in kind for word in _INTERPOLATION) and not ends_here:
            return ""
        if is_text(tree, node) and not ends_here:
            return "string"
    return ""


def is_text(tree: Tree, node: Node) -> bool:
    """Whether a node is a string or the like, or a part of one."""
    kind = node.type
    return node.is_named and ("string" in kind or kind in tree.grammar.texts) and "list" not in kind


def defined_name(tree: Tree, node: Node) -> str:
    """Return the name of the function, class or the like that a node defines, or "" where it defines none."""
    if node.type not in tree.grammar.definitions:
        return ""
    if node.type in _MAY_DEFINE and not any(inner.type in _FUNCTIONS for inner in _nearest(node)):
        return ""
    name: Node | None = node
    while name is not None and not name.type.endswith("identifier") and name.type != "word":
        inner = next((found for field in _NAMED if (found := name.child_by_field_name(field)) is not None), None)
        leaves = (leaf for leaf in _nearest(name) if leaf.type.endswith("identifier"))
        name = inner if inner is not None else next(leaves, None)
    return "" if name is None else tree.text_of(name)


def children_between(tree: Tree, start: int, end: int) -> list[Node]:
    """Return the nodes that begin and end in a range and stand in nothing else that does, comments too."""
    first, last = tree.byte(start), tree.byte(end)
    found = []
    waiting = [tree.root]
    while waiting:
        node = waiting.pop()
        if node.end_byte <= first or node.start_byte >= last:
            continue
        if node.start_byte >= first and node.end_byte <= last and node != tree.root:
            found.append(node)
        else:
            waiting.extend(reversed(node.children))
    return found


def _nearest(node: Node) -> Iterator[Node]:
    """The nodes within a node, down to the third generation."""
    for child in node.named_children:
        yield child
        for inner in child.named_children:
            yield inner
            yield from inner.named_children


def statements(tree: Tree, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return where the statements, declarations or elements between two positions begin and end.

    Those inside of others count, too.
    """
    last = len(tree.text) if end is None else end
    found = []
    for node, parent in _with_parents(tree.root, tree.byte(start), tree.byte(last)):
        if parent is None or parent.type not in tree.grammar.blocks or node.type in tree.grammar.heads:
            continue
        if not node.is_named or node.is_extra:
            continue
        following = node.next_sibling  # a semicolon that the grammar has beside the statement
        last_node = following if following is not None and following.type == ";" else node
        first, behind = tree.start(node), tree.end(last_node)
        if start <= first < behind <= last:
            found.append((first, behind))
    return sorted(set(found))


def boundary_at(tree: Tree, position: int) -> Boundary:
    """Return what stands on both sides of a position."""
    byte = tree.byte(position)
    before, after = _token_before(tree.root, byte), _token_after(tree.root, byte)
    between = None
    if before is not None and after is not None:
        path = _path_to(tree.root, before)
        between = next((node for node in reversed(path) if node.end_byte >= after.end_byte), None)
    return Boundary(before, after, between, tree.root)


def marks(tree: Tree, start: int = 0, end: int | None = None, inside: Node | None = None) -> list[Mark]:
    """Return the tokens between two positions that open and close blocks and brackets, in order.

    Those in strings and comments are none. Only those `inside` a node are looked for, by default of the whole tree.
    """
    first, last = tree.byte(start), tree.byte(len(tree.text) if end is None else end)
    pairs = tree.grammar.pairs
    found: list[Mark] = []
    for node, parent in _with_parents(inside or tree.root, first, last):
        if node.is_missing or not first <= node.start_byte < last:
            continue
        if tree.grammar.tags:
            found += _tag_marks(tree, node)
            continue
        kind = node.type
        opens = kind in pairs
        if node.child_count or not (opens or kind in pairs.values()):
            continue
        if parent is not None and ((kind, parent.type) in tree.grammar.not_pairs or is_text(tree, parent)):
            continue
        found.append(Mark(tree.start(node), tree.end(node), pairs.get(kind, kind), opens))
    return sorted(found, key=lambda mark: mark.start)


def _tag_marks(tree: Tree, node: Node) -> Iterator[Mark]:
    name = name_of_tag(tree, node)
    if name and name not in _MAY_STAY_OPEN:
        yield Mark(tree.start(node), tree.end(node), f"</{name}>", node.type == "start_tag")


def stays_open(tree: Tree, node: Node) -> bool:
    """Whether a node is an element whose end tag is missing, though it has to have one."""
    first, last = (node.children[0], node.children[-1]) if node.child_count else (node, node)
    name = name_of_tag(tree, first) if first.type == "start_tag" else ""
    return bool(name) and name not in _MAY_STAY_OPEN and last.type != "end_tag"


def name_of_tag(tree: Tree, node: Node) -> str:
    """The name of a tag in lower case; "" for other nodes, and for elements that have no end tag."""
    if node.type not in ("start_tag", "end_tag", "erroneous_end_tag") or node.child_count < 2:
        return ""
    name = tree.text_of(node.children[1]).lower()
    return "" if name in _VOID else name


def within(tree: Tree, first: int, last: int) -> Iterator[Node]:
    """Every node that has something of a range of bytes."""
    return (node for node, _ in _with_parents(tree.root, first, last))


def _with_parents(top: Node, first: int, last: int) -> Iterator[tuple[Node, Node | None]]:
    """The nodes of [`within`][], each with what it stands in."""
    waiting: list[tuple[Node, Node | None]] = [(top, None)]
    while waiting:
        node, parent = waiting.pop()
        yield node, parent
        waiting.extend((child, node) for child in node.children if child.end_byte > first and child.start_byte < last)


def _token_before(root: Node, byte: int) -> Node | None:
    """The last token that ends at a byte or before it, or holds it; without comments."""
    node = root
    while node.child_count and not is_atom(node):
        children = [child for child in node.children if child.start_byte < byte and _has_code(child)]
        if not children:
            return None
        node = children[-1]
    return node if node.end_byte > node.start_byte else None


def _token_after(root: Node, byte: int) -> Node | None:
    node = root
    while node.child_count and not is_atom(node):
        inner = next((child for child in node.children if child.end_byte > byte and _has_code(child)), None)
        if inner is None:
            return None
        node = inner
    return node if node.start_byte >= byte else None


def is_atom(node: Node) -> bool:
    """Whether a node counts as one token: a string's parts are none of their own."""
    return node.is_named and node.type in ("string", "string_literal", "interpreted_string_literal", "regex")


def _has_code(node: Node) -> bool:
    return node.end_byte > node.start_byte and "comment" not in node.type
