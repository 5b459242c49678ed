"""`fim-magic eval --set PATH` from its command line to its report, with an engine that answers what a test says."""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import time
from dataclasses import replace

import pytest
from own_files import REAL, SHOP, write_notebook
from scripted import RecordingModels, ScriptedEngine

from fim_magic.candidate import Candidate, Ending
from fim_magic.document import Document
from fim_magic.errors import BusyError, OptionError
from fim_magic.evaluate import command
from fim_magic.evaluate.answers import benchmarks, folder
from fim_magic.evaluate.answers.answer import StoredAnswer
from fim_magic.evaluate.answers.journal import Journal
from fim_magic.evaluate.own import OwnTask, arms, tasks_of
from fim_magic.evaluate.own.answering import OwnAnswer
from fim_magic.evaluate.own.evaluation import OwnOptions, prepare, run
from fim_magic.evaluate.own.reckoning import reckon
from fim_magic.evaluate.own.report import table
from fim_magic.loading.manager import ModelManager
from fim_magic.request import Request

TEMPLATE = Request(Document("", ""), candidates=2)


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "files"
    write_notebook(path / "a.ipynb")
    write_notebook(path / "b.ipynb", SHOP[:6])
    return path


@pytest.fixture
def options(tmp_path, shop):
    return OwnOptions(sets=(str(shop),), per_file=3, kinds=("line", "rest"), template=TEMPLATE, out=tmp_path / "out")


class Author(ScriptedEngine):
    """Knows what stood in each hole, by the text around it."""

    def __init__(self, tasks):
        super().__init__("nothing_at_all(1)")
        self.tasks = tasks

    def generate(self, prompt, **options):
        text = self.tokenizer.decode(list(prompt))
        for cut, task in itertools.product(range(9), self.tasks):  # what is taken back is generated again
            prefix, suffix = task.document.prefix, task.document.suffix
            whole = len(prefix) - cut
            if whole >= 0 and f"{prefix[:whole]}<|fim_suffix|>{suffix}<|fim_middle|>" in text:
                self.answers = (prefix[whole:] + task.canonical,)
                break
        return super().generate(prompt, **options)


def evaluated(options, engine, **kwargs):
    asked, found = prepare(options)
    return run(asked, found, engine, **kwargs)


def by_arm(report, facet="", word=""):
    return {each.arm: each for each in report.sets[0].measures if (each.facet, each.word) == (facet, word)}


def test_author_is_right_in_every_arm(options, shop):
    seen = []
    engine = Author(tasks_of(shop, per_file=100))
    report, whole = evaluated(options, engine, on_progress=seen.append)
    assert whole
    assert not report.warnings
    for each in by_arm(report).values():
        assert (each.tasks, each.similarity, each.length, each.exact_of_cut) == (6, 1.0, 1.0, 1.0)
        assert each.shares["exact"].share == each.shares["right_beginning"].share == each.shares["parses"].share == 1.0
        assert not any(each.shares[name].share for name in ("too_long", "echoes"))
    assert list(by_arm(report)) == ["default", "one", "none"]
    assert set(by_arm(report, "kind", "line")) == {"default", "one", "none"}
    assert seen[-1].done == seen[-1].total == 6 * 3
    told = json.loads((options.out / "report.json").read_text("utf-8"))
    assert told["sets"][0]["measures"][0]["shares"]["exact"]["share"] == 1.0
    assert {(d.first, d.second): d.similarity for d in report.sets[0].differences} == {
        ("none", "default"): 0.0,
        ("one", "default"): 0.0,
    }


def test_wrong_answers_are_measured(options):
    report, _ = evaluated(
        replace(options, arms=("raw",)), ScriptedEngine("zzz\nprices = {'apple': 3, 'pear': 4}\n" * 3)
    )
    found = by_arm(report)["raw"]
    assert found.shares["exact"].share == 0.0
    assert found.shares["too_long"].share > 0.5
    assert found.similarity < 0.5
    assert found.exact_of_cut is None
    assert "raw" in table(report, show=2)


def test_context_is_shown_to_the_arms_that_have_it(options, shop):
    engine = ScriptedEngine("nothing")
    evaluated(replace(options, arms=("one", "none")), engine)
    prompts = {engine.tokenizer.decode(prompt) for prompt in engine.prompts}
    assert len(prompts) == 6 * 2
    assert sum("# What it sells." in prompt for prompt in prompts) == 6


