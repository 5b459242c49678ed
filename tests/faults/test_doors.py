"""Every public door with inputs that are wrong: a right answer or a paragraph, no traceback, nothing lost."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
from checkpoints import build
from gguf_files import write_gguf
from IPython.utils.capture import capture_output
from scripted import ScriptedEngine
from shells import extended_shell
from tokenizers import Regex, pre_tokenizers

import fim_magic
from fim_magic import cli
from fim_magic.errors import FaultError, FimError, is_failure
from fim_magic.faults import REPORT, in_words
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.visible import plain_lines

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
SCRIPTED = ("-m", "scripted", "-n", "1")


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    """Each unloading collects garbage, which takes half a second while torch's own objects are looked through."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """A name that looks like one on the Hub is not asked for there."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    with extended_shell(tmp_path_factory.mktemp("ipython")) as shell:
        yield shell


@pytest.fixture
def engine():
    engine = ScriptedEngine(ANSWER)
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


class Said:
    """What came through a door: an answer, or the paragraph in its place."""

    def __init__(self, error="", text=None):
        self.error, self.text = error, text

    def check(self, word=""):
        assert "Traceback" not in self.error
        assert 'File "' not in self.error
        assert word in self.error
        if self.error:
            assert len(self.error) < 9000  # what was typed may be a part of it, and argparse says how to use it
        assert REPORT not in self.error, self.error  # what can be foreseen is told for what it is
        assert self.error or self.text is not None


def through_python(function, text, **options):
    try:
        return Said(text=function(text, **{"model": "scripted", "candidates": 1, **options}).text)
    except FimError as error:
        return Said(str(error))


def through_shell(shell, cell):
    """Run a cell. The kernel has to go on after it."""
    with capture_output() as captured:
        ran = shell.run_cell(cell)
    failure = ran.error_in_exec or ran.error_before_exec
    assert "Traceback" not in captured.stdout + captured.stderr
    error = "" if failure is None else captured.stderr or str(failure)
    with capture_output() as captured:
        assert shell.run_cell("1 + 1").result == 2
    return Said(error, text=None if error else captured.stdout)


def through_cli(capsys, *arguments, models=None, stdin=None):
    if stdin is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            return through_cli(capsys, *arguments, models=models)
    capsys.readouterr()
    try:
        status = cli.main(arguments, models)
    except SystemExit as exit_:  # argparse, which has told why
        status = exit_.code
    out, err = capsys.readouterr()
    assert (status == 0) or err or status == 1
    return Said("" if status == 0 else err or out, text=out if status == 0 else None)


# --- texts ----------------------------------------------------------------------------------------

