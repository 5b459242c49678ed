"""The magics, through a real IPython shell."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from scripted import ScriptedEngine, loaders_with
from shells import extended_shell, new_shell, quick_collections

from fim_magic import extension
from fim_magic.auto import AutoFill
from fim_magic.candidate import Ending
from fim_magic.errors import ModelError
from fim_magic.formats import FAMILIES
from fim_magic.loading.loaded import PendingLoad
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec

BODY = "def mean(xs):\n    <cursor>\n    return total / len(xs)"
ANSWER = "total = sum(xs)"
FILLED = "def mean(xs):\n    total = sum(xs)\n    return total / len(xs)"


class Outcome:
    def __init__(self, shell: InteractiveShell, cell: str) -> None:
        with capture_output() as captured:
            self.result = shell.run_cell(cell, store_history=True)
        self.outputs = captured.outputs
        self.out = captured.stdout
        self.error = captured.stderr
        self.payload = [p for p in shell.payload_manager.read_payload() if p["source"] == "set_next_input"]
        self.next_input = getattr(shell, "rl_next_input", None)
        shell.payload_manager.clear_payload()
        shell.rl_next_input = None


_quick = pytest.fixture(scope="module", autouse=True)(quick_collections)


@pytest.fixture
def shell(tmp_path):
    with extended_shell(tmp_path) as shell:
        yield shell


@pytest.fixture
def engine(shell):
    engine = ScriptedEngine(ANSWER)
    MODELS.adopt(engine)
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    yield engine
    MODELS.unload()


class AnyModels(ModelManager):
    """Has an engine that answers for every spec, whatever its name, and keeps what it is asked to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = []

    def begin(self, spec, _on_progress, **_):
        self.begun.append((spec.name, {name: getattr(spec, name) for name in loading()}))
        if spec.name == "broken":
            raise ModelError("This model is broken.")
        return PendingLoad(spec, spec.name, NOTICES.get(spec.name, ())[:1])

    def use(self, spec, _on_progress):
        engine = ScriptedEngine(ANSWER)
        engine.info = replace(engine.info, model=spec.name)
        return replace(self.adopt(engine), notices=NOTICES.get(spec.name, ()))


@pytest.fixture
def uses(shell):
    """What the session's manager is asked to load."""
    models = session_of(shell).models = AnyModels()
    return models.begun


NOTICES = {"gpl": ("Its licence forbids this.", "And that."), "pickled": ("Its weights are a pickle.",)}


def loading(quantize=None, family=None, allow_code=False, engine=None):
    return {"quantize": quantize, "family": family, "engine": engine, "allow_code": allow_code}


class Slow:
    """Loading ends when the test says so, with an engine that answers."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.fails: Exception | None = None
        self.loads = 0
        self.models = ModelManager(loaders_with(load=self._load))

    def _load(self, ready, _on_progress):
        self.loads += 1
        self.began.set()
        assert self.may_end.wait(60)
        if self.fails is not None:
            raise self.fails
        engine = ScriptedEngine(ANSWER)
        engine.info = replace(engine.info, model=ready.source.name)
        return engine


@pytest.fixture
def slowly():
    slow = Slow()
    yield slow
    slow.may_end.set()
    slow.models.unload()


@pytest.fixture
def slow(shell, slowly):
    """The session's models are loaded slowly."""
    session_of(shell).models = slowly.models
    return slowly


def session_of(shell):
    return shell.magics_manager.registry["FimMagics"].session


def settled():
    """Wait until nothing is being loaded."""
    for thread in threading.enumerate():
        if thread.name.startswith("fim-magic loads"):
            thread.join(60)


WAIT_FOR_THE_FIRST_REQUEST = {
    *("anywidget", "asyncio", "huggingface_hub", "ipywidgets", "jinja2", "llama_cpp", "numpy", "psutil", "pygments"),
    *("requests", "rich", "safetensors", "ssl", "subprocess", "tokenizers", "torch", "transformers", "uuid"),
    *("xllamacpp", "fim_magic.catalog", "fim_magic.loading.manager", "fim_magic.formats", "fim_magic.request"),
    *("fim_magic.generation", "fim_magic.pipeline", "fim_magic.selection"),
    *("fim_magic.review", "fim_magic.tokenization", "fim_magic.trimming"),
}