def test_one_request_answers_where_the_question_is_the_same(options, tmp_path):
    (tmp_path / "shop.py").write_text("\n\n".join(SHOP[1:3] + SHOP[4:]) + "\n", "utf-8")
    engine = Author(tasks_of(tmp_path / "shop.py", per_file=100))
    report, _ = evaluated(replace(options, sets=(str(tmp_path / "shop.py"),)), engine)
    # A source file has no context, and an answer of the author's leaves no doubt: one request answers all three arms.
    assert len(engine.prompts) == 3
    assert {arm: each.asked for arm, each in by_arm(report).items()} == {"default": 3, "one": 0, "none": 0}


def test_rerun_asks_nothing_again_and_other_questions_anew(options, shop):
    first, _ = evaluated(options, Author(tasks_of(shop, per_file=100)))
    engine = ScriptedEngine("nothing")
    again, _ = evaluated(options, engine, look=lambda *_: pytest.fail("it is remembered"))
    assert not engine.prompts
    assert again.sets == first.sets
    write_notebook(shop / "b.ipynb", ("# Another text", *SHOP[1:6]))
    evaluated(replace(options, arms=("one",)), engine)
    assert 0 < len(engine.prompts) <= 3  # the cells of b.ipynb, whose context has changed
    for changed in ({"max_new_tokens": 99}, {"order": "psm"}):
        engine.prompts.clear()
        evaluated(replace(options, arms=("one",), template=replace(TEMPLATE, **changed)), engine)
        assert len(engine.prompts) == 6


def test_other_code_is_asked_anew(options):
    options = replace(options, arms=("one",))
    engine = ScriptedEngine("nothing")
    evaluated(options, engine)
    engine.prompts.clear()
    evaluated(replace(options, code="other"), engine)
    assert len(engine.prompts) == 6


def test_what_is_offered_first_is_timed_and_kept(options):
    engine = ScriptedEngine("unheard_of", "prices")
    engine.before_step = lambda _step: time.sleep(0.001)
    evaluated(replace(options, arms=("default",), limit=1), engine)
    (row,) = Journal(options.out / "files.default.jsonl").rows
    told = OwnAnswer.from_json(row)
    assert told.first == "unheard_of"
    assert 0 < told.first_seconds < told.last_seconds
    assert {candidate.middle for candidate in told.answer.candidates} == {"unheard_of", "prices"}
    assert json.loads(json.dumps(told.to_json())) == row


def test_many_are_asked_as_often_as_n_says(options):
    engine = ScriptedEngine("nothing", "other")
    report, _ = evaluated(replace(options, arms=("many",)), engine)
    found = by_arm(report)["many"]
    assert found.candidates == 2
    assert len(engine.prompts) == 6 * 2  # the greedy one, and the one that leaves it


def test_ctrl_c_keeps_what_is_whole_and_says_so(options):
    engine = ScriptedEngine("nothing")

    def interrupt(step):
        if len(engine.prompts) == 3 and step == 3:
            signal.raise_signal(signal.SIGINT)

    engine.before_step = interrupt
    options = replace(options, arms=("one",))
    report, whole = evaluated(options, engine)
    assert not whole
    assert "interrupted" in report.warnings[0]
    assert "one 2" in report.warnings[1]
    engine.before_step = lambda _step: None
    engine.prompts.clear()
    report, whole = evaluated(options, engine)
    assert whole
    assert len(engine.prompts) == 4


def test_only_report_tells_the_same_without_a_model(options, shop):
    first, _ = evaluated(replace(options, every=2, offset=1), Author(tasks_of(shop, per_file=100)))
    asked, found = prepare(OwnOptions(sets=("nonsense",), out=options.out, only_report=True))
    again, whole = run(asked, found, None)
    assert whole
    assert again.sets == first.sets
    assert again.about["model"] == "scripted"
    assert {task.file for task in found[0].tasks} == {"b.ipynb"}


def test_every_and_offset_count_files(options):
    for offset, name in ((0, "a.ipynb"), (1, "b.ipynb")):
        _, (found,) = prepare(replace(options, every=2, offset=offset))
        assert {task.file for task in found.tasks} == {name}
        assert found.whole == 2
    _, (found,) = prepare(replace(options, limit=4))
    assert [task.file for task in found.tasks] == ["a.ipynb"] * 3 + ["b.ipynb"]