TEXTS = {
    "empty": "",
    "marker-alone": "<cursor>",
    "no-marker": "x = 1\n",
    "nul": "x = '\0'\n<cursor>\n\0",
    "nul-alone": "\0",
    "half-a-character": "x = '\ud83d'\n<cursor>",
    "two-kinds": "<cursor> <FILL_ME>",
    "side-by-side": "<cursor><cursor>",
    "deep-brackets": "(" * 1500 + "<cursor>" + ")" * 1500,
    "deep-blocks": "".join(" " * depth + "if x:\n" for depth in range(110)) + " " * 110 + "<cursor>",
    "deep-unary": "x = " + "-" * 1500 + "<cursor>1",
    "deep-f-strings": "f'{" * 300 + "<cursor>" + "}'" * 300,
    "open-string": "x = '''<cursor>",
    "carriage-returns": "a = 1\rb = <cursor>\rc = 2\r",
    "controls": "\x1b[31m<cursor>\x07\x9b",
    "bidi": "x = '\u202e<cursor>\u2066'",
    "mark": "\ufeffx = <cursor>",
    "percent-and-braces": "%s {} {0} $x ${x} <cursor> %(a)s",
    "magic": "%%bash\n<cursor>",
    "no-characters": "\ufdd0\uffff<cursor>",
    "html": "<script><cursor></script>",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_any_text_at_any_door(text, engine, shell, capsys, tmp_path):
    engine.answers = ("",)  # nothing added: what comes out is what went in, without the marker
    one_marker = text.count("<cursor>") <= 1 and "<FILL_ME>" not in text
    for function in (fim_magic.infill, fim_magic.complete):
        said = through_python(function, text)
        said.check()
        if said.text is not None and one_marker:
            assert said.text == text.replace("<cursor>", "")
    file = tmp_path / "cell.py"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    for option in ("--diff", "--json"):
        through_cli(capsys, "infill", str(file), option, *SCRIPTED).check()
    through_cli(capsys, "infill", "-", *SCRIPTED, stdin=text).check()
    for magic in ("%%fim", "%%complete"):
        through_shell(shell, f"{magic} -m scripted -n 1 --accept\n{text}").check()
    assert file.read_bytes() == text.encode("utf-8", "surrogatepass")


# --- options --------------------------------------------------------------------------------------

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    str(10**30),
    "9" * 5000,
    "",
    "٣",
    "²",
    "1_0",
    "0x10",
    " ",
    "1.5",
    "\0",
]
OPTIONS = ["-n", "--max-new-tokens", "--lines", "--temperature", "--top-p", "--seed"]
WORDS = ["", "\0", "x" * 10_000, "\n", "none", "AUTO", "\u202e", "--", "[]", "{0}", "%s"]
WORD_OPTIONS = ["--method", "--order", "--quantize", "--family", "--engine"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_number_that_is_none_at_any_door(option, engine, shell, capsys, tmp_path):
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    for number in NUMBERS:
        given = f"{option}={number}" if option != "-n" else f"-n{number}"
        through_cli(capsys, "infill", str(file), *SCRIPTED, given).check()
        if "\0" not in number:
            through_shell(shell, f"%%fim -m scripted -n 1 {option} '{number}'\n{HOLE}").check()


VALUES = [
    float("nan"),
    float("inf"),
    -1,
    0,
    10**30,
    10**400,
    -(10**30),
    "",
    "3",
    "٣",
    True,
    [],
    {},
    1.5,
    2j,
    b"1",
    object(),
]


@pytest.mark.parametrize("name", ["candidates", "max_new_tokens", "lines", "temperature", "top_p", "seed"])
def test_a_value_that_makes_no_sense_in_python(name, engine):
    for value in VALUES:
        through_python(fim_magic.infill, HOLE, **{name: value}).check()


@pytest.mark.parametrize("name", ["method", "order", "quantize", "family", "engine", "markers", "context"])
def test_words_that_make_no_sense_in_python(name, engine):
    for value in [*WORDS, 1, [], {}, [""], [1], {"a"}, object(), ("<cursor>", 2)]:
        through_python(fim_magic.infill, HOLE, **{name: value}).check()


@pytest.mark.parametrize(
    "check",
    ["", "\0", "x" * 10_000, "(" * 10_000, "\ud83d", "\u202e", "%s {0}", 1, [1], object()],
    ids=lambda v: ascii(v)[:12],
)
def test_any_check(check, engine):
    through_python(fim_magic.infill, HOLE, check=check).check()


@pytest.mark.parametrize("option", WORD_OPTIONS)
def test_words_that_make_no_sense_at_any_door(option, engine, shell, capsys, tmp_path):
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    for word in WORDS:
        through_cli(capsys, "infill", str(file), *SCRIPTED, f"{option}={word}").check()
        if not set(word) & {"\0", "\n"}:
            through_shell(shell, f"%%fim -m scripted -n 1 {option} '{word}'\n{HOLE}").check()


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 1])
def test_every_seed_that_is_taken_can_be_sampled_with(seed, checkpoint, monkeypatch):
    models = ModelManager()
    engine = models.use(ModelSpec(str(checkpoint("qwen2")))).engine
    MODELS.adopt(engine)
    options = {"model": str(checkpoint("qwen2")), "seed": seed, "temperature": 0.7, "max_new_tokens": 2}
    assert fim_magic.infill("x = <cursor>", **options).seed == seed
    MODELS.unload()


