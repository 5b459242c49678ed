"""Nothing that a model, a file or a name holds drives a terminal, reorders what is read, or stays unseen."""

from __future__ import annotations

import ast
import io
import json
import re
import traceback
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import RecordingModels, ScriptedEngine

import fim_magic
from fim_magic import cli, progress, reports
from fim_magic.columns import columns_of
from fim_magic.engines import ServerInfo
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.frontends.terminal import Terminal
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.regular_files import read_optional_object
from fim_magic.reports.machine import Machine
from fim_magic.review.text import html_text
from fim_magic.visible import hand_over, plain_lines, plain_text, say, say_in_colour

ROOT = Path(fim_magic.__file__).parent
FAMILY = "👩\u200d👩\u200d👧"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

# A title for the window, a colour, the 8-bit introducer of both, text that reads from right to left, and text unseen.
ATTACK = "\x1b]0;mine\x07\x1b[8m\x9b31m\u202eexe\u2066\u200b\u00ad\U000e0041"


def is_harmless(text: str) -> bool:
    return not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", text
    )


class Screen(io.StringIO):
    """Standard output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


# --- which characters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[31m", "<U+001B>[31m", id="escape"),
        pytest.param("a\x9b31m", "a<U+009B>31m", id="8-bit introducer"),
        pytest.param("a\x7f\x08", "a<U+007F><U+0008>", id="delete and backspace"),
        pytest.param("ab\rc", "ab<U+000D>c", id="carriage return"),
        pytest.param("a\nb", "a↵b", id="line end in a name"),
        pytest.param("a\u202eb\u202c", "a<U+202E>b<U+202C>", id="override"),
        pytest.param("a\u2067b\u2069", "a<U+2067>b<U+2069>", id="isolate"),
        pytest.param("a\u061cb", "a<U+061C>b", id="Arabic letter mark"),
        pytest.param("a\u2028b\u2029", "a<U+2028>b<U+2029>", id="line and paragraph separator"),
        pytest.param("ad\u00admin", "ad<U+00AD>min", id="soft hyphen"),
        pytest.param("ad\u200bmin", "ad<U+200B>min", id="zero-width space"),
        pytest.param("ad\u200cmin", "ad<U+200C>min", id="zero-width non-joiner in Latin"),
        pytest.param("ad\u200dmin", "ad<U+200D>min", id="zero-width joiner in Latin"),
        pytest.param("ad\u2060min", "ad<U+2060>min", id="word joiner"),
        pytest.param("f\u2061x\u2062y", "f<U+2061>x<U+2062>y", id="unseen operators"),
        pytest.param("ad\u034fmin", "ad<U+034F>min", id="grapheme joiner"),
        pytest.param("a\ufeffb", "a<U+FEFF>b", id="byte order mark in the middle"),
        pytest.param("a\u180eb", "a<U+180E>b", id="Mongolian vowel separator"),
        pytest.param("a\ufe0fb", "a<U+FE0F>b", id="variation selector behind a letter"),
        pytest.param("😀\ufe0f\ufe00\ufe01", "😀\ufe0f<U+FE00><U+FE01>", id="more than one variation selector"),
        pytest.param("a\U000e0101", "a<U+E0101>", id="further variation selector"),
        pytest.param("a\U000e0041\U000e0042", "a<U+E0041><U+E0042>", id="tags"),
        pytest.param("🏴\U000e0041\U000e007f", "🏴<U+E0041><U+E007F>", id="tags that are no region's flag"),
        pytest.param("a\ufff9b\ufffac\ufffb", "a<U+FFF9>b<U+FFFA>c<U+FFFB>", id="notes between lines"),
        pytest.param("a\u3164b\uffa0\u115f\u1160", "a<U+3164>b<U+FFA0><U+115F><U+1160>", id="Hangul fillers"),
        pytest.param("a\u17b4b", "a<U+17B4>b", id="Khmer vowel that is not seen"),
        pytest.param("a\U0001d173b", "a<U+1D173>b", id="musical control"),
        pytest.param("a\ud800b", "a<U+D800>b", id="half a character"),
        pytest.param("a\ufdd0\ufffe", "a<U+FDD0><U+FFFE>", id="no characters"),
        pytest.param("a\u2800b", "a<U+2800>b", id="Braille's blank in Latin"),
        pytest.param("a\ufffcb", "a<U+FFFC>b", id="in the place of an object"),
        pytest.param("a\U0001d159b", "a<U+1D159>b", id="musical note that is not seen"),
        pytest.param("a\U00013430b", "a<U+13430>b", id="joiner of hieroglyphs"),
        pytest.param("a\U0001ffff\U0010fffe", "a<U+1FFFF><U+10FFFE>", id="no characters of further planes"),
        pytest.param("می\u200d\u200d\u200d", "می\u200d<U+200D><U+200D>", id="more than one joiner"),
    ],
)
def test_what_cannot_be_seen_is_shown_by_name(text, shown):
    assert plain_text(text) == shown
    assert re.sub(r"</?span[^>]*>", "", html_text(text)).replace("&lt;", "<").replace("&gt;", ">") == shown


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("می\u200cخواهم، خانه\u200cها", id="Persian with non-joiners"),
        pytest.param("श्री क्\u200dष न्\u200cव", id="Hindi with joiners"),
        pytest.param("ක්\u200dරියා", id="Sinhala"),
        pytest.param("മലയാളം അവന്\u200d", id="Malayalam"),
        pytest.param("ភាសា\u200bខ្មែរ", id="Khmer with breaks"),
        pytest.param("ภาษาไทย\u200bดี", id="Thai with breaks"),
        pytest.param("မြန်မာ", id="Burmese"),
        pytest.param("שלום, مرحبا", id="Hebrew and Arabic"),
        pytest.param("e\u0301 ñ ệ Å", id="combining marks"),
        pytest.param(f"{FAMILY} ❤\ufe0f 1\ufe0f\u20e3 👍🏽 🙂\u200d↔\ufe0f", id="emoji"),
        pytest.param(ENGLAND, id="flag of a region"),
        pytest.param("葛\U000e0100飾区", id="variant of an ideograph"),
        pytest.param("ᠮᠣᠩᠭᠣᠯ\u180b", id="Mongolian"),
        pytest.param("\u115f\u1161 \u1100\u1160", id="old Hangul"),
        pytest.param("⠓⠑⠇⠇⠕\u2800⠺", id="Braille"),
        pytest.param("\U00013000\U00013430\U00013001", id="hieroglyphs"),
        pytest.param("≨\ufe00 ∅", id="variant of a sign"),
        pytest.param("日本語 中文 한국어 Ελληνικά", id="other scripts"),
        pytest.param("a\tb", id="tab"),
    ],
)
def test_what_people_write_stays(text):
    assert plain_text(text) == text
    assert "fim-control" not in html_text(text)


def test_line_ends_stay_in_text_of_several_lines():
    assert plain_lines("a\r\nb\rc\n\x1b") == "a\r\nb<U+000D>c\n<U+001B>"


# --- one place ----------------------------------------------------------------------------------------


def test_text_for_people_is_printed_in_one_place():
    for_programs = {
        "arms.py",
        "fresh.py",
        "llama_server.py",
        "child.py",
        "conversion_apart.py",
    }  # pipes between our own processes
    printing = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if path.name not in for_programs
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing <= {"visible.py", "__main__.py"}  # before anything is imported, a line of its own


def test_only_our_own_colours_reach_a_terminal(capsys):
    say(f"a {ATTACK}\nb")
    say_in_colour("\x1b[30;42mnew\x1b[0m \x1b[2mdim\x1b[0m \x1b[8mhidden\x1b[2J\x1b]0;t\x07")
    out = capsys.readouterr().out
    assert is_harmless(re.sub(r"\x1b\[(30;42|0|2)m", "", out))


def test_colours_stay(capsys):
    say_in_colour("\x1b[30;42mnew\x1b[0m \x1b[8mhidden")
    assert capsys.readouterr().out == "\x1b[30;42mnew\x1b[0m <U+001B>[8mhidden\n"


def test_a_result_is_given_as_it_is_but_on_a_terminal(capsys):
    hand_over(f"x = 1  # {ATTACK}\n")
    assert capsys.readouterr() == (f"x = 1  # {ATTACK}\n", "")
    with redirect_stdout(Screen()) as screen:
        hand_over(f"x = 1  # {ATTACK}\n")
        hand_over("y = 2\r\n")
    assert is_harmless(screen.getvalue().replace("\r\n", "\n"))
    assert screen.getvalue().endswith("y = 2\r\n")
    assert "shown by name" in capsys.readouterr().err


# --- every door ---------------------------------------------------------------------------------------


@pytest.fixture
def engine():
    engine = ScriptedEngine(f"total = sum(xs)  # {ATTACK}")
    engine.info = replace(engine.info, model=f"evil{ATTACK}", revision=f"r{ATTACK}")
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cell.py"
    path.write_text(f"# {ATTACK}\ndef mean(xs):\n    <cursor>\n    return total / len(xs)\n", "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["infill"], id="infill"),
        pytest.param(["infill", "--diff"], id="diff"),
        pytest.param(["infill", "--diff", "-n", "2"], id="diff of two"),
        pytest.param(["infill", "--json"], id="json"),
    ],
)
def test_the_command_line_on_a_terminal(arguments, engine, file, capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")  # without colours no escape is ours
    with redirect_stdout(Screen()) as screen:
        assert cli.main([*arguments, file, "--model", f"evil{ATTACK}"], _holding(engine)) == 0
    shown = re.sub(r"\x1b\[\d+F\x1b\[J", "", screen.getvalue())  # what takes the growing diff away
    assert is_harmless(shown)
    assert "mean" in shown
    assert is_harmless(capsys.readouterr().err)


def _holding(engine: ScriptedEngine) -> ModelManager:
    return RecordingModels(engine, f"a notice of {ATTACK}")


def test_json_is_ascii_and_says_the_same(engine, file, capsys):
    assert cli.main(["infill", "--json", file, "--model", "evil"], _holding(engine)) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert is_harmless(out)
    assert ATTACK in json.loads(out)["text"]


def test_a_pipe_gets_the_answer_as_it_is(engine, file, capsys):
    assert cli.main(["infill", file, "--model", "evil"], _holding(engine)) == 0
    assert f"# {ATTACK}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["infill", f"{ATTACK}.py"], id="a file that is not there"),
        pytest.param(["replay", f"{ATTACK}.ipynb"], id="a notebook that is not there"),
        pytest.param(["doctor", "--model", f"./{ATTACK}"], id="a folder that is not there"),
        pytest.param(["models", ATTACK], id="a word"),
    ],
)
def test_what_was_typed_is_repeated_harmless(arguments, capsys):
    cli.main(arguments)
    told = capsys.readouterr()
    assert is_harmless(told.out + told.err)
    assert told.out + told.err


def test_an_option_that_there_is_not_is_repeated_harmless(capsys):
    with pytest.raises(SystemExit):
        cli.main(["models", "x", f"--{ATTACK}"])
    assert is_harmless(capsys.readouterr().err)


def test_errors_are_fit_to_be_shown_wherever_they_are():
    error = OptionError(f"No model {ATTACK}.\nType this.")
    assert is_harmless(str(error))
    assert str(error).endswith("↵Type this.")  # a line of its own would look like one of ours


def test_what_an_error_came_from_is_fit_for_a_traceback(engine):
    def fail(_step):
        try:
            raise ValueError(f"no such tokenizer: {ATTACK}")
        except ValueError as error:
            error.__notes__ = [f"in {ATTACK}"]
            raise ModelError("It could not be read.") from error

    engine.before_step = fail
    with pytest.raises(ModelError) as raised:
        fim_magic.infill("x = <cursor>", model=engine.info.model)
    shown = "".join(traceback.format_exception(raised.value))
    assert "no such tokenizer: <U+001B>" in shown
    assert is_harmless(shown)


FORGED = f"evil{ATTACK}\nfim-magic: all is well"

DOORS = {
    "infill": ["infill", "FILE"],
    "diff": ["infill", "FILE", "--diff"],
    "demo": ["demo"],
    "fetch": ["fetch"],
    "proof": ["doctor", "--prove"],
}


@pytest.mark.parametrize("arguments", DOORS.values(), ids=DOORS)
def test_no_name_begins_a_line_that_looks_like_ours(arguments, engine, file, capsys):
    server = ServerInfo("here:1", f"software {FORGED}", f"served {FORGED}", is_encrypted=False, is_here=True)
    names = {"model": FORGED, "revision": FORGED, "device": FORGED, "precision": FORGED, "runtime": FORGED}
    engine.info = replace(engine.info, **names, server=server)
    typed = [file if argument == "FILE" else argument for argument in arguments]
    model = [FORGED] if arguments == ["fetch"] else ["--model", FORGED]
    cli.main([*typed, *model], RecordingModels(engine, f"a notice of {FORGED}"))
    told = capsys.readouterr()
    assert "all is well" in told.out + told.err
    assert not re.search("^fim-magic: all is well", told.out + told.err, re.MULTILINE)
    assert is_harmless(told.err.replace("\r", ""))


def test_logs_name_files_harmless(tmp_path, caplog):
    folder = tmp_path / f"evil{ATTACK.replace('/', '')}\nfim_magic: all is well"
    folder.mkdir()
    (folder / "c.json").write_text("{")
    with caplog.at_level("DEBUG", "fim_magic"):
        read_optional_object(folder / "c.json")
    assert is_harmless(caplog.text)
    assert "\nfim_magic: all is well" not in caplog.text


# What is put into a log by `%s`: our own words, names of types, and errors, whose texts are fit to be shown.
LOGGED_AS_THEY_ARE = {"error", "fault", "language", "type(variant).__name__", "type(error).__name__"}


def test_logs_hold_the_texts_of_others_as_representations():
    calls = [
        node
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log.") and len(node.args) > 1
    ]
    as_they_are = {
        ast.unparse(value)
        for call in calls
        for kind, value in zip(re.findall("%.*?([a-z])", ast.literal_eval(call.args[0])), call.args[1:], strict=True)
        if kind == "s"
    }
    assert as_they_are <= LOGGED_AS_THEY_ARE


def test_the_name_of_what_is_fetched():
    step = progress.Progress(f"Fetching {ATTACK}\nx", 5, 10)
    for shown in (progress.bar(step), progress.bar(replace(step, done=0, total=0))):
        assert is_harmless(shown)
        assert "\n" not in shown
    stream = Screen()
    with progress.TerminalProgress(stream) as on_progress:
        on_progress(step)
    assert is_harmless(stream.getvalue().replace("\r", ""))


def test_a_line_of_progress_fits_where_its_characters_take_two_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Screen()
    with progress.TerminalProgress(stream) as on_progress:
        on_progress(progress.Progress("Loading /家/模型/程式碼/補全/模型/家/模型/程式碼/補全", 5, 10))
        on_progress(progress.Progress("Loading x", 5, 10))
    assert all(columns_of(line) < 40 for line in re.split("[\r\n]", stream.getvalue()))


@pytest.mark.parametrize("field", ["model_type", "architectures"])
def test_a_checkpoint_that_names_itself(field, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({field: ATTACK if field == "model_type" else [ATTACK]}))
    try:
        shown = reports.model(str(folder), Machine("here", 10**9, ("32 bit",)))
    except FimError as error:
        shown = str(error)
    assert is_harmless(shown)


def test_a_folder_that_names_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / f"cache{ATTACK}\n! forged"))
    shown = reports.doctor(lambda: {f"a{ATTACK}": True})
    assert is_harmless(shown)
    assert "\n! forged" not in shown


UNFIT_CACHES = {
    "a-file": ("/etc/passwd", "/etc/passwd is no folder"),
    "a-device": ("/dev/null/x", "/dev/null is no folder"),
    "a-name-without-end": ("/" + "a" * 3000, "too long"),
    "a-home-of-nobody": ("~no-such-user-here/x", "no such user here"),
    "what-the-system-makes": ("/proc/self", ""),
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="files as Linux has them")
@pytest.mark.parametrize(("cache", "advice"), UNFIT_CACHES.values(), ids=UNFIT_CACHES)
def test_the_doctor_looks_at_the_rest_where_the_cache_is_unfit(cache, advice, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", cache)
    lines = reports.doctor(lambda: {"a source": True}).split("\n")
    (found,) = [line for line in lines if line[2:].startswith("cache ")]
    assert found.startswith("!") or not advice
    assert advice in found
    assert lines[-1] == "  a source         reachable"


def test_the_status_of_a_model_that_names_itself(engine):
    shown = reports.status(None, manager=MODELS)
    assert "evil" in shown
    assert is_harmless(shown)


def test_an_accepted_text_on_a_simple_prompt():
    shell = type("Shell", (), {"simple_prompt": True})()
    with redirect_stdout(Screen()) as screen:
        assert Terminal().set_next_input(shell, f"x = 1  # {ATTACK}", replace=False) == "printed"
    assert is_harmless(screen.getvalue())