def test_cells_above_run_where_asked(options, tmp_path):
    cells = ("import json\nprices = json.loads('{\"apple\": 3}')", "names = sorted(prices)\nprint(names, prices)")
    path = write_notebook(tmp_path / "prices.ipynb", cells)
    engine = ScriptedEngine("nothing")
    asked = replace(options, sets=(str(path),), arms=("one",), kinds=("line",), run_cells=True, per_file=9)
    evaluated(asked, engine)
    assert "# prices: dict, 1 key: 'apple' int" in engine.tokenizer.decode(engine.prompts[-1])
    engine.prompts.clear()
    evaluated(replace(asked, run_cells=False), engine)
    assert "# prices: dict" not in engine.tokenizer.decode(engine.prompts[-1])


def test_what_cannot_be_read_is_said_in_the_report(options, shop):
    (shop / "c.ipynb").write_text("{", "utf-8")
    report, _ = evaluated(replace(options, arms=("one",)), ScriptedEngine("nothing"))
    assert report.warnings == ["files: c.ipynb is left out: it is no notebook of format 4."]
    assert (report.sets[0].files, report.sets[0].whole) == (2, 3)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arms": ("default", "chosen")}, "'chosen' is none of them"),
        ({"arms": ()}, "--arms names some of"),
        ({"kinds": ("line", "word")}, "'word' is none of them"),
        ({"kinds": ()}, "--kinds names some of"),
        ({"every": 0}, "--every is at least 1"),
        ({"every": 2, "offset": 2}, "--offset is from 0 to 1"),
        ({"offset": -1}, "--offset is from 0 to 0"),
        ({"limit": 0}, "--limit is at least 1"),
        ({"per_file": 0}, "--per-file is at least 1"),
        ({"every": 9, "offset": 8}, "There is no hole to punch"),
    ],
)
def test_options_that_make_no_sense(options, changed, says):
    with pytest.raises(OptionError, match=says):
        prepare(replace(options, **changed))


def test_sets_of_one_name_are_refused(options, shop):
    with pytest.raises(OptionError, match="Two sets are called files"):
        prepare(replace(options, sets=(str(shop), str(shop))))


def test_folder_is_used_by_one_run_at_a_time(options):
    asked, found = prepare(options)
    with folder.locked(options.out), pytest.raises(BusyError, match="--out FOLDER"):
        run(asked, found, ScriptedEngine("nothing"))


# --- the numbers ---------------------------------------------------------------------------------


def task(name, canonical="total = sum(prices)", kind="line"):
    document = Document("import shop\n", "\nprint(total)\n")
    return OwnTask(f"a.ipynb#{name}:{kind}:2", document, canonical, kind, "python", 1)


def answer(name, *middles, kind="line", first="", seconds=(1.0, 2.0), shown=""):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN) for middle in middles)
    made = StoredAnswer(f"a.ipynb#{name}:{kind}:2", "key", "prompt", candidates, 10, 4, 0.5, 1.5, "psm", "now")
    return OwnAnswer(made, first or middles[0], *seconds, shown, "asked")


def told(*answers):
    return {each.answer.task: each for each in answers}


def test_first_candidate_counts_and_any_tells_the_rest():
    answers = {
        "default": told(answer(1, "total = 0", "total = sum(prices)"), answer(2, "total = sum(prices)\nprint(total)")),
        "none": told(
            answer(1, "print(total)", first="total = sum(prices)", seconds=(3.0, 4.0)),
            answer(2, "total = sum(prices)", seconds=(5.0, 8.0)),
        ),
    }
    found = reckon("a", [task(1), task(2)], answers, files=1, whole=1)
    default, none = (each for each in found.measures if not each.facet)
    assert default.shares["exact"].share == 0.0
    assert default.shares["exact_cut"].share == 0.5
    assert default.exact_of_cut == 0.0
    assert default.any_exact == 0.5
    assert default.best_similarity > default.similarity
    assert default.shares["echoes_suffix"].share == default.shares["echoes"].share == 0.5
    assert none.shares["exact"].share == 0.5
    assert none.shares["echoes_suffix"].share == 0.5
    assert (none.first_seconds, none.seconds) == (4.0, 6.0)
    assert (none.first_exact, none.first_similarity) == (1.0, 1.0)
    assert none.similarity < 1.0
    (difference,) = found.differences
    assert (difference.first, difference.second, difference.tasks) == ("none", "default", 2)
    assert difference.exact == -0.5
    assert difference.similarity == pytest.approx(default.similarity - none.similarity)
    assert difference.interval.low <= difference.similarity <= difference.interval.high