@pytest.mark.parametrize("text", [None, 1, b"x = <cursor>", ["x"], {"a": 1}, True], ids=repr)
def test_what_is_no_text_is_refused(text, engine):
    for function in (fim_magic.infill, fim_magic.complete):
        through_python(function, text).check("has to be a str")


LINES = [
    "'",
    '"',
    "--check '",
    '--check "',
    "-n",
    "-n -n",
    "--into",
    "--into for",
    "--into x.y",
    "--hint nonsense",
    "--no-such",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cannot_be_read_is_told(line, engine, shell):
    for magic in ("%%fim", "%%complete"):
        said = through_shell(shell, f"{magic} -m scripted -n 1 {line}\n{HOLE}")
        said.check()
        assert said.error
    through_shell(shell, f"%fim use scripted --family {line}").check()


# --- commands of %fim -----------------------------------------------------------------------------

ARGUMENTS = [
    "",
    "0",
    "-1",
    "٣",
    "²",
    "9" * 5000,
    "1e3",
    "x" * 5000,
    "\u202e",
    "{0} %s",
    "1 2",
    "--no-imports --no-imports",
    "'",
    '"',
]
COMMANDS = ["", "status", "accept", "prompt", "log", "replay", "auto", "models", "unload", "nonsense"]


@pytest.mark.parametrize("answered", [False, True], ids=["new-session", "after-an-answer"])
@pytest.mark.parametrize("command", COMMANDS)
def test_any_argument_of_any_command(command, answered, engine, shell):
    if answered:
        through_shell(shell, f"%%fim -m scripted -n 1\n{HOLE}").check()
    for argument in ARGUMENTS:
        through_shell(shell, f"%fim {command} {argument}").check()


# --- models ---------------------------------------------------------------------------------------

MODELS_NAMED = {
    "empty": "",
    "blank": " ",
    "nul": "a\0b",
    "line-end": "a\nb",
    "long": "a" * 100_000,
    "long-with-slash": "a/" + "b" * 100_000,
    "above": "../..",
    "here": ".",
    "root": "/",
    "home-of-nobody": "~nobody-here/x",
    "home-alone": "~nobody-here",
    "url": "file:///etc/passwd",
    "hub-url": "https://huggingface.co/a/b",
    "three-parts": "a/b/c",
    "revision-missing": "owner/name@",
    "revision-alone": "@main",
    "revision-odd": "owner/name@../../x",
    "revisions": "owner/name@a@b",
    "revision-of-a-short-name": "qwen2.5-coder-0.5b@main",
    "half-a-character": "a\ud83d/b",
    "escape": "a\x1b[31m/b",
    "bidi": "owner/\u202ename",
    "device": "/dev/null",
    "device.gguf": "/dev/null.gguf",
    "dots": "owner/..",
    "option": "--model",
    "brackets": "{0}/%s",
    "backslashes": "..\\..\\x",
    "blanks": "owner /name ",
}


@pytest.mark.parametrize("name", MODELS_NAMED.values(), ids=MODELS_NAMED.keys())
def test_any_name_of_a_model_at_any_door(name, shell, capsys, tmp_path):
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    models = ModelManager()
    try:
        said = Said(text=fim_magic.infill(HOLE, model=name).text)
    except FimError as error:
        said = Said(str(error))
    said.check()
    assert said.error
    for command in (["infill", str(file), f"-m{name}"], ["fetch", "--", name], ["doctor", f"--model={name}"]):
        through_cli(capsys, *command, models=models).check()
    if not set(name) & {"\0", "\n", "\ud83d"}:
        through_shell(shell, f"%fim use {name}").check()
        through_shell(shell, f"%%fim --model '{name}'\n{HOLE}").check()


FOLDERS = {
    "deep-config": lambda folder: deep(folder / "config.json", '{"a": '),
    "deep-header": lambda folder: header(folder / "model.safetensors", b'{"a": ' + b"[" * 200_000),
    "deep-index": lambda folder: index_of(folder, '{"weight_map": ' + "[" * 100_000),
    "deep-adapter": lambda folder: adapter(folder, '{"base_model_name_or_path": ' + "[" * 100_000),
    "adapter-of-a-list": lambda folder: adapter(folder, "[]"),
    "adapter-of-numbers": lambda folder: adapter(folder, '{"base_model_name_or_path": 7}'),
    "config-of-a-list": lambda folder: (folder / "config.json").write_text("[]"),
    "config-of-nothing": lambda folder: (folder / "config.json").write_text("{}"),
    "config-of-wrong-kinds": lambda folder: change(folder, hidden_size="x", num_hidden_layers=[]),
    "config-of-huge-sizes": lambda folder: change(folder, vocab_size=10**30),
    "config-below-zero": lambda folder: change(folder, num_attention_heads=-1),
    "config-no-utf-8": lambda folder: (folder / "config.json").write_bytes(b'{"a": "\xff"}'),
    "config-a-folder": lambda folder: replace_by_folder(folder / "config.json"),
    "deep-generation-config": lambda folder: deep(folder / "generation_config.json", '{"a": '),
    "deep-tokenizer": lambda folder: deep(folder / "tokenizer.json", '{"a": '),
    "tokenizer-of-nothing": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "tokenizer-a-folder": lambda folder: replace_by_folder(folder / "tokenizer.json"),
    "deep-tokenizer-config": lambda folder: deep(folder / "tokenizer_config.json", '{"a": '),
    "tokenizer-that-panics": lambda folder: panicking(folder / "tokenizer.json"),
    "header-of-a-list": lambda folder: header(folder / "model.safetensors", b"[]"),
    "header-longer-than-the-file": lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64),
    "weights-empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "weights-a-folder": lambda folder: replace_by_folder(folder / "model.safetensors"),
    "weights-gone": lambda folder: (folder / "model.safetensors").unlink(),
    "index-of-numbers": lambda folder: index_of(folder, '{"weight_map": {"a": 1}}'),
    "index-of-a-list": lambda folder: index_of(folder, '{"weight_map": []}'),
}