@pytest.fixture(scope="module")
def imported_by_load_ext(tmp_path_factory):
    """What `%load_ext` imports in a fresh process that has made a shell, and so has all that IPython needs."""
    script = (
        "from IPython.core.interactiveshell import InteractiveShell as S; import sys; s = S.instance();"
        "had = set(sys.modules); s.run_line_magic('load_ext', 'fim_magic');"
        "print(*(set(sys.modules) - had))"
    )
    # No configuration of the user's: with a default model of theirs, %load_ext begins to load it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIM_MAGIC_")}
    environment["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_load_ext_imports_nothing_that_the_first_request_can_import(imported_by_load_ext):
    assert "fim_magic.magics" in imported_by_load_ext
    assert not imported_by_load_ext & WAIT_FOR_THE_FIRST_REQUEST


def test_load_ext_imports_little_beside_fim_magic(imported_by_load_ext):
    others = sorted(name for name in imported_by_load_ext if name.partition(".")[0] != "fim_magic")
    assert len(others) <= 10, others  # IPython's magic_arguments, and locale for argparse's help


def test_fim_fills_the_hole_and_keeps_the_result(shell, engine):
    outcome = Outcome(shell, f"%%fim --into filled\n{BODY}")
    assert outcome.result.success
    assert shell.user_ns["filled"].text == FILLED
    assert ANSWER in outcome.out


def test_the_prompt_is_built_from_what_stands_around_the_marker(shell, engine):
    Outcome(shell, f"%%fim\n{BODY}")
    decoded = engine.tokenizer.decode(engine.prompts[0])
    # The indentation before the marker is not in it: it is generated again.
    assert decoded == ("<|fim_prefix|>def mean(xs):\n<|fim_suffix|>\n    return total / len(xs)<|fim_middle|>")


@pytest.mark.parametrize(
    "body",
    [
        "x = {'a': <cursor>}\n!echo {x} $HOME\n%timeit -n1 f(x)",
        ">>> <cursor>\n>>> y = 2",
        "   <cursor>  \n\n\n",
        "\\<cursor>\\n \\",
        "print('€ 🙂 游標', <游標在這>)",
        "%%bash\necho <cursor> | cat",
        "<cursor>",
        "f(<|fim_middle|>, <cursor>)",
        "?<cursor>?",
        "\t<cursor>\t# {braces} {{}} $x %s",
    ],
)
def test_the_body_survives_byte_for_byte(shell, engine, body):
    engine.answers = ("",)
    Outcome(shell, f"%%fim --into kept\n{body}")
    marker = "<游標在這>" if "游標在這" in body else "<cursor>"
    assert shell.user_ns["kept"].text == body.replace(marker, "")


def test_a_cell_that_code_runs_is_not_mistaken_for_the_typed_one(shell, engine):
    Outcome(shell, f"get_ipython().run_cell_magic('fim', '--into x', {BODY!r})")
    assert shell.user_ns["x"].text == FILLED


def test_complete_needs_no_marker_and_hides_what_follows_it(shell, engine):
    Outcome(shell, "%%complete --into plain\ndef mean(xs):\n    ")
    assert shell.user_ns["plain"].text == f"def mean(xs):\n    {ANSWER}"
    Outcome(shell, f"%%complete --into marked --context none\n{BODY}")
    assert engine.tokenizer.decode(engine.prompts[1]) == "def mean(xs):\n"  # without what is generated again
    assert shell.user_ns["marked"].text == FILLED


def test_accept_puts_the_text_into_the_next_cell(shell, engine):
    outcome = Outcome(shell, f"%%fim --accept\n{BODY}")
    texts = [p["text"] for p in outcome.payload] or [outcome.next_input]
    assert texts == [FILLED]


def test_without_accept_nothing_is_put_anywhere(shell, engine):
    outcome = Outcome(shell, f"%%fim\n{BODY}")
    assert outcome.payload == []
    assert outcome.next_input is None


def test_fim_accept_takes_the_candidate_that_is_asked_for(shell, engine):
    engine.answers = ("total = 1", "total = 2")
    Outcome(shell, f"%%fim -n 2\n{BODY}")
    outcome = Outcome(shell, "%fim accept 2")
    texts = [p["text"] for p in outcome.payload] or [outcome.next_input]
    assert texts == [FILLED.replace("sum(xs)", "2")]


def test_an_import_that_is_missing_is_a_part_of_what_is_accepted(shell, engine):
    engine.answers = ("total = Counter(xs)",)
    Outcome(shell, f"%%fim --into counted\n{BODY}")
    whole = FILLED.replace("sum(xs)", "Counter(xs)")
    assert shell.user_ns["counted"].text == f"from collections import Counter\n{whole}"
    assert shell.user_ns["counted"].middle == "total = Counter(xs)"
    for line, text in (("", f"from collections import Counter\n{whole}"), (" 1 --no-imports", whole)):
        outcome = Outcome(shell, f"%fim accept{line}")
        assert ([p["text"] for p in outcome.payload] or [outcome.next_input]) == [text]
    outcome = Outcome(shell, f"%%fim --accept\nfrom collections import Counter\n{BODY}")
    assert ([p["text"] for p in outcome.payload] or [outcome.next_input]) == [
        f"from collections import Counter\n{whole}"
    ]


def test_show_prompt_runs_nothing(shell, engine):
    outcome = Outcome(shell, f"%%fim --show-prompt\n{BODY}")
    assert engine.prompts == []
    assert "Prompt scripted (test), Qwen2.5-Coder\ntokens       44: 3 sentinels, 14 prefix, 27 suffix" in outcome.out
    assert "sentinel     <|fim_prefix|>\n             259\n" in outcome.out
    assert "prefix       d  e  f  ␣   m  e  a  n  ( x  s  ) :  ⏎\n14 tokens    67 68 69 220" in outcome.out
    assert "SPM          the vendor documents none" in outcome.out


def test_fim_prompt_shows_the_last_prompt_whatever_is_loaded_now(shell, engine):
    shown = Outcome(shell, f"%%fim --show-prompt\n{BODY}").out
    Outcome(shell, f"%%fim\n{BODY}")
    MODELS.unload()
    outcome = Outcome(shell, "%fim prompt")
    assert outcome.result.success
    assert outcome.out == shown
    assert MODELS.loaded is None


def test_fim_prompt_shows_the_prompt_of_a_request_that_failed(shell, engine):
    engine.generate = lambda *_args, **_kwargs: (_ for _ in ()).throw(ModelError("out of memory"))
    Outcome(shell, f"%%fim\n{BODY}")
    assert "<|fim_middle|>" in Outcome(shell, "%fim prompt").out


@pytest.mark.parametrize(
    ("family", "shown"),
    [
        ("StarCoder2", ["PSM, 48 tokens", "SPM, 48 tokens, for comparison"]),
        ("Qwen2.5-Coder", ["PSM, 44 tokens", "SPM          the vendor documents none"]),
        ("Seed-Coder", ["SPM, 48 tokens", "PSM          the vendor documents none"]),
    ],
)
def test_the_prompt_stands_beside_the_other_order_where_there_is_one(shell, family, shown):
    row = next(row for row in FAMILIES if row.name == family)
    tokens = dict.fromkeys((*row.stop, *row.sentinels()))
    engine = ScriptedEngine(ANSWER, family=replace(row, stop=tuple(tokens)))
    MODELS.adopt(engine)
    out = Outcome(shell, f"%%fim --show-prompt\n{BODY}").out
    assert all(words in out for words in shown)


def test_the_prompt_of_a_completion_has_no_other_order(shell, engine):
    out = Outcome(shell, f"%%complete --show-prompt\n{BODY}").out
    assert "order        left to right" in out
    assert "Left to right, 14 tokens" in out
    assert "SPM" not in out


@pytest.mark.parametrize(
    ("line", "name", "how"),
    [
        ("starcoder2-3b", "starcoder2-3b", {}),
        ("owner/name@0123abc --quantize 4BIT", "owner/name@0123abc", {"quantize": "4bit"}),
        ("--quantize=8bit owner/name", "owner/name", {"quantize": "8bit"}),
        ("owner/name@0123abc --allow-code", "owner/name@0123abc", {"allow_code": True}),
        ('x --family "granite code" --quantize none', "x", {"family": "Granite Code"}),
        ("a/model.gguf --engine GGUF", "a/model.gguf", {"engine": "gguf"}),
        ("my folder/a  model", "my folder/a  model", {}),
        ('"my folder/x" --family mellum', "my folder/x", {"family": "Mellum"}),
        ("--family mellum 'my folder/x'", "my folder/x", {"family": "Mellum"}),
        ("Bob's models/x   --quantize 4bit", "Bob's models/x", {"quantize": "4bit"}),
        (r"C:\models\new", r"C:\models\new", {}),
        ("a--b", "a--b", {}),
    ],
)
def test_fim_use_loads_as_it_is_told(shell, uses, line, name, how):
    outcome = Outcome(shell, f"%fim use {line}")
    assert outcome.result.success, outcome.error
    assert uses == [(name, loading(**how))]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_options_of_cells_may_have_blanks_in_quotes(shell, uses, quote):
    Outcome(shell, f"%%fim --model {quote}my folder/x{quote} --family {quote}Granite Code{quote}\n{BODY}")
    assert uses == [("my folder/x", loading(family="Granite Code"))]


def test_cells_load_as_fim_use_was_told_for_that_model(shell, uses):
    Outcome(shell, "%fim use owner/name@0123abc --quantize 4bit --family Mellum --allow-code")
    Outcome(shell, f"%%fim\n{BODY}")
    Outcome(shell, f"%%fim --quantize 8bit\n{BODY}")
    Outcome(shell, f"%%fim --quantize none --family auto\n{BODY}")
    Outcome(shell, f"%%complete --model other\n{BODY}")
    Outcome(shell, f"%%complete --model owner/name@0123abc\n{BODY}")
    assert uses[1:] == [
        ("owner/name@0123abc", loading("4bit", "Mellum", True)),
        ("owner/name@0123abc", loading("8bit", "Mellum", True)),
        ("owner/name@0123abc", loading(None, None, True)),
        ("other", loading()),
        ("owner/name@0123abc", loading("4bit", "Mellum", True)),
    ]


def test_another_fim_use_forgets_the_options_of_the_first(shell, uses):
    Outcome(shell, "%fim use first --quantize 4bit --family Mellum --allow-code")
    Outcome(shell, "%fim use first")
    Outcome(shell, f"%%fim\n{BODY}")
    assert uses[1:] == [("first", loading()), ("first", loading())]


def test_options_of_loading_are_configured_like_others(shell, uses):
    shell.run_line_magic("config", "FimMagics.quantize = '8bit'")
    Outcome(shell, "%fim use first")
    Outcome(shell, f"%%fim --family Mellum\n{BODY}")
    assert uses == [("first", loading("8bit")), ("first", loading("8bit", "Mellum"))]


def test_a_fim_use_that_fails_changes_nothing(shell, uses):
    Outcome(shell, "%fim use first --quantize 4bit")
    assert Outcome(shell, "%fim use broken --quantize 8bit").error == "UsageError: This model is broken.\n"
    Outcome(shell, f"%%fim\n{BODY}")
    assert uses[2:] == [("first", loading("4bit"))]


def test_what_there_is_to_know_about_a_model_is_said_once(shell, uses):
    told = "gpl is being loaded. You can go on; the next %%fim waits for it.\nIts licence forbids this.\n"
    assert Outcome(shell, "%fim use gpl").out == told
    first = Outcome(shell, f"%%fim\n{BODY}").out
    assert first.startswith("And that.\n")  # what is known only when it is there
    assert "licence" not in first
    assert "And that" not in Outcome(shell, f"%%fim\n{BODY}").out
    assert Outcome(shell, f"%%fim --model pickled\n{BODY}").out.startswith("Its weights are a pickle.\n")
    assert "Its weights" not in Outcome(shell, f"%%fim --model pickled\n{BODY}").out
    assert Outcome(shell, "%fim use gpl").out == told
    assert Outcome(shell, "%fim use gpl").out == told  # who chooses it again is told again


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%%fim\nx = 1", "no cursor marker"),
        ("%%fim\n<cursor>█", "2 different cursor markers"),
        ("%%fim\n<cursor><cursor>", "Two cursor markers have nothing between them"),
        ("%%fim -n 0\n<cursor>", "--candidates is auto, or from 1 to 64"),
        ("%%fim --temperature -1\n<cursor>", "--temperature is 0 (greedy), or from"),
        ("%%fim --top-p 0\n<cursor>", "--top-p is above 0"),
        ("%%fim --order psmm\n<cursor>", "--order is one of"),
        ("%%fim --max-new-tokens 0\n<cursor>", "--max-new-tokens is at least 1"),
        ("%%fim --max-new-tokens 4096\n<cursor>", "leaves no room"),
        ("%%fim --into 1x\n<cursor>", "--into needs the name of a variable"),
        ("%%fim --nonsense\n<cursor>", "unrecognized arguments"),
        ("%%fim --model qwen2.5-coder-05b\n<cursor>", "Did you mean qwen2.5-coder-0.5b"),
        ("%fim nonsense", "There is no %fim nonsense"),
        ("%%fim --quantize 5bit\n<cursor>", "--quantize is one of none, 8bit, 4bit"),
        ("%%fim --family Mellow\n<cursor>", "--family is one of auto, "),
        ("%fim use", "needs a model's name"),
        ("%fim use --allow-code", "needs a model's name"),
        ("%fim use x --quantize 5bit", "--quantize is one of none, 8bit, 4bit"),
        ("%fim use x --quantize", "expected one argument"),
        ("%fim use x --family Mellow", "--family is one of auto, "),
        ("%fim use x --nonsense", "unrecognized arguments: --nonsense"),
        ("%fim accept", "no answer to accept yet"),
        ("%fim prompt", "no prompt to show yet"),
    ],
    ids=lambda value: value.split("\n")[0],
)
def test_bad_input_is_one_paragraph_without_a_traceback(shell, engine, cell, told):
    outcome = Outcome(shell, cell)
    assert not outcome.result.success
    shown = outcome.out + outcome.error
    assert told in shown
    assert "Traceback" not in shown


