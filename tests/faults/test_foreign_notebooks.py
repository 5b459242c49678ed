"""Notebooks that somebody else has written, or broken: what their records and their metadata may bring about."""

from __future__ import annotations

import io
import json
import os
import signal
import sys

import huggingface_hub.constants
import pytest
from scripted import RecordingModels, ScriptedEngine

from fim_magic import cli
from fim_magic.candidate import Candidate, Check, Cut, Ending, Result
from fim_magic.catalog import DEFAULT, ENTRIES
from fim_magic.classroom import of_notebook
from fim_magic.cli_files import read_source
from fim_magic.document import parse
from fim_magic.errors import FimError, OptionError
from fim_magic.holes import split
from fim_magic.loading import consent, resolve
from fim_magic.loading.consent import described, needs_consent
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.markers import MARKERS
from fim_magic.notebook_file import read_notebook
from fim_magic.provenance import full_record, record
from fim_magic.replay import MOST_TOKENS, Recorded, compare, recorded, request_of
from fim_magic.request import Request
from fim_magic.saved_record import read_record

BODY = "def mean(xs):\n    <cursor>\n    return total / len(xs)"
ANSWER = "total = sum(xs)"
NESTED = "[" * 300 + "]" * 300  # as a library may show a tree
KNOWN = ENTRIES[1].repo
DEEP = "[" * 100_000  # more than any reader of JSON in Python takes


def result(*middles, text=BODY, **more):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN) for middle in middles)
    told = {"max_new_tokens": 128, **more}
    return Result(parse(text), candidates, "scripted", "test", "fim", "psm", 9, 0, 0, None, 0.1, 1.2, **told)


def changed(**fields):
    """A record as we write it, with other fields; those that are `...` are left out."""
    whole = record(result(ANSWER)) | fields
    return {name: value for name, value in whole.items() if value is not ...}


def notebook_with(folder, *records, source=BODY, metadata=None):
    outputs = [{"output_type": "display_data", "data": {}, "metadata": {"fim_magic": one}} for one in records]
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": outputs}
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": metadata or {}}), "utf-8")
    return path


# --- records that are not ours --------------------------------------------------------------------

