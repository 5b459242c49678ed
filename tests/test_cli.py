from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import QWEN, RecordingModels, ScriptedEngine, byte_tokenizer
from test_proof import STARCODER, Trained

from fim_magic import cli
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = "def mean(xs):\n    total = sum(xs)\n    return total / len(xs)\n"
RUN_ON = ANSWER + "\n    return total / len(xs)\n\ndef median(xs):\n"


@pytest.fixture(autouse=True)
def engine():
    engine = ScriptedEngine(RUN_ON)
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cell.py"
    path.write_bytes(HOLE.encode())
    return str(path)


def run(*arguments: str, models: ModelManager | None = None) -> int:
    return cli.main([*arguments, "--model", "scripted"], models)


def test_infill_prints_the_rebuilt_text_and_nothing_else(file, capsys):
    assert run("infill", file) == 0
    assert capsys.readouterr().out == FILLED


def test_infill_reads_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(HOLE))
    assert run("infill", "-") == 0
    assert capsys.readouterr().out == FILLED


def test_windows_line_ends_come_out_as_they_went_in(tmp_path, capsys):
    path = tmp_path / "windows.py"
    path.write_bytes(HOLE.replace("\n", "\r\n").encode())
    assert run("infill", str(path)) == 0
    assert capsys.readouterr().out == FILLED.replace("\n", "\r\n")


def test_json_has_the_text_the_candidates_and_what_was_trimmed(file, capsys):
    assert run("infill", "--json", file) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == FILLED
    assert told["middle"] == ANSWER
    (candidate,) = told["candidates"]
    assert candidate["cut_by"] == "repeats-suffix"
    assert candidate["middle"] + candidate["trimmed"] in RUN_ON


def test_a_missing_import_is_a_part_of_the_text(file, engine, capsys):
    engine.answers = ("total = reduce(int.__add__, xs)",)
    assert run("infill", file) == 0
    out, err = capsys.readouterr()
    text = "from functools import reduce\n" + FILLED.replace("sum(xs)", "reduce(int.__add__, xs)")
    assert out == text
    assert "Added, since the answer needs it: from functools import reduce" in err
    assert run("infill", "--json", file) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["text"], told["middle"]) == (text, "total = reduce(int.__add__, xs)")
    assert told["imports"] == told["candidates"][0]["imports"] == ["from functools import reduce"]
    assert run("infill", "--diff", file) == 0
    assert capsys.readouterr().out.startswith("+ from functools import reduce\n  def mean(xs):\n+     total = reduce")


def test_diff_marks_the_added_line(file, capsys):
    assert run("infill", "--diff", file) == 0
    lines = capsys.readouterr().out.splitlines()
    added = next(line for line in lines if ANSWER in line)
    kept = next(line for line in lines if "return total" in line)
    assert added.lstrip()[0] in "+~"
    assert kept.lstrip()[0] not in "+~"


def test_complete_keeps_the_text_after_the_marker_from_the_model(file, engine, capsys):
    assert run("infill", "--complete", file) == 0
    prompt = engine.tokenizer.decode(engine.prompts[0])
    assert prompt == "def mean(xs):\n"
    assert capsys.readouterr().out == FILLED


def test_candidates_that_nobody_asked_for_are_only_counted(file, engine, capsys):
    engine.answers, engine.logprob = (ANSWER, "total = 2", "total = 3"), -3.0
    assert run("infill", "--diff", file) == 0
    out, err = capsys.readouterr()
    assert ("scripted · 1 of 3 · " in out, "2 of 3" in out) == (True, False)
    assert "other candidate" not in err
    assert run("infill", "--diff", "-n", "auto", file) == 0
    assert "scripted · 3 of 3 · " in capsys.readouterr().out


def test_one_line_stands_below_the_diff_and_all_there_is_where_it_is_wanted(file, engine, capsys, monkeypatch):
    engine.answers, engine.logprob = (ANSWER, "total = 2", "total = 3"), -3.0
    assert run("infill", "--diff", file) == 0
    diff, _, below = capsys.readouterr().out.partition("\n\n")
    assert re.fullmatch(r"scripted · 1 of 3 · \d\.\d s · parses, names known\n", below)
    monkeypatch.setenv("FIM_MAGIC_DETAILS", "full")
    assert run("infill", "--diff", file) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{diff}\n\nscripted · 1 of 3 · ")
    for label, text in (("Model", "scripted"), ("Ending", "ended by itself"), ("Checks", "2 of 2 passed")):
        assert re.search(rf"^{label} +{text}", out, re.MULTILINE)
    assert "2 other candidates: -n 6 prints them all." in err


def test_demo_shows_the_diff(engine, capsys):
    engine.answers = (ANSWER,)
    assert run("demo") == 0
    assert ANSWER in capsys.readouterr().out