def test_accept_with_a_number_that_is_none_is_an_error(shell, engine):
    Outcome(shell, f"%%fim\n{BODY}")
    for which in ("2", "0", "x"):
        assert "takes a candidate's number" in Outcome(shell, f"%fim accept {which}").error


def test_a_model_without_fim_tokens_is_refused_by_fim_and_completes(shell, engine):
    engine.family = replace(engine.family, name="llama", psm=None)
    outcome = Outcome(shell, f"%%fim\n{BODY}")
    assert "%%complete" in outcome.error + outcome.out
    assert "%fim use qwen2.5-coder-0.5b" in outcome.error + outcome.out
    assert Outcome(shell, f"%%complete\n{BODY}").result.success


def test_interrupt_keeps_the_partial_text_and_the_kernel(shell, engine):
    def interrupt_at(step: int) -> None:
        if step == len("    tota"):
            os.kill(os.getpid(), signal.SIGINT)

    engine.before_step = interrupt_at
    outcome = Outcome(shell, f"%%fim --into partial\n{BODY}")
    assert outcome.result.success
    partial = shell.user_ns["partial"].candidates[0]
    assert partial.ending is Ending.INTERRUPTED
    assert partial.middle == "total"
    assert "interrupted" in outcome.out
    engine.before_step = lambda _step: None
    assert Outcome(shell, f"%%fim --into whole\n{BODY}").result.success
    assert shell.user_ns["whole"].text == FILLED