MALFORMED = {
    "a-million-answers": {"answers": 1_000_000},
    "answers-below-0": {"answers": -1},
    "answers-in-words": {"answers": "many"},
    "answers-true": {"answers": True},
    "10**30-tokens": {"max_new_tokens": 10**30},
    "no-tokens": {"max_new_tokens": 0},
    "tokens-as-a-fraction": {"max_new_tokens": 12.5},
    "lines-below-1": {"lines": 0},
    "lines-without-end": {"lines": 10**30},
    "temperature-nan": {"temperature": float("nan")},
    "temperature-infinite": {"temperature": float("inf")},
    "temperature-below-0": {"temperature": -1},
    "temperature-as-text": {"temperature": "0.8"},
    "temperature-that-is-0-in-32-bits": {"temperature": 5e-324},
    "temperature-that-is-infinite-in-32-bits": {"temperature": 1e308},
    "no-answers-at-all": {"candidates": []},
    "top_p-0": {"top_p": 0},
    "top_p-2": {"top_p": 2},
    "seed-of-1000-bits": {"seed": 2**1000},
    "seed-as-a-list": {"seed": [1]},
    "method-unknown": {"method": "eval"},
    "method-as-an-object": {"method": {}},
    "order-unknown": {"order": "mps"},
    "model-as-a-list": {"model": ["a"]},
    "model-empty": {"model": ""},
    "model-of-a-megabyte": {"model": "a/" * 2**19},
    "revision-as-a-number": {"revision": 7},
    "device-as-a-list": {"runs_on": ["cpu"]},
    "candidates-as-text": {"candidates": "abc"},
    "candidates-as-numbers": {"candidates": [1, 2]},
    "candidates-without-a-middle": {"candidates": [{}]},
    "candidate-of-null": {"candidates": [{"middle": None}]},
    "middles-as-numbers": {"candidates": [{"middles": [1, 2]}]},
    "checks-as-numbers": {"candidates": [{"middle": "", "checks": [1]}]},
    "passed-as-text": {"candidates": [{"middle": "", "checks": [{"passed": "no"}]}]},
    "logprob-as-text": {"candidates": [{"middle": "", "mean_logprob": "-0.5"}]},
    "logprob-of-400-digits": {"candidates": [{"middle": "", "mean_logprob": 10**400}]},
    "context-as-a-list": {"context": [1]},
    "decision-as-text": {"decision": "accept"},
    "decided-of-no-candidate": {"decision": {"what": "accept", "candidate": 0}},
    "hash-as-a-number": {"prompt_sha256": 1},
    "nothing-but-a-model": {"candidates": ..., "method": ..., "temperature": ...},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_record_is_told_in_a_paragraph_and_the_others_are_made_again(fields, tmp_path, capsys):
    path = notebook_with(tmp_path, changed(**fields), changed())
    models = RecordingModels(ScriptedEngine(ANSWER))
    assert cli.main(["replay", str(path)], models) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    first, second = out.splitlines()
    assert "record" in first
    assert len(first) < 600
    assert second == "Cell 1: The same answer as before, character for character."
    assert len(models.specs) == 1  # nothing is loaded for what cannot be read


@pytest.mark.parametrize("saved", [None, [], "x", 1, {"model": "m"}], ids=repr)
def test_what_is_no_record_is_refused(saved):
    with pytest.raises(OptionError, match="record"):
        read_record(saved)


def test_a_deeply_nested_value_is_refused_without_an_error_of_its_own():
    nested: list = []
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(OptionError, match="model is"):
        read_record(changed(model=nested))


def test_what_a_record_asks_for_in_all_is_bounded(tmp_path, capsys):
    # Each field is one that somebody may want; together they are hours.
    path = notebook_with(tmp_path, changed(answers=64, max_new_tokens=4096))
    models = RecordingModels(ScriptedEngine(ANSWER))
    assert cli.main(["replay", str(path)], models) == 1
    assert "asks for 262,144 tokens" in capsys.readouterr().out
    assert not models.specs


def test_three_thousand_markers_are_bounded(tmp_path, capsys):
    path = notebook_with(tmp_path, changed(), source="x = <cursor>\n" * 3000)
    models = RecordingModels(ScriptedEngine(ANSWER))
    assert cli.main(["replay", str(path)], models) == 1
    assert "There are 3000 holes, and 100 are the most" in capsys.readouterr().out
    assert not models.specs


def test_what_people_ask_for_is_made_again():
    assert request_of(Recorded(1, "x = <cursor>\ny = <cursor>\n", changed(answers=8))).candidates == 8
    assert MOST_TOKENS >= 64 * 8 * 128


def test_a_record_of_before_that_kept_several_holes_as_one_text_can_be_compared():
    text = "x = <cursor>\ny = <cursor>\n"
    document, blanks = split(text)
    middle, kept = blanks.joined(["1", "2"])
    now = Result(
        document,
        (Candidate(middle, Ending.STOP_TOKEN, kept=kept),),
        "scripted",
        "test",
        "fim",
        "psm",
        9,
        0,
        0,
        None,
        0,
        0,
    )
    assert compare(changed(candidates=[{"middle": "1\ny = 2"}]), now)[0]
    assert compare(changed(candidates=[{"middle": "1\ny = 3"}]), now)[1].startswith("It differs from character 7 on")
    assert compare(changed(candidates=[{"middles": ["1", "3"]}]), now)[1].startswith(
        "It differs from character 1 of hole 2 on"
    )
    assert not compare(changed(candidates=[{"middles": ["1", "2", "3"]}]), now)[0]


def test_a_cell_that_nobody_has_written_is_not_filled_again(tmp_path, capsys):
    path = notebook_with(tmp_path, changed(), source="x = 1\n" * 50_000 + "<cursor>")
    models = RecordingModels(ScriptedEngine(ANSWER))
    assert cli.main(["replay", str(path)], models) == 1
    assert "The cell has 300,008 characters" in capsys.readouterr().out
    assert not models.specs


def test_the_text_of_a_cell_is_kept_once_for_all_its_records(tmp_path):
    # A cell of one MB with a hundred thousand outputs would take all memory there is.
    path = notebook_with(tmp_path, changed(), changed(), source=[BODY, "\n# more"])
    first, second = recorded(path)
    assert first.source is second.source


def test_what_nobody_has_foreseen_in_one_record_leaves_the_others(tmp_path, capsys):
    engine = ScriptedEngine(ANSWER)

    def fail_once(_step):
        engine.before_step = lambda _: None
        raise ZeroDivisionError

    engine.before_step = fail_once
    assert cli.main(["replay", str(notebook_with(tmp_path, changed(), changed()))], RecordingModels(engine)) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "ZeroDivisionError" in first
    assert second == "Cell 1: The same answer as before, character for character."


# --- files that are no notebooks ------------------------------------------------------------------

NO_NOTEBOOKS = {
    "empty": b"",
    "deep": DEEP.encode(),
    "deep-metadata": b'{"cells": [], "metadata": ' + DEEP.encode(),
    "deep-cell": b'{"cells": [{"source": "", "metadata": ' + DEEP.encode(),
    "no-utf-8": b'{"cells": "\xff"}',
    "cut-short": b'{"cells": [{"source": "x"',
    "nul": b"\0",
    "cells-of-null": b'{"cells": null}',
    "cells-of-numbers": b'{"cells": [1]}',
    "source-of-numbers": b'{"cells": [{"source": [1], "outputs": [{"metadata": {"fim_magic": {"model": "m"}}}]}]}',
    "outputs-of-numbers": b'{"cells": [{"source": "", "outputs": 1}]}',
    "metadata-of-numbers": b'{"cells": [{"source": "", "outputs": [{"metadata": 1}]}]}',
    "a-number-of-5000-digits": b'{"cells": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS.keys())
def test_what_is_no_notebook_is_refused_in_a_paragraph(content, tmp_path, capsys):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    assert cli.main(["replay", str(path)], RecordingModels(ScriptedEngine(ANSWER))) == 1
    assert "is no notebook" in capsys.readouterr().err


def test_why_it_is_none_is_said(tmp_path):
    old = tmp_path / "old.ipynb"
    old.write_text('{"nbformat": 3, "worksheets": []}')
    with pytest.raises(OptionError, match="nbformat 4"):
        recorded(old)
    with pytest.raises(OptionError, match="is a folder, not a regular file"):
        recorded(tmp_path)


def test_an_output_that_nests_deep_is_in_nobodys_way(tmp_path):
    path = notebook_with(tmp_path, changed(), metadata={"fim_magic": "hints", "kernelspec": None})
    path.write_text(path.read_text("utf-8").replace('"data": {}', f'"data": {{"application/json": {NESTED}}}'), "utf-8")
    assert len(recorded(path)) == 1
    assert of_notebook(path) == read_notebook(path.read_text("utf-8"), "it").filling == "hints"


def test_a_byte_order_mark_is_no_part_of_a_notebook(tmp_path):
    path = notebook_with(tmp_path, changed(), metadata={"fim_magic": {"filling": "off"}})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(recorded(path)) == 1
    assert of_notebook(path) == "off"


def test_of_thousands_of_cells_the_nearest_are_looked_at(tmp_path):
    path = notebook_with(tmp_path)
    cell = json.loads(path.read_text("utf-8"))["cells"][0]
    sources = [*(f"x{n} = {n}" for n in range(300)), BODY, *(f"y{n} = {n}" for n in range(300))]
    path.write_text(json.dumps({"cells": [{**cell, "source": source} for source in sources]}), "utf-8")
    source = read_source(str(path), MARKERS)
    request = source.in_notebook(Request(parse(BODY)), "all", MARKERS)
    assert [cell.source for cell in request.context.cells] == [f"x{n} = {n}" for n in range(200, 300)]
    assert [cell.source for cell in request.context.below] == [f"y{n} = {n}" for n in range(100)]
    assert {"x0", "y299"} <= request.known  # names are known from all of them


# --- what a notebook allows -----------------------------------------------------------------------

SWITCHES = {
    "off": ("off", "off"),
    "hints": ("hints", "hints"),
    "on": ("on", "on"),
    "blanks-and-capitals": ({"filling": "OFF "}, "off"),
    "capital-hints": ({"filling": " Hints"}, "hints"),
    "capital-key": ({"Filling": "off"}, "off"),
    "two-keys": ({"filling": "on", "FILLING": "off"}, "off"),
    "a-list": (["off"], "off"),
    "an-empty-list": ([], "off"),
    "a-list-of-words": ({"filling": ["hints"]}, "off"),
    "an-object": ({"filling": {"filling": "on"}}, "off"),
    "false": (False, "off"),
    "false-filling": ({"filling": False}, "off"),
    "null-filling": ({"filling": None}, "off"),
    "unknown": ("none", "off"),
    "another-language": ({"filling": "關"}, "off"),
    "empty": ({"filling": ""}, "off"),
    "all-of-it-below-our-name": ({"fim_magic": {"filling": "off"}}, "off"),
    "the-stricter-of-both-places": ({"filling": "on", "fim_magic": {"filling": "hints"}}, "hints"),
    "nothing-said": ({}, "on"),
    "something-else-said": ({"theme": "dark"}, "on"),
}


@pytest.mark.parametrize(("said", "allowed"), SWITCHES.values(), ids=SWITCHES.keys())
def test_a_switch_that_was_mistyped_is_not_on(said, allowed, tmp_path):
    assert of_notebook(notebook_with(tmp_path, metadata={"fim_magic": said})) == allowed


SPELLINGS = {
    "as-messages-name-it": {"fim_magic.filling": "off"},
    "as-the-configuration-names-it": {"FimMagics.filling": "off"},
    "under-the-configurations-name": {"FimMagics": {"filling": "off"}},
    "in-one-word": {"fimMagicFilling": False},
    "with-a-blank": {"FIM Magic": "off"},
    "with-blanks-around": {" fim_magic ": {" filling": "off"}},
    "with-a-ligature": {"\ufb01m_magic": "off"},
    "with-another-key": {"fim_magic": {"fill": "off"}},
    "with-a-mistyped-key": {"fim_magic": {"filing": False}},
}


@pytest.mark.parametrize("metadata", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_switch_whose_name_was_mistyped_is_off(metadata, tmp_path):
    assert of_notebook(notebook_with(tmp_path, metadata=metadata)) == "off"


def test_a_switch_counts_as_soon_as_its_file_has_changed(tmp_path):
    path = notebook_with(tmp_path, metadata={"fim_magic": {"filling": "on "}})
    before = path.stat()
    assert of_notebook(path) == "on"
    notebook_with(tmp_path, metadata={"fim_magic": {"filling": "off"}})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert of_notebook(path) == "off"


def test_the_stricter_of_two_spellings_of_our_name_counts(tmp_path):
    metadata = {"fim_magic": {"filling": "on"}, "fim-magic": {"filling": "hints"}}
    assert of_notebook(notebook_with(tmp_path, metadata=metadata)) == "hints"


@pytest.mark.parametrize(
    ("metadata", "environment", "words"),
    [
        pytest.param({"fim_magic": {"filling": "off"}}, "on", "switched off", id="notebook"),
        pytest.param({"fim-magic": "hints"}, "on", "hints, not answers", id="other-spelling"),
        pytest.param({}, "off", "switched off", id="environment"),
        pytest.param({"fim_magic": {"filling": "on"}}, "on", "", id="on"),
        pytest.param({}, "on", "", id="nothing-said"),
    ],
)
def test_a_shell_fills_no_notebook_that_allows_no_answers(metadata, environment, words, tmp_path, monkeypatch, capsys):
    path = notebook_with(tmp_path, metadata=metadata)
    before = path.read_bytes()
    monkeypatch.setenv("FIM_MAGIC_FILLING", environment)
    models = RecordingModels(ScriptedEngine(ANSWER))
    assert cli.main(["infill", str(path), "--in-place", "--model", "scripted"], models) == (1 if words else 0)
    assert words in capsys.readouterr().err
    assert (path.read_bytes() == before) == bool(words) == (not models.specs)


# --- which model is loaded ------------------------------------------------------------------------

STRANGE_MODELS = [
    "/tmp/a folder",
    "./model",
    "../../model",
    "~/model",
    "somebody/something",
    "somebody/something@0123456789012345678901234567890123456789",
    "file.gguf",
    "\\\\server\\share\\model",
    "//server/share/model.gguf",
    "a\x1b[31m\n/b",
    "--allow-code",
    "auto",
    "$(touch here)",
    "m" * 300,
    "Qw\u0435n/Qwen2.5-Coder-0.5B",
    "vllm://api.\u043epenai.com/m",
    DEFAULT.name + "@main",
]


class NoModels(ModelManager):
    """Has none, and takes note of what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def use(self, spec, *_):
        self.asked.append(spec)
        raise FimError("It would be loaded now.")


@pytest.mark.parametrize("model", STRANGE_MODELS, ids=ascii)
def test_a_model_that_only_a_notebook_names_is_not_loaded(model, tmp_path, capsys):
    path, models = notebook_with(tmp_path, changed(model=model)), NoModels()
    assert cli.main(["replay", str(path)], models) == 1
    out = capsys.readouterr().out
    assert not models.asked
    assert f"fim-magic replay {path} --model " in out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 1


PASTED = {
    "a-command": "'; touch here; #",
    "a-substitution": "$(touch here)",
    "a-quote-that-a-long-word-ends-in": "a" * 195 + "'" + "b" * 1100 + " ; touch here ; #",
    "an-option": "--allow-code",
    "a-line-end": "a\ntouch here",
}


@pytest.mark.parametrize("model", PASTED.values(), ids=PASTED.keys())
def test_the_line_to_type_holds_nothing_that_a_shell_would_run(model, tmp_path, capsys):
    path = notebook_with(tmp_path, changed(model=model))
    cli.main(["replay", str(path)], NoModels())
    assert capsys.readouterr().out.endswith(f": fim-magic replay {path} --model NAME\n")


LOOK_ALIKES = {
    "a-repository": ("Qw\u0435n/Qwen2.5-Coder-0.5B", "(not of A to Z: U+0435)"),
    "many-letters": ("\u0430\u0435\u043e\u0440/x", "(not of A to Z: U+0430, U+0435, U+043E and others)"),
    "a-server": ("vllm://api.\u043epenai.com/m", "'vllm://api.xn--penai-iye.com:8000/m'"),
    "a-models-name-there": ("vllm://here/m\u043e", "(not of A to Z: U+043E)"),
}


@pytest.mark.parametrize(("model", "told"), LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_letters_that_look_like_others_are_told_where_the_user_is_asked(model, told):
    assert told in described(model)


def test_nobody_is_asked_about_a_name_that_is_too_long_to_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    models = NoModels()
    cli.main(["replay", str(notebook_with(tmp_path, changed(model="m " * 1000)))], models)
    assert not models.asked
    assert "[y/N]" not in sys.stderr.getvalue()


def test_nothing_is_looked_up_before_the_user_has_agreed(tmp_path, capsys, monkeypatch):
    # On Windows, whoever looks for a file on another server logs in there.
    monkeypatch.setattr(consent, "find_source", lambda *_: pytest.fail("it was looked for"))
    assert needs_consent(ModelSpec("//server/share/model"), NoModels())


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{}"), ("adapter_config.json", json.dumps({"base_model_name_or_path": KNOWN}))],
    ids=["a-checkpoint", "an-adapter"],
)
def test_a_folder_in_the_place_of_a_known_repository_is_not_loaded(file, content, tmp_path, capsys, monkeypatch):
    # The repository itself is here, and may run at once.
    cached = tmp_path / "hub" / f"models--{KNOWN.replace('/', '--')}" / "snapshots" / ("a" * 40)
    cached.mkdir(parents=True)
    (cached.parent.parent / "refs").mkdir()
    (cached.parent.parent / "refs" / "main").write_text("a" * 40)
    (cached / "config.json").write_text("{}")
    (cached / "model.safetensors").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(resolve, "can_merge", lambda: True)
    monkeypatch.chdir(tmp_path)
    path, models = notebook_with(tmp_path, changed(model=KNOWN)), NoModels()
    cli.main(["replay", str(path)], models)
    assert [spec.name for spec in models.asked] == [KNOWN]
    models.asked.clear()
    (tmp_path / KNOWN).mkdir(parents=True)
    (tmp_path / KNOWN / file).write_text(content)
    assert cli.main(["replay", str(path)], models) == 1
    assert not models.asked
    assert f"'{KNOWN}', a folder here, which has the name of one in the catalogue" in capsys.readouterr().out


def test_a_model_of_the_catalogue_runs_at_once_where_it_is_here(put_in_cache, tmp_path, capsys):
    path, models = notebook_with(tmp_path, changed(model=DEFAULT.name)), NoModels()
    assert cli.main(["replay", str(path)], models) == 1
    assert "would be fetched" in capsys.readouterr().out
    assert not models.asked
    put_in_cache(DEFAULT.gguf)
    cli.main(["replay", str(path)], models)
    assert [spec.name for spec in models.asked] == [DEFAULT.name]


def test_a_model_that_the_user_names_is_loaded_in_place_of_the_notebooks(tmp_path, capsys):
    path, models = notebook_with(tmp_path, changed(model="/tmp/theirs")), NoModels()
    cli.main(["replay", str(path), "--model", "ours"], models)
    assert [spec.name for spec in models.asked] == ["ours"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("typed", "loads"), [("y\n", 2), ("n\n", 0), ("", 0), ("yes\n", 2), ("\n", 0)])
def test_on_a_terminal_the_user_is_asked_once_for_each_model(typed, loads, tmp_path, capsys, monkeypatch):
    path, models = notebook_with(tmp_path, changed(model="/tmp/m\x1b[2J"), changed(model="/tmp/m\x1b[2J")), NoModels()
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    cli.main(["replay", str(path)], models)
    assert sys.stderr.getvalue().count("[y/N]") == 1
    assert "\x1b" not in sys.stderr.getvalue()
    assert len(models.asked) == loads


def test_a_notebook_does_not_say_whose_code_runs(tmp_path, capsys):
    path, models = notebook_with(tmp_path, changed(model="somebody/something@" + "a" * 40)), NoModels()
    assert cli.main(["replay", str(path), "--allow-code"], models) == 1
    assert "--model OWNER/NAME@COMMIT" in capsys.readouterr().err
    assert not models.asked


def test_ctrl_c_ends_all_of_it_and_not_one_cell(tmp_path, capsys):
    engine = ScriptedEngine(ANSWER)

    engine.before_step = lambda _step: signal.raise_signal(signal.SIGINT)
    path = notebook_with(tmp_path, *[changed() for _ in range(5)])
    assert cli.main(["replay", str(path)], RecordingModels(engine)) == 130
    assert len(engine.prompts) == 1


# --- what a record holds --------------------------------------------------------------------------

SECRET = "q9w8" + "e7r6t5"
"""Of no service, and put together here: no scanner takes it for a real one."""


def texts_in(value):
    """Every text in what JSON can hold."""
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts_in(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


def test_a_record_of_several_holes_has_only_what_the_model_wrote():
    document, blanks = split("a = <cursor>\nmy_own_text = 1\nb = <cursor>\n")
    middle, kept = blanks.joined(["1", "2"])
    filled = result("")
    filled = Result(
        **{**vars(filled), "document": document, "candidates": (Candidate(middle, Ending.RULE, kept=kept),)}
    )
    assert record(filled)["candidates"][0]["middles"] == ["1", "2"]
    assert not any("my_own_text" in text for text in texts_in(record(filled)))
    assert full_record(filled)["candidates"][0]["middle"] == middle


CHECKS = {
    "expression": ("mean([1, 3]) == my_own_text", False, "mean([1, 3]) == my_own_text gave False"),
    "assertion": ("test", False, "AssertionError: my_own_text"),
    "name": ("names", False, "undefined: my_own_text"),
    "doctest": ("doctests", False, "1 of 2 doctests: my_own_text gave 3"),
    "column": ("columns", False, "my_own_text has no column 'x'"),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_a_record_says_of_checks_only_whether_they_passed(check):
    filled = result("")
    candidate = Candidate(ANSWER, Ending.RULE, checks=(Check(*check),))
    filled = Result(**{**vars(filled), "candidates": (candidate,)})
    assert not any("my_own_text" in text for text in texts_in(record(filled)))
    assert [one["passed"] for one in record(filled)["candidates"][0]["checks"]] == [False]
    assert check[2] in texts_in(full_record(filled))  # who has asked wants to know


SECRETS = {
    "in-the-answer": ("x = 1\n<cursor>\n", f'password = "{SECRET}"'),
    "around-the-answer": ('password = "<cursor>"\n', SECRET),
    "repeated-from-the-text": (f'password = "{SECRET}"\nlogin(<cursor>)\n', f'"me", "{SECRET}"'),
    "repeated-from-a-login": (f'url = "https://me:{SECRET}@host"\nlogin(<cursor>)\n', f'"me", "{SECRET}"'),
    "begun-in-the-text": (f'password = "{SECRET[:4]}<cursor>\n', f'{SECRET[4:]}"'),
    "below-a-number": ('pin = 4821\npassword = "<cursor>"\n', SECRET),
    "below-bytes": ('api_key = b"kq83hd7wz"\npassword = "<cursor>"\n', SECRET),
    "in-bytes": ('password = b"<cursor>"\n', SECRET),
}


@pytest.mark.parametrize(("text", "middle"), SECRETS.values(), ids=SECRETS.keys())
def test_a_record_holds_no_secret_and_can_be_compared(text, middle):
    filled = result(middle, text=text)
    told = record(filled)
    assert not any(SECRET in part or SECRET[4:] in part for part in texts_in(told))
    assert compare(told, filled) == (
        True,
        "The same answer as before but for what looks like a secret, which no record holds.",
    )
    assert not compare(told, result(middle + "\ny = 1", text=text))[0]


def test_what_was_trimmed_and_a_check_of_the_command_line_hold_no_secret():
    raw = f'x = 1\nlogin("{SECRET}")'
    checks = (Check(f'login(password="{SECRET}")', False, f'login(password="{SECRET}") gave False'),)
    candidate = Candidate(raw, Ending.RULE, Cut("repeats-suffix", 5), checks=checks)
    filled = Result(**{**vars(result("", text=f'<cursor>\npassword = "{SECRET}"\n')), "candidates": (candidate,)})
    assert not any(SECRET in text for text in texts_in(record(filled)))
    assert not any(SECRET in text for text in texts_in(full_record(filled)["candidates"][0]["checks"]))


def test_a_record_of_before_with_a_secret_in_it_can_still_be_compared():
    filled = result(f'password = "{SECRET}"', text="<cursor>")
    assert compare(changed(candidates=[{"middle": filled.middle}]), filled)[1].endswith("character for character.")
