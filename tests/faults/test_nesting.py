"""JSON that somebody else wrote nests no deeper than it may, and that is seen before Python's parser calls itself.

Near its limit other things fail that run there: the garbage collector calls finalizers, ours and those of others.
"""

from __future__ import annotations

import gc
import gzip
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.context.cells import of_notebook
from fim_magic.engines.server import answers
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.refusals import refusal
from fim_magic.engines.torch.footprint import weights_in
from fim_magic.errors import FimError
from fim_magic.evaluate.answers import folder as runs
from fim_magic.evaluate.answers import human_eval_infilling
from fim_magic.evaluate.answers.journal import Journal
from fim_magic.evaluate.own import sources
from fim_magic.foreign_json import DEEPEST_NOTEBOOK, TooDeepError, parsed, require_shallow
from fim_magic.notebook_file import is_notebook, read_notebook
from fim_magic.regular_files import read_json, read_notebook_json
from fim_magic.tokenization import read_tokenizer

# Each text, and its value where it may nest four levels deep; or why it has none.
TEXTS: dict[str, tuple[str | bytes, Any]] = {
    "lists as deep as they may be": ("[[[[1]]]]", [[[[1]]]]),
    "deeper lists": ("[[[[[1]]]]]", "too deep"),
    "objects as deep as they may be": ('{"a":{"a":{"a":{"a":1}}}}', {"a": {"a": {"a": {"a": 1}}}}),
    "deeper objects": ('{"a":{"a":{"a":{"a":{}}}}}', "too deep"),
    "both in turn": ('[{"a":[{"a":[]}]}]', "too deep"),
    "many, one beside the other": ("[" + "[[[]]]," * 9 + "{}]", [[[[]]]] * 9 + [{}]),
    "no brackets": ("3", 3),
    "nothing": ("", "no JSON"),
    "never closed": ("[" * 200_000, "too deep"),
    "objects that are never closed": ('{"a":' * 200_000, "too deep"),
    "closed before it is opened": ("]" * 9 + "[" * 9, "no JSON"),
    "brackets in a string": ('["[[[[[{{{{{"]', ["[[[[[{{{{{"]),
    "brackets in a key": ('{"[[[[[{{{{{": 1}', {"[[[[[{{{{{": 1}),
    "brackets as escapes": (f'["{chr(92)}u005b[[[[["]', ["[[[[[["]),
    "brackets behind an escaped quote": (r'["\"[[[[["]', ['"[[[[[']),
    "behind a backslash and the end": (r'["\\",[[[[[]]]]]]', "too deep"),
    "behind a backslash and an escaped quote": (r'["\\\"[[[[["]', ['\\"[[[[[']),
    "closed in a string alone": ('["]]]]",[[["]]]]",[[]]]]]', "too deep"),
    "a string that is never closed": ('["' + "[" * 200_000, "no JSON"),
    "one that ends with a backslash": ('["[[[[[\\', "no JSON"),
    "an even number of backslashes": ('["' + "\\" * 200_000 + '",[[[[[]]]]]]', "too deep"),
    "an odd number of backslashes": ('["' + "\\" * 200_001 + '",[[[[[]]]]]]', "no JSON"),
    "bytes": (b'{"a": [1]}', {"a": [1]}),
    "bytes with a mark": ('\ufeff["é"]'.encode(), ["é"]),
    "bytes that are brackets in UTF-16 alone": ('["字字字字字"]'.encode("utf-16"), ["字字字字字"]),
    "deep bytes of UTF-16": ("[[[[[1]]]]]".encode("utf-16"), "too deep"),
    "bytes that are none": (b'["\xff"]', "no JSON"),
}


@pytest.mark.parametrize(("text", "found"), TEXTS.values(), ids=TEXTS)
def test_what_nests_too_deep_is_refused(text: str | bytes, found: Any) -> None:
    try:
        value = parsed(text, 4)
    except TooDeepError:
        value = "too deep"
    except ValueError:
        value = "no JSON"
    assert value == found


def depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth, parts), default=0)


LEAVES = st.none() | st.integers() | st.text('ab[]{}"\\\n字')


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"\\'), inner)), st.booleans())
def test_levels_are_counted_as_the_parser_does(value: Any, escapes: bool) -> None:
    text, levels = json.dumps(value, ensure_ascii=escapes), depth(value)
    assert parsed(text, levels) == value
    if levels:
        with pytest.raises(TooDeepError):
            require_shallow(text, levels - 1)