@pytest.mark.parametrize("step", [0, len("    total")])
def test_a_failure_on_the_way_is_one_paragraph_and_the_next_cell_works(shell, engine, step):
    def fail_at(now):
        if now == step:
            raise ModelError("The GPU has no memory left. Type %fim use with a smaller model.")

    engine.before_step = fail_at
    shell.user_ns["kept"] = before = object()
    outcome = Outcome(shell, f"%%fim --into kept\n{BODY}")
    assert not outcome.result.success
    assert outcome.error == "UsageError: The GPU has no memory left. Type %fim use with a smaller model.\n"
    assert "Traceback" not in outcome.out
    assert ("+     total\n" in outcome.out) is (step > 0)  # the partial answer
    assert "      return total / len(xs)" in outcome.out
    assert "scripted · it was stopped before it was done" in outcome.out
    assert shell.user_ns["kept"] is before
    engine.before_step = lambda _step: None
    assert Outcome(shell, f"%%fim --into kept\n{BODY}").result.success
    assert shell.user_ns["kept"].text == FILLED


@pytest.mark.parametrize("error", [ModelError, KeyboardInterrupt])
def test_a_request_that_failed_holds_no_memory(shell, engine, error):
    kept = []
    start = engine.generate

    def start_and_watch(*args, **kwargs):
        generation = start(*args, **kwargs)
        kept.append(weakref.ref(generation))  # it has the KV cache
        return generation

    def fail(_step):
        raise error("no memory left") from RuntimeError("as the allocator says it")

    engine.generate, engine.before_step = start_and_watch, fail
    outcome = Outcome(shell, f"%%fim\n{BODY}")
    assert outcome.error.startswith("UsageError: ")
    gc.collect()
    assert outcome.result.error_in_exec is not None  # as the shell keeps it
    assert kept[0]() is None