def deep(path, opening):
    path.write_text(opening + "[" * 100_000)


def change(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def header(path, content):
    path.write_bytes(len(content).to_bytes(8, "little") + content)


def index_of(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)


def adapter(folder, content):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(content)


def panicking(path):
    """A pattern that backtracks without end on a long word, where the library's own search gives up with a panic."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(path))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.save(str(path))


@pytest.fixture(scope="module")
def whole_checkpoint(tmp_path_factory):
    return build("qwen2", tmp_path_factory.mktemp("whole") / "tiny")


@pytest.mark.parametrize("spoil", FOLDERS.values(), ids=FOLDERS.keys())
def test_any_broken_checkpoint_at_any_door(spoil, whole_checkpoint, shell, capsys, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    for file in whole_checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    spoil(folder)
    text = "x" * 3000 + " = <cursor>\n"
    file = tmp_path / "cell.py"
    file.write_text(text)
    models = ModelManager()
    through_cli(
        capsys, "infill", str(file), "-m", str(folder), "--max-new-tokens", "2", "-n", "1", models=models
    ).check()
    through_cli(capsys, "doctor", "-m", str(folder)).check()
    through_shell(shell, f"%%fim -m {folder} -n 1 --max-new-tokens 2\n{text}").check()
    MODELS.unload()


# --- the machine ----------------------------------------------------------------------------------


def test_a_cache_in_the_home_of_nobody_is_told(shell, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", "~nobody-here/x")
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    for command in (["infill", str(file)], ["fetch"], ["demo"]):
        through_cli(capsys, *command, models=ModelManager()).check("FIM_MAGIC_CACHE")
    report = through_cli(capsys, "doctor", models=ModelManager())  # which says it among all else
    assert "FIM_MAGIC_CACHE" in report.text
    report.check()
    through_cli(capsys, "models").check()  # which needs none
    for line in ("%fim models", "%fim doctor", "%fim use qwen2.5-coder-0.5b", "%fim"):
        through_shell(shell, line).check()


CACHES = {"a-file": lambda path: path.write_text(""), "read-only": lambda path: path.mkdir(0o500)}


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES.keys())
def test_a_cache_that_cannot_be_written_is_told(make, capsys, tmp_path, monkeypatch):
    make(tmp_path / "cache")
    if os.geteuid() == 0 and (tmp_path / "cache").is_dir():
        pytest.skip("this user may write everywhere")
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    gguf = write_gguf(tmp_path / "tiny.gguf").path
    for command in (["fetch", str(gguf)], ["fetch"], ["models"]):
        through_cli(capsys, *command, models=ModelManager()).check()


@contextlib.contextmanager
def files_of_at_most(size):
    """No file of this process grows beyond that: as on a disk that becomes full while it is written to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 5_000])