# --- finalizers ----------------------------------------------------------------------------------

ROOM = 250  # calls that a finalizer may need


def go_down(levels: int) -> bool:
    return levels == 0 or go_down(levels - 1)


class Watcher:
    """Garbage that notes, when it is collected, whether there is room for calls, and leaves the next one behind."""

    def __init__(self, noted: list[bool]) -> None:
        self.noted, self.itself = noted, self

    def __del__(self) -> None:
        with suppress(IndexError):  # an empty list has been told to end
            self.noted[0]
            try:
                self.noted.append(go_down(ROOM))
            except RecursionError:
                self.noted.append(False)
            Watcher(self.noted)


@contextmanager
def watched() -> Iterator[list[bool]]:
    """Collect garbage at every chance there is, and note at each whether there was room."""
    noted = [True]
    before = gc.get_threshold()
    gc.collect()
    Watcher(noted)
    gc.set_threshold(1, 1000, 1000)
    try:
        yield noted
    finally:
        gc.set_threshold(*before)
        seen = list(noted)
        noted.clear()
        gc.collect()
        noted += seen


DEEP = "[" * 100_000
HERE = ServerAddress.of("vllm://localhost:8000")


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(content: bytes) -> Any:
    return refusal(HERE, httpx2.Response(400, request=httpx2.Request("GET", "http://localhost:8000")), content)


def weights_with(folder: Path, header: bytes) -> Any:
    written(folder, "model.safetensors", struct.pack("<Q", len(header)) + header)
    return weights_in(folder, {})


READERS: dict[str, Callable[[Path], Any]] = {
    "a configuration": lambda folder: read_json(written(folder, "config.json", DEEP)),
    "a saved notebook": lambda folder: read_notebook_json(written(folder, "n.ipynb", '{"cells": ' + DEEP)),
    "a session's notebook": lambda folder: of_notebook(written(folder, "n.ipynb", '{"cells": ' + DEEP)),
    "a notebook to be filled": lambda _: read_notebook('{"cells": ' + DEEP, "it"),
    "what may be a notebook": lambda _: is_notebook('{"nbformat": 4, "cells": ' + DEEP),
    "one's own notebook": lambda folder: sources.read(written(folder, "n.ipynb", DEEP), "n.ipynb"),
    "a server's answer": lambda _: answers.read_json(DEEP.encode(), HERE),
    "an event of a server's": lambda _: answers.read_json(DEEP, HERE),
    "a server's refusal": lambda _: refused(b'{"error": ' + DEEP.encode()),
    "a tokenizer with a prefix": lambda folder: read_tokenizer(
        written(folder, "tokenizer.json", '{"continuing_subword_prefix": "##", "model": ' + DEEP)
    ),
    "weights": lambda folder: weights_with(folder, b'{"a": ' + DEEP.encode()),
    "a benchmark": lambda folder: human_eval_infilling.read(
        written(folder, "tasks.jsonl.gz", gzip.compress(DEEP.encode()))
    ),
    "the answers of a run": lambda folder: Journal(written(folder, "answers.jsonl", DEEP + "\n")),
    "the settings of a run": lambda folder: runs.settings(written(folder, runs.SETTINGS, DEEP).parent),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_no_finalizer_is_called_near_the_limit(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with watched() as noted, suppress(FimError, ValueError):
        read(tmp_path)
    assert all(noted)


def test_nor_in_a_notebook_that_is_as_deep_as_it_may_be() -> None:
    deepest = "[" * DEEPEST_NOTEBOOK + "]" * DEEPEST_NOTEBOOK
    with watched() as noted:
        parsed(deepest, DEEPEST_NOTEBOOK)
    assert len(noted) > 1, "nothing was collected"
    assert all(noted)


def test_a_caller_that_is_deep_itself_meets_no_error_of_pythons() -> None:
    def from_far_down(levels: int) -> Any:
        return from_far_down(levels - 1) if levels else parsed("[" * 400 + "]" * 400, DEEPEST_NOTEBOOK)

    with suppress(TooDeepError):  # from Python 3.12 on there is room for it
        from_far_down(700)