def test_a_second_fim_while_one_runs_is_refused(shell, engine):
    import threading

    from fim_magic import infill
    from fim_magic.errors import BusyError

    began = threading.Event()
    engine.may_go_on.clear()
    engine.before_step = lambda _step: None
    start = engine.generate

    def start_and_tell(*args, **kwargs):
        began.set()
        return start(*args, **kwargs)

    engine.generate = start_and_tell
    errors = []
    thread = threading.Thread(target=infill, args=(BODY,), kwargs={"model": "scripted"})
    thread.start()
    began.wait()
    try:
        outcome = Outcome(shell, f"%%fim\n{BODY}")
        assert "busy with another request" in outcome.error + outcome.out
        with pytest.raises(BusyError):
            infill(BODY, model="scripted", wait_seconds=0)
    finally:
        engine.may_go_on.set()
        thread.join()
    assert errors == []
    assert Outcome(shell, f"%%fim\n{BODY}").result.success


def test_status_unload_and_models(shell, engine):
    assert "scripted (test)" in Outcome(shell, "%fim").out
    assert "qwen2.5-coder-0.5b" in Outcome(shell, "%fim models").out
    starcoders = Outcome(shell, "%fim models starcoder2").out
    assert "starcoder2-3b" in starcoders
    assert "qwen2.5-coder-0.5b" not in starcoders
    assert Outcome(shell, "%fim unload").out == "The model is unloaded.\n"
    assert Outcome(shell, "%fim unload").out == "No model was loaded.\n"
    assert MODELS.loaded is None


def test_help_is_the_manual(shell):
    from fim_magic.settings import Settings, options_of

    manual = shell.find_cell_magic("fim").__doc__
    for option in options_of(Settings).values():
        assert option.flags[-1] in manual
    assert "<cursor>" in manual


def test_environment_and_config_set_defaults(shell, engine, monkeypatch):
    shell.run_line_magic("config", "FimMagics.max_new_tokens = 3")
    Outcome(shell, f"%%fim --into short\n{BODY}")
    assert shell.user_ns["short"].middle == "tot"
    Outcome(shell, f"%%fim --max-new-tokens 5 --into longer\n{BODY}")
    assert shell.user_ns["longer"].middle == "total"


def test_markers_of_the_users_own(shell, engine):
    shell.run_line_magic("config", "FimMagics.markers = ['▮']")
    Outcome(shell, "%%fim --into mine\nx = <cursor>; ▮")
    assert shell.user_ns["mine"].text == f"x = <cursor>; {ANSWER}"


# --- loading in the background -------------------------------------------------------------------


def test_fim_use_returns_while_the_model_loads_and_the_next_cell_waits_for_it(shell, slow, checkpoint):
    folder = str(checkpoint("qwen2"))
    outcome = Outcome(shell, f"%fim use {folder}")
    assert outcome.out == f"{folder} is being loaded. You can go on; the next %%fim waits for it.\n"
    assert slow.models.loaded is None
    told = Outcome(shell, "%fim").out
    assert re.search(rf"Model     loading {folder}, \d+ s so far; the next %%fim waits for it", told)
    threading.Timer(0.05, slow.may_end.set).start()
    waited = Outcome(shell, f"%%fim --into filled\n{BODY}")
    assert waited.result.success
    assert f"Loading {folder} ..." in waited.error
    assert shell.user_ns["filled"].text == FILLED
    assert slow.loads == 1
    assert Outcome(shell, f"%fim use {folder}").out == f"{folder} is loaded on cpu, scripted.\n"