def test_diff_grows_in_place_on_a_terminal(file):
    """On a real pseudo-terminal: the diff is redrawn, and what is left on the screen is the finished one."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]);"
        "from scripted import ScriptedEngine; from fim_magic import cli; from fim_magic.loading.manager import MODELS;"
        f"engine = ScriptedEngine({RUN_ON!r}); engine.before_step = lambda step: time.sleep(0.02);"
        "MODELS.adopt(engine); sys.exit(cli.main(['infill', '--diff', sys.argv[2], '--model', 'scripted']))"
    )
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), file],
        stdout=slave,
        stderr=subprocess.DEVNULL,
    )
    os.close(slave)
    written = read_all(master, child)
    assert child.returncode == 0
    assert "\x1b[J" in written  # it was redrawn
    final = written.rpartition("\x1b[J")[2]
    assert ANSWER in plain(final).replace("│", "")
    assert "def median" not in final


def read_all(master: int, child: subprocess.Popen) -> str:
    written = b""
    while True:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, "the command wrote nothing for a minute"
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    child.wait(60)
    os.close(master)
    return written.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["infill", "no-such-file.py"], "could not be read"),
        (["infill", "FILE", "-n", "0"], "--candidates is auto, or from 1 to 64"),
        (["infill", "FILE", "--temperature", "-1"], "--temperature is 0 (greedy), or from 0.000001 to 1000000"),
        (["infill", "FILE", "--order", "mps"], "--order is one of"),
        (["infill", "FILE", "--order", "spm"], "was not trained in that order"),
        (["infill", "FILE", "--max-new-tokens", "5000"], "leaves no room"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_paragraph(arguments, told, file, capsys):
    assert run(*[file if argument == "FILE" else argument for argument in arguments]) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert "Traceback" not in errors


def test_a_file_without_a_marker_is_an_error(tmp_path, capsys):
    path = tmp_path / "cell.py"
    path.write_text("x = 1\n")
    assert run("infill", str(path)) == 1
    assert "no cursor marker" in capsys.readouterr().err


def test_a_file_that_is_not_text_is_an_error(tmp_path, capsys):
    path = tmp_path / "cell.bin"
    path.write_bytes(b"\xff\xfe\x00")
    assert run("infill", str(path)) == 1
    assert "not UTF-8" in capsys.readouterr().err


def test_an_unknown_model_is_an_error_with_its_neighbour(file, capsys):
    assert cli.main(["infill", file, "--model", "starcoder2-3bb"]) == 1
    assert "starcoder2-3b" in capsys.readouterr().err


def test_interrupted_prints_the_partial_text_and_says_so(file, engine, capsys):
    import signal

    def interrupt_at(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    engine.before_step = interrupt_at
    assert run("infill", file) == 130
    assert "total" in capsys.readouterr().out


def test_models_and_doctor_print(capsys):
    assert cli.main(["models"]) == 0
    assert "qwen2.5-coder-0.5b" in capsys.readouterr().out
    assert cli.main(["doctor"]) == 0
    assert "transformers" in capsys.readouterr().out


# --- models, and doctor for one of them ----------------------------------------------------------


def test_models_takes_a_word(capsys):
    assert cli.main(["models", "codellama-7b"]) == 0
    assert "codellama/CodeLlama-7b-hf" in capsys.readouterr().out


def test_doctor_looks_at_a_model_without_loading_it(capsys):
    models = ModelManager()
    assert cli.main(["doctor", "--model", "starcoderbase-1b"], models) == 0
    assert models.uses == 0
    told = capsys.readouterr().out
    assert "hf auth login" in told
    assert "%fim use starcoderbase-1b" in told


def test_doctor_knows_no_model_of_that_name(capsys):
    assert cli.main(["doctor", "--model", "starcoder2-3bb"]) == 1
    assert "starcoder2-3b" in capsys.readouterr().err


def test_doctor_proves_a_model_by_its_answers(capsys):
    MODELS.adopt(Trained(STARCODER))
    assert run("doctor", "--prove") == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "scripted (test), cpu, scripted",
        "its vocabulary has <fim_middle>, <fim_prefix>, <fim_suffix>",
        "bigcode-project/Megatron-LM",
        "print(<游標在這>)",
        "PSM, ",
        "SPM, ",
        "GREETING + name",
        "ended by a stop token",
        "Nothing failed.",
    ):
        assert words in told


def test_doctor_says_which_checks_a_wrong_prompt_fails_and_exits_with_1(capsys):
    MODELS.adopt(Trained(QWEN, believed=dataclasses.replace(QWEN, psm=QWEN.psm[1:])))
    assert run("doctor", "--prove") == 1
    told = capsys.readouterr().out
    assert re.search(r"FAILED +the ten lines, PSM: expected: GREETING \+ name", told)
    assert re.search(r"\d of \d+ checks FAILED", told)


def test_doctor_does_not_ask_a_model_that_lacks_a_sentinel(capsys):
    MODELS.adopt(ScriptedEngine("x", tokenizer=byte_tokenizer(["<|endoftext|>"])))
    assert run("doctor", "--prove") == 1
    told = capsys.readouterr().out
    assert "not in the vocabulary" in told
    assert "Its answers" not in told


def test_what_a_model_answers_cannot_drive_the_terminal(capsys):
    model = Trained(QWEN)
    model.answer = lambda _prompt: "\x1b[2J\x1b]0;title\x07"
    MODELS.adopt(model)
    run("doctor", "--prove")
    assert "\x1b" not in capsys.readouterr().out


def test_doctor_proves_a_checkpoint_in_a_folder(checkpoint, capsys):
    """With random weights, so its answers fail; everything else about it is real."""
    assert cli.main(["doctor", "--model", str(checkpoint("starcoder")), "--prove"]) == 1
    told = capsys.readouterr().out
    assert "StarCoder: its architecture is gpt_bigcode" in told
    assert re.search(r"ok +sentinels: each is one id", told)
    assert "for comparison" in told


# --- how a model is loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["fetch", "m"], ["doctor", "--prove", "--model", "m"], ["infill", "FILE", "--model", "m"]]
)
def test_how_to_load_a_model_is_passed_on(command, file, engine):
    models = RecordingModels(engine)
    cli.main(
        [
            *(file if word == "FILE" else word for word in command),
            *("--quantize", "4BIT", "--family", "mellum", "--engine", "Torch", "--allow-code"),
        ],
        models,
    )
    assert models.specs == [ModelSpec("m", quantize="4bit", family="Mellum", engine="torch", allow_code=True)]


def test_left_out_they_say_nothing(file, engine):
    models = RecordingModels(engine)
    assert run("infill", file, models=models) == 0
    assert models.specs == [ModelSpec("scripted", quantize=None, family=None, engine=None, allow_code=False)]


def test_how_to_load_a_model_can_be_wrong(file, capsys):
    assert run("infill", file, "--quantize", "3bit") == 1
    assert "--quantize is one of" in capsys.readouterr().err


def test_what_the_user_should_know_of_a_model_goes_to_standard_error(file, engine, capsys):
    models = RecordingModels(engine, "Its licence forbids commercial use.")
    assert run("infill", file, models=models) == 0
    captured = capsys.readouterr()
    assert "Its licence forbids commercial use." in captured.err
    assert captured.out == FILLED


# --- how fast it is ------------------------------------------------------------------------------


def bench_that_finds(monkeypatch, *checks, random_weights=False, whole=True) -> list:
    """Let `fim-magic bench` measure nothing and find `checks`. Returns the list of what it was asked."""
    from fim_magic.evaluate.speed import bench
    from fim_magic.evaluate.speed.measure import Record
    from fim_magic.evaluate.speed.report import SpeedReport

    asked = []

    def run(options, _progress, command):
        asked.append((options, command))
        return SpeedReport(
            {"command": " ".join(command)}, Record(checks=[*checks]), random_weights=random_weights
        ), whole

    monkeypatch.setattr(bench, "run", run)
    return asked


def test_bench_is_asked_what_was_typed(monkeypatch, capsys):
    asked = bench_that_finds(monkeypatch)
    typed = ["bench", "-m", "starcoder2-3b", "--quick", "--only", "edit,infill", "--threads", "1"]
    assert cli.main(typed) == 0
    ((options, command),) = asked
    assert (options.model, options.rounds, options.measures, options.threads) == (
        "starcoder2-3b",
        2,
        ("edit", "infill"),
        1,
    )
    assert command == ["fim-magic", *typed]
    assert "Goals:" in capsys.readouterr().out


def test_bench_measures_everything_five_times_unless_told_otherwise(monkeypatch):
    from fim_magic.evaluate.speed.workloads import MEASURES

    asked = bench_that_finds(monkeypatch)
    assert cli.main(["bench"]) == 0
    assert cli.main(["bench", "--quick", "--rounds", "7"]) == 0
    assert [(options.model, options.rounds, options.measures) for options, _ in asked] == [
        ("auto", 5, MEASURES),
        ("auto", 7, MEASURES),
    ]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"same": 64}, 0),
        ({"same": 63}, 1),
        ({"same": 63, "random_weights": True}, 0),
        ({"same": 64, "whole": False}, 130),
    ],
    ids=str,
)
def test_bench_fails_if_real_weights_give_other_tokens(found, status, monkeypatch):
    from fim_magic.evaluate.speed.measure import TokenCheck

    check = TokenCheck("infill, infill 1", "fim-magic", found["same"], 64, demanded=True)
    more = {name: value for name, value in found.items() if name != "same"}
    bench_that_finds(monkeypatch, check, **more)
    assert cli.main(["bench"]) == status


def test_bench_takes_a_model_or_random_weights(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "-m", "starcoder2-3b", "--random-weights", "3B"])
    assert "not allowed with" in capsys.readouterr().err


def test_filling_in_a_shell_needs_nothing_of_the_evaluation():
    script = (
        "import sys; from fim_magic import cli\n"
        "try: cli.main(['infill', 'no such file', '--model', 'no-such-model'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('fim_magic.evaluate')])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