def test_kinds_and_languages_are_told_apart():
    other = task(3, kind="rest")
    other = replace(other, language="lisp", document=replace(other.document, language="lisp"))
    answers = {"one": told(answer(1, "total = sum(prices)"), answer(3, "nothing", kind="rest"))}
    found = reckon("a", [task(1), other], answers, files=1, whole=1)
    shares = {(each.facet, each.word): each.shares["exact"].share for each in found.measures}
    assert shares == {
        ("", ""): 0.5,
        ("kind", "line"): 1.0,
        ("kind", "rest"): 0.0,
        ("language", "python"): 1.0,
        ("language", "lisp"): 0.0,
    }
    parsing = next(each for each in found.measures if each.word == "lisp").shares["parses"]
    assert parsing.tasks == 0


def test_how_authors_repeat_themselves_is_told():
    repeated = task(1, canonical="print(total)")
    found = reckon(
        "a",
        [repeated, task(2)],
        {"one": told(answer(1, "x", shown="total = sum(prices)\n"), answer(2, "x", shown="total  = sum(prices)"))},
        files=1,
        whole=1,
    )
    assert found.authors == {"prefix": 0.0, "suffix": 0.5, "context": 0.5}


# --- the command ---------------------------------------------------------------------------------


def typed(models, *arguments):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args(arguments, argparse.Namespace(models=models))


def test_command_prints_the_report_and_answers_at_random(shop, tmp_path, capsys):
    models = RecordingModels(ScriptedEngine("\x1b[31mred"))
    out = str(tmp_path / "out")
    asked = ("--set", str(shop), "--per-file", "4", "--kinds", "line,rest", "--every", "2", "--offset", "1")
    assert command.run(typed(models, *asked, "--arms", "one,none", "--out", out, "--show", "2")) == 0
    shown = capsys.readouterr().out
    assert "files: 4 holes in 1 of 2 files, those whose index by name leaves 1 when divided by 2" in shown
    assert "at most 4 in a file, seed 0, no cell run" in shown.replace("\n  ", " ")
    assert "2 of the 4 answers of the arm one, drawn at random" in shown
    assert "<U+001B>[31mred" in shown
    assert "\x1b" not in shown
    assert "none less one" not in shown  # only what is asked against the default
    assert max(map(len, shown.splitlines())) <= 100
    models.specs.clear()
    assert command.run(typed(models, "--only-report", "--out", out)) == 0
    assert "files: 4 holes in 1 of 2 files" in capsys.readouterr().out
    assert models.specs == []  # a report needs no model


def test_command_refuses_what_does_not_go_together(shop, tmp_path):
    models = ModelManager()
    for arguments, says in (
        (("--set", str(shop), "--set", "notebooks"), "Measure one after the other"),
        (("--set", str(shop), "--plot", str(tmp_path / "a.svg")), "--plot"),
        (("--set", str(shop), "--kinds", "words"), "--kinds"),
        (("--set", str(shop), "--temperature", "-1"), "--temperature"),
    ):
        with pytest.raises(OptionError, match=says):
            command.run(typed(models, *arguments, "--out", str(tmp_path / "out")))
    assert models.uses == 0


def test_what_is_a_set_of_own_files(shop, tmp_path):
    assert benchmarks.is_own(str(shop))
    assert benchmarks.is_own(str(shop / "a.ipynb"))
    (tmp_path / "tasks.jsonl").write_text("", "utf-8")
    (tmp_path / "empty").mkdir()
    for name in (
        "notebooks",
        "single-line",
        str(tmp_path / "tasks.jsonl"),
        str(tmp_path / "none"),
        str(tmp_path / "empty"),
    ):
        assert not benchmarks.is_own(name)


@pytest.mark.skipif(not REAL.is_dir(), reason="the data is not on this machine: FIM_MAGIC_DATA")
def test_real_notebooks_from_end_to_end(tmp_path):
    options = OwnOptions(sets=(str(REAL),), every=8, offset=4, per_file=2, template=TEMPLATE, out=tmp_path / "out")
    report, whole = evaluated(options, Author(tasks_of(REAL, every=8, offset=4, per_file=2)))
    assert whole
    assert {each.similarity for each in by_arm(report).values()} == {1.0}
    assert set(arms.USUAL) == set(by_arm(report))