def test_stopping_a_cell_that_waits_leaves_the_load_as_it_is(shell, slow, checkpoint):
    folder = str(checkpoint("qwen2"))
    Outcome(shell, f"%fim use {folder}")
    assert slow.began.wait(60)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    stopped = Outcome(shell, f"%%fim\n{BODY}")
    assert not stopped.result.success
    assert f"Interrupted. {folder} goes on loading" in stopped.error
    assert "%fim unload" in stopped.error
    slow.may_end.set()
    assert Outcome(shell, f"%%fim\n{BODY}").result.success
    assert slow.loads == 1


def test_a_first_cell_that_loads_by_itself_can_be_stopped_in_the_same_way(shell, slow, checkpoint):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    stopped = Outcome(shell, f"%%fim --model {checkpoint('qwen2')}\n{BODY}")
    assert "goes on loading" in stopped.error
    slow.may_end.set()
    assert Outcome(shell, f"%%fim --model {checkpoint('qwen2')}\n{BODY}").result.success
    assert slow.loads == 1


def test_what_went_wrong_in_the_background_is_told_once_in_words(shell, slow, checkpoint):
    slow.fails = ModelError("It is damaged. Type %fim use qwen2.5-coder-0.5b.")
    slow.may_end.set()
    assert Outcome(shell, f"%fim use {checkpoint('qwen2')}").result.success
    settled()
    assert "could not be loaded: It is damaged." in Outcome(shell, "%fim").out
    failed = Outcome(shell, f"%%fim\n{BODY}")
    assert failed.error == "UsageError: It is damaged. Type %fim use qwen2.5-coder-0.5b.\n"
    assert "Traceback" not in failed.out
    slow.fails = None
    assert Outcome(shell, f"%%fim\n{BODY}").result.success


def test_choosing_another_while_one_loads(shell, slow, checkpoint):
    first, second = checkpoint("qwen2"), checkpoint("starcoder")
    Outcome(shell, f"%fim use {first}")
    assert slow.began.wait(60)
    threading.Timer(0.05, slow.may_end.set).start()
    outcome = Outcome(shell, f"%fim use {second}")
    assert outcome.out == f"{second} is being loaded. You can go on; the next %%fim waits for it.\n"
    assert Outcome(shell, f"%%fim --into filled\n{BODY}").result.success
    assert shell.user_ns["filled"].model == str(second)


def test_a_choice_that_is_refused_leaves_the_one_that_loads(shell, slow, checkpoint):
    folder = str(checkpoint("qwen2"))
    Outcome(shell, f"%fim use {folder}")
    assert "Did you mean starcoder2-3b" in Outcome(shell, "%fim use starcoder2-3").error
    assert slow.models.loading.name == folder


def test_fim_unload_stops_a_load(shell, slow, checkpoint):
    folder = str(checkpoint("qwen2"))
    Outcome(shell, f"%fim use {folder}")
    assert slow.began.wait(60)
    assert Outcome(shell, "%fim unload").out.startswith(f"{folder} is not loaded any further.")
    assert "No model is loaded" in Outcome(shell, "%fim").out
    slow.may_end.set()
    settled()
    assert slow.models.loaded is None


def test_in_a_notebook_the_cell_that_chose_says_that_it_is_loaded_and_the_answer_has_its_cell_for_itself(checkpoint):
    """A real kernel, with a model that knows nothing."""
    sources = ["%load_ext fim_magic", f"%fim use {checkpoint('qwen2')}", f"%%fim --max-new-tokens 2\n{BODY}", "%fim"]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    _, use, fim, status = (cell.outputs for cell in notebook.cells)
    assert len(use) == 1
    assert re.search(r"qwen2 is loaded on cpu, .*, in \d+\.\d s\.", use[0].data["text/plain"])
    assert len(fim) == 1
    assert "fim_magic" in fim[0].metadata
    assert "cpu, float32" in status[0].text


# --- a configured model --------------------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch, tmp_path, slowly):
    """`configured(**config)` is a shell with that configuration, and with the extension loaded."""

    def make(**config):
        shell = new_shell(monkeypatch, tmp_path, **config)
        extension.load(shell, slowly.models)
        return shell

    yield make
    if InteractiveShell.initialized():
        extension.unload(InteractiveShell.instance())
    InteractiveShell.clear_instance()


def test_load_ext_begins_to_load_a_configured_model(configured, slowly, checkpoint):
    folder = str(checkpoint("qwen2"))
    shell = configured(model=folder)
    assert slowly.began.wait(60)
    assert slowly.models.loading.name == folder
    slowly.may_end.set()
    assert Outcome(shell, f"%%fim\n{BODY}").result.success
    assert slowly.loads == 1


