"""`fim-magic eval` from its command line to its report, with an engine that answers what a test tells it to."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from benchmark_data import row, write_tasks
from hypothesis import given
from hypothesis import strategies as st
from scripted import RecordingModels, ScriptedEngine

from fim_magic.context import Context, File
from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.errors import BusyError, FimError, OptionError
from fim_magic.evaluate import command
from fim_magic.evaluate.answers import benchmarks, code, evaluation, folder
from fim_magic.evaluate.answers.benchmarks import Benchmark
from fim_magic.evaluate.answers.evaluation import BenchmarkOptions, prepare, run, show
from fim_magic.evaluate.answers.journal import Journal
from fim_magic.generation import prompt_for
from fim_magic.loading.manager import ModelManager
from fim_magic.request import Request

RIGHT = "total = sum(xs)"
RUN_ON = "total = sum(xs)\n    return total / len(xs) +\n"  # the rules end it where it begins to repeat the suffix


def passes(program):
    """Run it here: these programs come from this file."""
    try:
        exec(program, {})
    except Exception:  # whatever it is, the program is wrong
        return False
    return True


@pytest.fixture
def data(tmp_path):
    return str(write_tasks(tmp_path / "t.jsonl", [row(f"SingleLineInfilling/HumanEval/{n}/L0") for n in range(3)]))


@pytest.fixture
def options(tmp_path, data):
    template = Request(Document("", ""), candidates=2, sampling=Sampling(0.8, 0.95, 7))
    return BenchmarkOptions(sets=(data,), template=template, out=tmp_path / "out")


def evaluated(options, engine, **kwargs):
    asked, found = prepare(options)
    return run(asked, found, engine, passes=kwargs.pop("passes", passes), **kwargs)


def shares(report):
    return {arm.name: round(arm.share, 3) for arm in report.sets[0].arms}


def test_every_arm_is_asked_and_scored(options):
    engine = ScriptedEngine(RUN_ON, RIGHT)
    seen = []
    report, whole = evaluated(options, engine, on_progress=seen.append)
    assert whole
    assert shares(report) == {
        "raw": 0.0,
        "healed": 0.0,
        "trimmed": 1.0,
        "auto": 1.0,
        "random": 1.0,
        "chosen": 1.0,
        "checked": 1.0,
        "any": 1.0,
    }
    assert not report.warnings
    assert [t.mended for t in report.sets[0].trimming] == [3]
    # Raw, healed (its prompt lacks the indentation, which is generated again), trimmed, auto and several.
    assert len(engine.prompts) == 5 * 3
    assert [arm.answers for arm in report.sets[0].arms if arm.name == "healed"] == [3]
    assert seen[-1].done == seen[-1].total
    assert json.loads((options.out / "report.json").read_text("utf-8"))["sets"][0]["arms"][2]["share"] == 1.0


def test_rerun_asks_and_runs_nothing_again(options):
    first, _ = evaluated(options, ScriptedEngine(RUN_ON, RIGHT))
    engine, ran = ScriptedEngine("nonsense"), []
    again, _ = evaluated(options, engine, passes=ran.append)
    assert not engine.prompts
    assert not ran
    assert shares(again) == shares(first)


def test_cut_off_run_goes_on_where_it_was(options):
    engine = ScriptedEngine(RUN_ON, RIGHT)
    evaluated(replace(options, limit=1), engine)
    cut_off = options.out / "single-line.trimmed.jsonl"
    cut_off.write_bytes(cut_off.read_bytes()[:-20])  # killed in the middle of a line
    engine.prompts.clear()
    report, _ = evaluated(options, engine)
    assert len(engine.prompts) == 1 + 2 * 5
    assert shares(report)["trimmed"] == 1.0
    assert all(json.loads(line) for line in cut_off.read_text("utf-8").splitlines())


@pytest.mark.parametrize(
    "changed",
    [
        {"template": Request(Document("", ""), candidates=2, sampling=Sampling(0.8, 0.95, 7), max_new_tokens=90)},
        {"template": Request(Document("", ""), candidates=2, sampling=Sampling(0.8, 0.95, 7), order="psm")},
    ],
)
def test_other_options_are_asked_anew(options, changed):
    engine = ScriptedEngine(RIGHT)
    evaluated(replace(options, arms=("trimmed",)), engine)
    engine.prompts.clear()
    evaluated(replace(options, arms=("trimmed",), **changed), engine)
    assert len(engine.prompts) == 3


def test_other_models_and_revisions_are_asked_anew(options):
    options = replace(options, arms=("trimmed",))
    evaluated(options, ScriptedEngine(RIGHT))
    for name, value in (("revision", "other"), ("model", "other"), ("device", "elsewhere")):
        engine = ScriptedEngine("wrong")
        engine.info = replace(engine.info, **{name: value})
        report, _ = evaluated(options, engine)
        assert len(engine.prompts) == 3
        assert shares(report) == {"trimmed": 0.0}
    assert shares(evaluated(options, ScriptedEngine("nothing"))[0]) == {"trimmed": 1.0}


def test_other_code_is_asked_and_chooses_anew(options):
    options = replace(options, arms=("trimmed", "chosen"))
    evaluated(options, ScriptedEngine("wrong"))
    engine = ScriptedEngine(RIGHT)
    assert shares(evaluated(replace(options, code="other"), engine)[0])["chosen"] == 1.0
    assert len(engine.prompts) == 3 * 2


def test_hash_of_the_code_leaves_out_what_makes_no_answer(tmp_path):
    def hashes(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        code.code_hash.cache_clear()
        return code.code_hash(package=tmp_path), code.code_hash("context/", package=tmp_path)

    first = hashes(request="a = 1", context__cells="b = 1", evaluate__arms="c = 1", review__diff="d = 1")
    assert hashes(evaluate__arms="c = 2", review__diff="d = 2") == first
    changed = hashes(request="a = 2")
    assert changed[0] != first[0]
    assert changed[1] == first[1]
    again = hashes(context__cells="b = 2")
    assert again[0] != changed[0]
    assert again[1] != changed[1]


def test_other_seed_changes_only_what_is_sampled(options):
    engine = ScriptedEngine(RIGHT)
    evaluated(options, engine)
    engine.prompts.clear()
    seeded = replace(options.template, sampling=Sampling(0.8, 0.95, 8))
    evaluated(replace(options, template=seeded), engine)
    assert len(engine.prompts) == 3


def test_changed_task_is_asked_anew(options, tmp_path):
    options = replace(options, arms=("trimmed",))
    evaluated(options, ScriptedEngine("wrong"))
    write_tasks(
        tmp_path / "t.jsonl", [row("SingleLineInfilling/HumanEval/0/L0", prompt="def mean(xs):\n    # now\n    ")]
    )
    engine = ScriptedEngine(RIGHT)
    report, _ = evaluated(options, engine)
    assert len(engine.prompts) == 1
    assert shares(report) == {"trimmed": 1.0}


def test_each_task_samples_with_a_seed_of_its_own(options):
    seeds = []

    class Noting(ScriptedEngine):
        def generate(self, prompt, **options):
            seeds.append((len(options["beginnings"]), options["sampling"]))
            return super().generate(prompt, **options)

    template = replace(options.template, sampling=Sampling(0.8, 0.95))
    evaluated(replace(options, arms=("raw", "chosen"), template=template), Noting(RIGHT))
    sampled = [sampling for candidates, sampling in seeds if candidates == 2]
    assert len({sampling.seed for sampling in sampled}) == 3
    assert {sampling.temperature for sampling in sampled} == {0.8}
    assert {sampling.temperature for candidates, sampling in seeds if candidates == 1} == {0.0}


def test_ctrl_c_keeps_what_is_whole_and_says_so(options):
    import signal

    engine = ScriptedEngine(RIGHT)

    def interrupt(step):
        if len(engine.prompts) == 6 and step == 3:  # the second task's first request
            signal.raise_signal(signal.SIGINT)

    engine.before_step = interrupt
    report, whole = evaluated(options, engine)
    assert not whole
    assert "interrupted" in report.warnings[0]
    assert "raw 1, healed 1, trimmed 1, auto 1, many 1" in report.warnings[1]
    engine.before_step = lambda _step: None
    engine.prompts.clear()
    report, whole = evaluated(options, engine)
    assert whole
    assert len(engine.prompts) == 2 * 5
    assert {arm.tasks for arm in report.sets[0].arms} == {3}


def test_without_a_temperature_several_branch_off_and_pass_at_k_is_no_estimate(options):
    engine = ScriptedEngine(RUN_ON, RIGHT)
    greedy = replace(options, template=replace(options.template, sampling=Sampling()), arms=("chosen", "auto"))
    report, _ = evaluated(greedy, engine)
    assert report.sets[0].pass_at == {}
    assert "leave it in one place" in report.about["options"]
    assert shares(report)["any"] == 1.0
    # Two prompts for the several, one for the one.
    assert len(engine.prompts) == 3 * 3


def test_candidates_are_chosen_as_the_caller_says_and_once(options):
    asked = []

    def choose(task, candidates, checked):
        asked.append((task.task_id, checked))
        return candidates[::-1] if checked else list(candidates)

    options = replace(options, arms=("chosen", "checked"))
    report, _ = evaluated(options, ScriptedEngine("total = 1", RIGHT), choose=choose)
    assert shares(report) == {"random": 0.5, "chosen": 0.0, "checked": 1.0, "any": 1.0}
    assert report.sets[0].pass_at == {1: 0.5, 2: 1.0}
    assert not report.remarks
    assert len(asked) == 2 * 3
    evaluated(options, ScriptedEngine("total = 1", RIGHT), choose=choose)
    assert len(asked) == 2 * 3


def test_only_report_tells_the_same_without_a_model(options, data):
    first, _ = evaluated(replace(options, every=2), ScriptedEngine(RUN_ON, RIGHT))
    asked, found = prepare(BenchmarkOptions(sets=("nonsense",), out=options.out, only_report=True))
    again, whole = run(asked, found, None, passes=passes)
    assert whole
    assert again.sets == first.sets
    assert again.about["model"] == "scripted"
    assert len(found[0].tasks) == 2


def test_only_report_runs_what_has_not_been_run(options):
    evaluated(options, ScriptedEngine(RUN_ON, RIGHT))
    (options.out / "verdicts.jsonl").unlink()
    asked, found = prepare(replace(options, only_report=True))
    assert shares(run(asked, found, None, passes=lambda program: False)[0])["trimmed"] == 0.0


def test_failing_sandbox_is_no_wrong_answer(options):
    def broken(_program):
        raise OSError("no process")

    with pytest.raises(OSError, match="no process"):
        evaluated(options, ScriptedEngine(RIGHT), passes=broken)
    assert shares(evaluated(options, ScriptedEngine("nothing"))[0])["trimmed"] == 1.0


# --- notebooks -----------------------------------------------------------------------------------


def notebook(name, known=()):
    return SimpleNamespace(
        task_id=name,
        known=frozenset(known),
        notebook="a notebook",
        topic="tables",
        needs="names",
        document=Document("x = ", "\n"),
        program=lambda middle: f"x = {middle}\nassert x == 7\n",
    )


def around(task, mode):
    files = {"none": (), "cells": (File("cell 1", "seven = 7"),), "names": (), "auto": (File("cell 1", "seven = 7"),)}
    return Context(files=files[mode])


def evaluated_in_notebooks(options, engine, *tasks):
    folder.make(options.out)
    found = Benchmark("notebooks", tasks, len(tasks), "built in", context_of=around)
    return run(replace(options, sets=("notebooks",)), [found], engine, passes=passes)


def test_notebooks_are_asked_with_every_context(options):
    tasks = (notebook("a"), notebook("b"))
    engine = ScriptedEngine("7")
    report, _ = evaluated_in_notebooks(replace(options, arms=("context",)), engine, *tasks)
    (found,) = report.sets
    assert [arm.name for arm in found.arms] == ["trimmed", "context cells", "context names", "context auto"]
    assert [arm.answers for arm in found.arms] == [2, 2, 0, 2]  # "names" shows nothing here: the same prompt
    assert [arm.exact for arm in found.arms] == [None] * 4
    assert [(d.second, d.difference) for d in found.differences] == [
        ("context cells", 0.0),
        ("context names", 0.0),
        ("context auto", 0.0),
    ]
    assert {benchmarks.group(task) for task in tasks} == {"a notebook"}
    assert {(p.facet, p.word) for p in found.parts} == {("topic", "tables"), ("needs", "names")}


def test_the_right_middle_is_read_after_each_prompt(options):
    task = notebook("a")
    task.canonical = "7"
    engine = ScriptedEngine("7")
    seven = engine.tokenizer.encode("seven = 7")
    engine.likelihood = lambda prompt, text: [-0.5 if seven[-1] in prompt else -2.0] * len(text)
    options = replace(options, arms=("context",))
    report, _ = evaluated_in_notebooks(options, engine, task)
    told = {each.name: (each.nats, each.gained) for each in report.sets[0].likelihoods}
    assert told == {
        "trimmed": (-2.0, 0.0),
        "context cells": (-0.5, 1.5),
        "context names": (-2.0, 0.0),
        "context auto": (-0.5, 1.5),
    }
    assert {continuation for _, continuation in engine.scored} == {"7"}
    again = ScriptedEngine("7")
    assert evaluated_in_notebooks(options, again, task)[0].sets[0].likelihoods == report.sets[0].likelihoods
    assert not again.scored


def test_what_is_generated_again_of_the_prefix_counts_to_the_right_middle():
    task, engine = notebook("a"), ScriptedEngine("7")
    task.canonical = "7\r\n"
    prompt = replace(prompt_for(Request(task.document), engine), healed="= ")
    assert evaluation._canonical_logprob(task, prompt, engine) == pytest.approx(-0.1 * len("= 7\n"))
    assert engine.scored[-1][1] == "= 7\n"


@pytest.mark.parametrize(("known", "asked"), [(["seven"], 1), ([], 2)], ids=["known", "unknown"])
def test_several_answers_know_what_the_notebook_defines(options, known, asked):
    task = notebook("a", known)
    engine = ScriptedEngine("seven", "7 + 0")  # as probable, of as many tokens
    template = replace(options.template, sampling=Sampling())
    options = replace(options, template=template)
    report, _ = evaluated_in_notebooks(replace(options, arms=("auto",)), engine, task)
    assert len(engine.prompts) == asked  # an answer with a name that nobody has cannot be right: more are asked for
    assert all("seven = 7" in engine.tokenizer.decode(prompt) for prompt in engine.prompts)
    assert report.sets[0].arms[0].share == float(not known)  # in its own program nothing defines it
    report, _ = evaluated_in_notebooks(replace(options, arms=("context", "chosen")), engine, task)
    assert {d.first for d in report.sets[0].differences if d.second == "chosen"} == {"context auto", "random"}
    chosen = next(arm for arm in report.sets[0].arms if arm.name == "chosen")
    assert chosen.share == float(not known)


def test_context_needs_notebooks(options):
    with pytest.raises(OptionError, match="--set notebooks"):
        prepare(replace(options, arms=("context",)))


# --- options and files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arms": ("raw", "cooked")}, "'cooked' is none of them"),
        ({"arms": ()}, "--arms names some of"),
        ({"every": 0}, "--every is at least 1"),
        ({"every": 3, "offset": 3}, "--offset is from 0 to 2"),
        ({"offset": -1}, "--offset is at least 0"),
        ({"offset": 9}, "leaves none of the 3 tasks"),
        ({"limit": 0}, "--limit is at least 1"),
        ({"workers": 0}, "--workers is at least 1"),
    ],
)
def test_options_that_make_no_sense(options, changed, says):
    with pytest.raises(OptionError, match=says):
        prepare(replace(options, **changed))


def test_picture_is_checked_before_anything_is_asked(options, tmp_path):
    with pytest.raises(OptionError, match="is a file that ends in"):
        prepare(replace(options, plot=tmp_path / "picture.txt"))
    with pytest.raises(OptionError, match="There is no folder"):
        prepare(replace(options, plot=tmp_path / "nowhere" / "picture.png"))


def test_folder_that_cannot_be_used(options, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(OptionError, match="--out FOLDER"):
        prepare(replace(options, out=tmp_path / "file" / "out"))
    with pytest.raises(OptionError, match="holds no run to report"):
        prepare(replace(options, out=tmp_path, only_report=True))


def test_folder_is_used_by_one_run_at_a_time(options):
    asked, found = prepare(options)
    with folder.locked(options.out), pytest.raises(BusyError, match="--out FOLDER"):
        run(asked, found, ScriptedEngine(RIGHT), passes=passes)


def test_line_that_is_not_ours_is_told(options):
    evaluated(options, ScriptedEngine(RIGHT))
    path = options.out / "single-line.raw.jsonl"
    path.write_text("what is this\n" + path.read_text("utf-8"), "utf-8")
    with pytest.raises(FimError, match="Delete that line"):
        evaluated(options, ScriptedEngine(RIGHT))


@given(texts=st.lists(st.text(), max_size=4), cut=st.integers(0, 200))
def test_journal_gives_back_every_whole_line(tmp_path_factory, texts, cut):
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    journal = Journal(path)
    for text in texts:
        journal.add({"text": text.encode("utf-8", "replace").decode()})
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - min(cut, len(content))])
    whole = path.read_bytes().count(b"\n")
    journal = Journal(path)
    assert len(journal.rows) == whole
    journal.add({"text": "more"})
    journal.close()
    rows = [row["text"] for row in Journal(path).rows]
    assert rows == [*(text.encode("utf-8", "replace").decode() for text in texts[:whole]), "more"]


# --- the command ---------------------------------------------------------------------------------


def typed(models, *arguments):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args(arguments, argparse.Namespace(models=models))


def test_command_prints_the_report_and_draws_it(tmp_path, data, capsys):
    models = RecordingModels(ScriptedEngine(RUN_ON, RIGHT), "A notice.")
    picture, out = tmp_path / "picture.svg", tmp_path / "out"
    arguments = ("--set", data, "-n", "2", "--every", "2", "--out", str(out), "--plot", str(picture))
    assert (
        command.run(typed(models, *arguments, "--temperature", "0.7", "--seed", "3", "--arms", "raw,trimmed,chosen"))
        == 0
    )
    shown = capsys.readouterr()
    assert "single-line: 2 of 3 tasks, those whose index leaves 0 when divided by 2; t.jsonl" in shown.out
    assert "n=2 chosen" in shown.out
    assert "seed 3" in shown.out
    assert "A notice." in shown.err
    assert "<svg" in picture.read_text("utf-8")
    picture.unlink()
    models.specs.clear()
    assert command.run(typed(models, "--only-report", "--out", str(out), "--plot", str(picture))) == 0
    assert "n=2 chosen" in capsys.readouterr().out
    assert picture.exists()
    assert models.specs == []  # a report needs no model


def test_command_checks_its_options_before_it_loads_a_model(data, tmp_path):
    models = ModelManager()
    for arguments, says in (
        (("--set", data, "--temperature", "-1"), "--temperature"),
        (("--set", data, "-n", "0"), "--candidates"),
        (("--set", str(tmp_path / "none.jsonl")), "no set and no file"),
    ):
        with pytest.raises(OptionError, match=says):
            command.run(typed(models, *arguments, "--out", str(tmp_path / "out")))
    assert models.uses == 0


def test_nothing_to_draw_is_told(options, tmp_path):
    asked, found = prepare(options)
    report, _ = run(asked, found, ScriptedEngine(RIGHT), passes=passes)
    report.sets.clear()
    with pytest.raises(OptionError, match="nothing to draw"):
        show(report, replace(options, plot=tmp_path / "picture.png"), lambda _: None)