def test_a_disk_that_becomes_full_in_the_middle_of_a_conversion_leaves_nothing(size, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    gguf = write_gguf(tmp_path / "tiny.gguf").path
    with files_of_at_most(size):
        said = through_cli(capsys, "fetch", str(gguf), "--engine", "torch", models=ModelManager())
    said.check("The cache could not be written")
    assert "Make room" in said.error
    assert not list((tmp_path / "cache").glob("converted/*"))
    through_cli(capsys, "fetch", str(gguf), "--engine", "torch", models=ModelManager()).check()


def test_half_a_gigabyte_of_memory_is_told_to_be_too_little(tmp_path):
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    half = 512 * 2**20
    ran = subprocess.run(
        [sys.executable, "-m", "fim_magic.cli", "infill", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (half, half)),
        # With as many threads as usual: with one, another allocation is the first to fail, and torch ends the process.
        env={name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"} | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert ran.returncode == 1, ran
    assert "Traceback" not in ran.stderr
    assert "memory" in ran.stderr


@pytest.fixture
def folder_that_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    monkeypatch.setenv("FIM_MAGIC_CACHE", "a-relative-one")


WHERE_IT_IS_GONE = "The folder that this works in is gone"
EVERY_COMMAND = ["demo", "infill x.py", "infill -", "replay x.ipynb", "fetch", "models", "doctor", "doctor -m x.gguf"]
EVERY_COMMAND += ["serve", "eval", "bench"]


# torch's library ended the process, and with it a kernel.
def test_a_working_folder_that_is_gone_is_told(folder_that_is_gone, engine, shell, capsys, tmp_path):
    for command in EVERY_COMMAND:
        through_cli(capsys, *command.split(), stdin=HOLE).check(WHERE_IT_IS_GONE)
    through_shell(shell, f"%%fim -m scripted -n 1\n{HOLE}").check()  # what is loaded goes on
    assert through_shell(shell, "%fim models").text
    through_shell(shell, "%fim doctor").check(WHERE_IT_IS_GONE)  # of which the relative cache is a part
    MODELS.unload()
    shell.run_line_magic("reload_ext", "fim_magic")  # in which no model was chosen in vain
    with pytest.raises(FimError, match=WHERE_IT_IS_GONE):
        fim_magic.infill(HOLE)
    for line in (f"%%fim\n{HOLE}", f"%%complete\n{HOLE}", "%fim use qwen2.5-coder-0.5b", "%fim use ."):
        through_shell(shell, line).check(WHERE_IT_IS_GONE)


def test_torch_is_not_imported_where_it_would_end_the_process(tmp_path):
    program = "import os; os.rmdir(os.getcwd())\nfrom fim_magic.engines import memory\n"
    ran = subprocess.run(
        [sys.executable, "-c", f"{program}memory.free_memory()"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fim_magic.__file__).parents[1])},
        check=False,
    )
    assert WHERE_IT_IS_GONE in ran.stderr


# --- files ----------------------------------------------------------------------------------------


def test_files_that_are_none_at_the_command_line(engine, capsys, tmp_path):
    folder, unreadable = tmp_path / "folder.py", tmp_path / "unreadable.py"
    folder.mkdir()
    unreadable.write_text(HOLE)
    unreadable.chmod(0)
    loop = tmp_path / "loop.py"
    loop.symlink_to(loop)
    names = [folder, unreadable, loop, tmp_path / "missing", "", "\0", "a" * 5000, "\ud83d", "x\n", "/dev/null", "~"]
    for name in map(str, names):
        through_cli(capsys, "infill", name, *SCRIPTED).check()
        through_cli(capsys, "replay", name).check()


# --- the last net ---------------------------------------------------------------------------------


class PanicException(BaseException):
    """As a library in Rust raises it."""


ERRORS = {
    "runtime": RuntimeError("a\nb"),
    "panic": PanicException("called `Option::unwrap()` on a `None` value"),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "assertion": AssertionError(),
    "key": KeyError("x"),
    "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "escapes": ValueError("\x1b[31m" + "x" * 5000),
}
SYSTEM = {
    "memory": (MemoryError(), "not enough memory"),
    "map": (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
    "threads": (RuntimeError("can't start new thread"), "not enough memory"),
    "no-memory": (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
    "full": (OSError(errno.ENOSPC, "No space left on device", "/x"), "No space left on device: /x"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "/x"), "Read-only file system: /x"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_what_nobody_has_foreseen_is_a_paragraph_with_the_place_to_report_it(
    error, engine, shell, capsys, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    caplog.set_level(logging.INFO, "fim_magic")

    def fail(_step):
        raise error

    engine.before_step = fail
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    with pytest.raises(FaultError) as raised:
        fim_magic.infill(HOLE, model="scripted")
    assert raised.value.__cause__ is error
    traceback_text = "".join(traceback.format_exception(raised.value))
    assert plain_lines(traceback_text) == traceback_text
    texts = [
        str(raised.value),
        through_cli(capsys, "infill", str(file), *SCRIPTED).error,
        through_shell(shell, f"%%fim -m scripted -n 1\n{HOLE}").error,
    ]
    for text in texts:
        assert "Traceback" not in text
        assert "fault of fim-magic" in text
        assert text.rstrip().endswith(REPORT)
        assert type(error).__name__ in text
        assert len(text) < 1500
        (kept,) = re.findall(r"the file (\S+),", text)
        details = Path(kept).read_text("utf-8")
        assert "in fail" in details
        assert plain_lines(details) == details  # to be looked through, on a terminal too
        assert Path(kept).stat().st_mode & 0o077 == 0  # it may hold a line of the user's
    assert any(record.exc_info and record.levelno < logging.WARNING for record in caplog.records)
    engine.before_step = lambda _step: None
    through_shell(shell, f"%%fim -m scripted -n 1\n{HOLE}").check()


@pytest.mark.parametrize(("error", "told"), SYSTEM.values(), ids=SYSTEM.keys())
def test_what_the_system_refuses_is_told_for_what_it_is(error, told, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert told in str(in_words(error))
    assert REPORT not in str(in_words(error))
    assert not list(tmp_path.iterdir())


def test_without_a_folder_for_temporary_files_the_paragraph_comes_all_the_same(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    told = str(in_words(KeyError("x")))
    assert "the file" not in told
    assert told.endswith(REPORT)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_what_ends_a_program_is_no_failure(error, engine):
    assert not is_failure(error)

    def fail(_step):
        raise error

    engine.before_step = fail
    with pytest.raises(type(error)):
        fim_magic.infill(HOLE, model="scripted")


def test_the_end_of_the_program_goes_through_the_command_line(engine, tmp_path):
    def leave(_step):
        raise SystemExit(3)

    engine.before_step = leave
    file = tmp_path / "cell.py"
    file.write_text(HOLE)
    with pytest.raises(SystemExit):
        cli.main(["infill", str(file), *SCRIPTED])