def test_load_ext_begins_to_load_the_environments_model(configured, slowly, checkpoint, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_MODEL", str(checkpoint("qwen2")))
    configured()
    assert slowly.began.wait(60)


@pytest.mark.parametrize("config", [{}, {"model": "auto"}, {"quantize": "4bit"}])
def test_load_ext_loads_nothing_that_was_not_configured(configured, slowly, config):
    configured(**config)
    assert slowly.models.loading is None
    settled()
    assert slowly.loads == 0


def test_options_that_cannot_be_do_not_keep_the_extension_from_loading(configured, slowly, checkpoint):
    shell = configured(model=str(checkpoint("qwen2")), quantize="5bit")
    assert slowly.models.loading is None
    assert "FimMagics.quantize is one of" in Outcome(shell, f"%%fim\n{BODY}").error


def test_load_ext_with_a_configured_model_imports_torch_only_in_the_background(tmp_path):
    script = (
        "import sys, threading\n"
        "from IPython.core.interactiveshell import InteractiveShell as S\n"
        "s = S.instance()\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'transformers') and threading.current_thread() is threading.main_thread():\n"
        "            print('foreground', name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "s.run_line_magic('load_ext', 'fim_magic')\n"
        "from fim_magic.loading.manager import MODELS\n"
        "assert MODELS.loading is not None\n"
    )
    environment = os.environ | {"FIM_MAGIC_MODEL": str(tmp_path), "FIM_MAGIC_CACHE": str(tmp_path)}
    (tmp_path / "config.json").write_text("{}")
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "")


# --- idle ----------------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_and_the_next_cell_loads_it_again(shell, slow, checkpoint):
    slow.may_end.set()
    magics = shell.magics_manager.registry["FimMagics"]
    folder = str(checkpoint("qwen2"))
    Outcome(shell, f"%%fim --model {folder}\n{BODY}")
    assert magics.session.rest() is True  # as the timer does
    assert slow.models.loaded is None
    told = Outcome(shell, "%fim").out
    assert f"{folder}, unloaded after 30 idle minutes" in told
    assert "the next %%fim loads it again" in told
    assert Outcome(shell, f"%%fim --into filled\n{BODY}").result.success
    assert shell.user_ns["filled"].model == folder


def test_a_model_that_python_has_used_since_is_not_idle(shell, slow, checkpoint):
    slow.may_end.set()
    magics = shell.magics_manager.registry["FimMagics"]
    folder = str(checkpoint("qwen2"))
    Outcome(shell, f"%%fim --model {folder}\n{BODY}")
    slow.models.use(ModelSpec.of(folder))  # as infill() does
    assert magics.session.rest() is False
    assert slow.models.loaded is not None
    assert magics.session.rest() is True


def test_a_model_is_never_idle_during_a_request(shell, engine):
    magics = shell.magics_manager.registry["FimMagics"]
    rested = []
    engine.before_step = lambda _step: rested.append((magics.session._idle._users, magics.session.rest()))
    Outcome(shell, f"%%fim\n{BODY}")
    assert set(rested) == {(1, False)}
    assert MODELS.loaded.engine is engine


def test_idle_minutes_can_be_set(shell):
    magics = shell.magics_manager.registry["FimMagics"]
    assert magics.session._idle._seconds == 1800
    shell.run_line_magic("config", "FimMagics.idle_minutes = 5")
    assert magics.session._idle._seconds == 300
    assert "idle_minutes" in Outcome(shell, "%config FimMagics").out


def test_unload_ext_takes_everything_away(shell, engine):
    shell.run_line_magic("unload_ext", "fim_magic")
    assert shell.find_cell_magic("fim") is None
    assert shell.find_line_magic("fim") is None
    assert MODELS.loaded is None
    shell.run_line_magic("load_ext", "fim_magic")
    assert shell.find_cell_magic("fim") is not None


# --- the log, replay, auto, hints ------------------------------------------------------------------


def test_one_line_stands_below_a_diff_and_for_learners_all_there_is(shell, engine):
    engine.answers = (ANSWER,)
    below = Outcome(shell, f"%%fim\n{BODY}").out.partition("\n\n")[2]
    assert re.fullmatch(r"scripted · \d\.\d s · parses, names known\n", below)
    told = Outcome(shell, "%fim log 1").out
    assert re.search(r"^Model +scripted", told)
    assert re.search(r"^Ending +ended by itself$", told, re.MULTILINE)
    assert re.search(r"^Checks +2 of 2 passed\n +passed: parses\n +passed: names$", told, re.MULTILINE)
    assert "none of them" in Outcome(shell, "%fim log 2").error
    shell.run_line_magic("config", "FimMagics.details = 'full'")
    line, _, rest = Outcome(shell, f"%%fim\n{BODY}").out.partition("\n\n")[2].partition("\n")
    assert line.startswith("scripted · ")
    assert re.sub(r"\d+\.\d", "", rest) == re.sub(r"\d+\.\d", "", Outcome(shell, "%fim log 2").out)


def test_fim_log_lists_what_was_filled(shell, engine):
    assert "Nothing was filled" in Outcome(shell, "%fim log").out
    Outcome(shell, f"%%fim\n{BODY}")
    Outcome(shell, "%%complete\nx = ")
    lines = Outcome(shell, "%fim log").out.splitlines()
    assert [line.split()[0] for line in lines] == ["time", "1", "2"]
    assert "def mean(xs): …" in lines[1]
    assert "left to right" in lines[2]


def test_fim_replay_makes_a_request_again_with_its_seed(shell, engine):
    Outcome(shell, f"%%fim -n 2 --seed 5 --temperature 0.7\n{BODY}")
    Outcome(shell, "%%fim -n 1\nother = <cursor>")
    outcome = Outcome(shell, "%fim replay 1")
    assert outcome.result.success, outcome.error
    assert engine.prompts[2] == engine.prompts[0]
    assert "The same answer as before" in outcome.out  # both said the same
    engine.answers = ("total = 0",)
    assert "differs from character 9 on" in Outcome(shell, "%fim replay 2").out
    assert "1 to 4" in Outcome(shell, "%fim replay 9").error


def test_another_answer_is_what_fim_accept_counts_on(shell, engine):
    magics = shell.magics_manager.registry["FimMagics"]
    Outcome(shell, f"%%fim\n{BODY}")
    request = magics.session.history.entries[0].request
    assert request.again().sampling.temperature == 0.8
    assert request.again().sampling.seed != request.again().sampling.seed


@pytest.mark.parametrize("body", [BODY, f">>> x\n{BODY}\n\n", "  <游標在這>", "!ls\n%pwd\n<cursor> {x} $y"])
def test_fim_auto_fills_what_holds_a_marker(shell, engine, body):
    assert "filled without %%fim" in Outcome(shell, "%fim auto on").out
    outcome = Outcome(shell, body)
    assert outcome.result.success
    assert ANSWER in outcome.out
    magics = shell.magics_manager.registry["FimMagics"]
    marker = "<游標在這>" if "游標" in body else "<cursor>"
    assert magics.session.last.text == body.replace(marker, ANSWER)


def test_fim_auto_leaves_everything_else_alone(shell, engine):
    Outcome(shell, "%fim auto on")
    Outcome(shell, "kept = 1 + 1")
    assert shell.user_ns["kept"] == 2
    Outcome(shell, "%config FimMagics.markers = ['<cursor>', '<here>']")
    assert engine.prompts == []
    Outcome(shell, f"%%fim --into x\n{BODY}")
    assert shell.user_ns["x"].text == FILLED
    Outcome(shell, f"get_ipython().run_cell_magic('fim', '', {BODY.replace('<cursor>', '<cur' + 'sor>')!r})")
    Outcome(shell, "%fim auto off")
    assert not Outcome(shell, BODY).result.success  # Python does not know the marker
    assert "on or off" in Outcome(shell, "%fim auto maybe").error


def test_fim_auto_can_be_configured_and_ends_with_the_extension(shell, engine):
    shell.run_line_magic("config", "FimMagics.auto = True")
    assert ANSWER in Outcome(shell, BODY).out
    own = [each for each in shell.input_transformers_cleanup if isinstance(each, AutoFill)]
    assert len(own) == 1
    shell.run_line_magic("unload_ext", "fim_magic")
    assert not any(isinstance(each, AutoFill) for each in shell.input_transformers_cleanup)
    shell.run_line_magic("load_ext", "fim_magic")


@pytest.mark.parametrize(("asked", "shown"), [("--hint", "total = 0"), ("--hint outline", "… = …\n    for … in …:")])
def test_a_hint_shows_less_than_the_answer_and_can_be_accepted_by_nobody(shell, engine, asked, shown):
    engine.answers = ("total = 0\n    for x in xs:\n        total += x",)
    outcome = Outcome(shell, f"%%fim {asked} --lines 3\n{BODY}")
    assert outcome.result.success, outcome.error
    assert f"{shown}\n" in outcome.out
    assert "for x" not in outcome.out
    assert "no answer to accept" in Outcome(shell, "%fim accept").error
    assert "Nothing was filled" in Outcome(shell, "%fim log").out


def write_exercise(path, filling):
    cell = {"cell_type": "code", "source": BODY, "metadata": {}, "outputs": []}
    path.write_text(json.dumps({"metadata": {"fim_magic": {"filling": filling}}, "cells": [cell]}))


def test_a_notebook_that_gives_hints_only_says_so(shell, engine, monkeypatch, tmp_path):
    path = tmp_path / "exercise.ipynb"
    write_exercise(path, "hints")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    for magic in ("%%fim", "%%complete", "%%fim --accept"):
        outcome = Outcome(shell, f"{magic}\n{BODY}")
        assert not outcome.result.success
        assert "hints, not answers" in outcome.error
    assert engine.prompts == []
    shown = Outcome(shell, f"%%fim --hint\n{BODY}").out  # the answer has one line
    assert "Hint: what kind of lines they are" in shown
    assert "sum" not in shown
    assert "<|fim_middle|>" in Outcome(shell, f"%%fim --show-prompt\n{BODY}").out
    shell.run_line_magic("config", "FimMagics.filling = 'off'")
    assert "switched off" in Outcome(shell, f"%%fim --hint\n{BODY}").error


def test_what_was_filled_before_is_not_made_again_where_filling_is_off(shell, engine):
    assert "sum(xs)" in Outcome(shell, f"%%fim\n{BODY}").out
    asked = len(engine.prompts)
    shell.run_line_magic("config", "FimMagics.filling = 'off'")
    assert "switched off" in Outcome(shell, "%fim replay").error
    assert len(engine.prompts) == asked


def test_vs_code_tells_which_notebook_it_is(shell, engine, tmp_path):
    path = tmp_path / "exercise.ipynb"
    write_exercise(path, "off")
    shell.user_ns["__vsc_ipynb_file__"] = str(path)
    assert "switched off" in Outcome(shell, f"%%fim\n{BODY}").error
