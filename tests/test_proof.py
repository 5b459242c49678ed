from __future__ import annotations

import contextlib
import dataclasses
import io
import re

import families
import pytest
from checkpoints import INFILLING
from scripted import QWEN, ScriptedEngine, byte_tokenizer
from tokenizers import Tokenizer

from fim_magic import proof
from fim_magic.document import parse
from fim_magic.formats import FAMILIES, Family, Part, family_of
from fim_magic.loading.manager import MODELS
from fim_magic.loading.spec import ModelSpec
from fim_magic.proof import EXAMPLE, Verdict, prove, recognised
from fim_magic.tokenization import TextTokenizer

STARCODER = next(family for family in FAMILIES if family.name == "StarCoder")
STARCHAT = next(family for family in FAMILIES if family.name == "StarChat")
CODEGEN = next(family for family in FAMILIES if family.name == "CodeGen")


def sentinels_of(family: Family) -> list[str]:
    return sorted({*family.sentinels(), *family.stop})


class Trained(ScriptedEngine):
    """A stand-in for a model that was trained on `trained`: only such a prompt does it read aright.

    Any other prompt is to it a text without anything behind it, as a wrong order or a missing sentinel is to a real one.
    """

    def __init__(self, trained: Family, *, believed: Family | None = None, stops: bool = True) -> None:
        super().__init__(family=believed or trained, tokenizer=byte_tokenizer(sentinels_of(trained)))
        self.trained = trained
        self.stops = stops
        self.asked: list[str] = []

    def generate(self, prompt, **options):
        text = self.tokenizer.decode(list(prompt))
        self.asked.append(text)
        self.answers = (self.answer(text) + ("" if self.stops else "\n# and so on" * 20),)
        return super().generate(prompt, **options)

    def answer(self, prompt: str) -> str:
        for template in filter(None, (self.trained.psm, self.trained.spm)):
            pattern = "".join(self.pattern_of(item) for item in template)
            read = re.fullmatch(pattern, prompt, re.DOTALL)
            if read:
                return self.from_what_follows(read["suffix"])
        return "FAREWELL + name)" if "GREETING + name" in prompt else '"Hello, " + name)'

    @staticmethod
    def pattern_of(item) -> str:
        return f"(?P<{item.value}>.*)" if isinstance(item, Part) else re.escape(getattr(item, "text", item))

    def from_what_follows(self, suffix: str) -> str:
        answers = {
            "GREETING": "GREETING + name",
            "再見": "你好 + name",
            "total": "total = sum(numbers)",
            "height": "th",
        }
        return next((answer for key, answer in answers.items() if key in suffix), "pass")


def verdicts(found: proof.Proof) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in found.all_checks}


# --- the example ---------------------------------------------------------------------------------


def test_the_example_is_ten_lines_with_a_chinese_string_and_the_marker_in_the_call():
    assert len(EXAMPLE.splitlines()) == 10
    assert "print(<游標在這>)" in EXAMPLE
    assert "你好" in EXAMPLE
    assert {"def hello(name):", "def goodbye(name):"} <= set(EXAMPLE.splitlines())


def test_its_right_middle_makes_a_program_that_greets():
    names: dict = {}
    document = parse(EXAMPLE)
    exec(document.rebuild("GREETING + name"), names)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        names["hello"]("世界")
        names["goodbye"]("世界")
    assert said.getvalue() == "你好，世界\n再見，世界\n"


def test_only_what_stands_after_the_hole_can_lead_to_it():
    document = parse(EXAMPLE)
    assert "GREETING" not in document.prefix
    assert "GREETING" in document.suffix


@pytest.mark.parametrize("probe", [proof._HELLO, *proof._INFILLING, proof._CONTINUING], ids=lambda probe: probe.name)
def test_every_probes_right_answer_has_what_it_needs_and_makes_a_program(probe):
    assert re.search(probe.needs, probe.right)
    compile(probe.document.rebuild(probe.right), probe.name, "exec")
    assert not re.search(probe.needs, probe.document.prefix.rpartition("\n")[2])


# --- what is asked and how it is judged ----------------------------------------------------------


def test_a_model_that_gets_its_own_prompts_passes():
    model = Trained(STARCODER)
    found = prove(model)
    assert found.failed == []
    assert verdicts(found)["the ten lines, PSM"] is Verdict.OK
    assert verdicts(found)["the ten lines, SPM"] is Verdict.OK
    assert verdicts(found)["the ten lines, left to right"] is Verdict.OK
    assert [answer.middle for answer in found.answers[:2]] == ["GREETING + name"] * 2
    assert all(answer.stopped for answer in found.answers)


def test_every_order_that_the_family_has_is_asked_and_no_other():
    orders = [answer.prompt.order for answer in prove(Trained(STARCODER)).answers if answer.probe is proof._HELLO]
    assert orders == ["psm", "spm", ""]
    orders = [answer.prompt.order for answer in prove(Trained(QWEN)).answers if answer.probe is proof._HELLO]
    assert orders == ["psm", ""]


PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"


WRONG = [
    pytest.param((SUFFIX, Part.PREFIX, PREFIX, Part.SUFFIX, MIDDLE), id="sentinels exchanged"),
    pytest.param((PREFIX, Part.SUFFIX, SUFFIX, Part.PREFIX, MIDDLE), id="texts exchanged"),
    pytest.param((Part.PREFIX, SUFFIX, Part.SUFFIX, MIDDLE), id="no prefix sentinel"),
    pytest.param((PREFIX, Part.PREFIX, SUFFIX, Part.SUFFIX), id="no middle sentinel"),
    pytest.param((PREFIX, SUFFIX, Part.SUFFIX, MIDDLE, Part.PREFIX), id="suffix first"),
]


@pytest.mark.parametrize("template", WRONG)
def test_a_prompt_that_the_model_was_not_trained_on_fails(template):
    found = prove(Trained(QWEN, believed=dataclasses.replace(QWEN, psm=template)))
    assert verdicts(found)["the ten lines, PSM"] is Verdict.FAILED
    assert found.failed


def test_one_wrong_order_of_two_fails():
    found = prove(
        Trained(STARCODER, believed=dataclasses.replace(STARCODER, spm=(*STARCODER.psm[2:], *STARCODER.psm[:2])))
    )
    assert verdicts(found)["the ten lines, PSM"] is Verdict.OK
    assert verdicts(found)["the ten lines, SPM"] is Verdict.FAILED


def test_an_answer_that_the_text_before_the_hole_gives_as_well_shows_nothing():
    model = Trained(QWEN)
    model.answer = lambda _prompt: "GREETING + name"
    assert verdicts(prove(model))["the ten lines, left to right"] is Verdict.NOT_JUDGED


def test_a_model_that_never_stops_by_itself_is_told_of_and_does_not_fail():
    found = prove(Trained(QWEN, stops=False))
    assert found.failed == []
    assert verdicts(found)["ends by itself"] is Verdict.NOT_JUDGED
    first = found.answers[0]
    assert not first.stopped
    assert first.middle == "GREETING + name"
    assert first.text.startswith(first.middle)
    assert len(first.text) > len(first.middle)


def test_a_model_that_only_completes_is_asked_from_left_to_right():
    model = Trained(CODEGEN)
    found = prove(model)
    assert found.failed == []
    assert [answer.prompt.order for answer in found.answers] == [""]
    assert verdicts(found)["sentinels"] is Verdict.NOT_JUDGED
    assert verdicts(found)["the ten lines, left to right"] is Verdict.OK


def test_a_chat_model_is_asked_in_its_dialogue():
    model = Trained(STARCHAT)
    found = prove(model)
    assert found.failed == []
    assert model.asked[0].startswith("<|system|>")
    assert "<|assistant|>" in model.asked[0]


def test_a_completion_that_makes_no_sense_fails():
    model = Trained(CODEGEN)
    model.answer = lambda _prompt: "1)"
    assert verdicts(prove(model))["the ten lines, left to right"] is Verdict.FAILED


def test_half_a_character_fails():
    model = Trained(QWEN)
    model.answer = lambda _prompt: "你好\ufffd + GREETING"
    assert verdicts(prove(model))["a name in Chinese, PSM"] is Verdict.FAILED


def test_what_was_cut_in_a_word_is_healed_before_it_is_judged():
    from scripted import word_tokenizer

    probe = proof.Probe("the rest of a word", "def f(text):\n    pri<cursor>(text)\n", "nt", "^nt$")
    engine = ScriptedEngine("print", tokenizer=word_tokenizer())
    prompt = proof.fim_prompt(engine.family, engine.tokenizer, probe.document, order="psm", room=100)
    assert prompt.healed == "pri"
    assert proof._answer(engine, probe, prompt).check.verdict is Verdict.OK


def test_progress_goes_from_nothing_to_all():
    seen = []
    found = prove(Trained(STARCODER), seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [
        (done, len(found.answers)) for done in range(len(found.answers) + 1)
    ]


@pytest.mark.parametrize("name", INFILLING)
def test_a_real_engine_is_asked_all_there_is(engine, name):
    """With random weights, so what it says is nothing to judge."""
    found = prove(engine(name))
    orders = 1 + (engine(name).family.spm is not None)
    assert len(found.answers) == orders + len(proof._INFILLING) + 1
    tokenizer = [check for check in found.checks if check.verdict is Verdict.FAILED]
    assert tokenizer == []


# --- the tokenizer -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_familys_tokenizer_passes(name):
    """The tokenizers are those that the vendors have, but for their vocabularies."""
    row = families.FAMILIES[name]
    tokenizer = TextTokenizer(Tokenizer.from_str(families.tokenizer_json(row)), bos=row.bos or None)
    found = family_of(row.config, tokenizer, named=row.family if row.family != "llama" else "")
    engine = ScriptedEngine("x", family=found, tokenizer=tokenizer)
    failed = {check.name for check in proof._check_tokenizer(engine) if check.verdict is Verdict.FAILED}
    assert not failed


def test_a_missing_sentinel_fails_and_nothing_is_asked():
    tokenizer = byte_tokenizer([token for token in QWEN.stop if token != "<|fim_suffix|>"])
    found = prove(ScriptedEngine("x", tokenizer=tokenizer))
    assert found.answers == ()
    assert verdicts(found)["sentinels"] is Verdict.FAILED
    assert "<|fim_suffix|>" in found.failed[0].detail


def test_a_sentinel_beyond_the_embedding_is_missing():
    tokenizer = byte_tokenizer()
    rows = tokenizer.sentinel("<|fim_middle|>")
    cut = TextTokenizer(tokenizer._backend, vocabulary_rows=rows)
    assert verdicts(prove(ScriptedEngine("x", tokenizer=cut)))["sentinels"] is Verdict.FAILED


def test_a_checkpoint_without_any_stop_token_fails():
    family = dataclasses.replace(CODEGEN, stop=("<nowhere>",))
    engine = ScriptedEngine("x", family=family, tokenizer=byte_tokenizer(["<|endoftext|>"]))
    assert proof._check_stop_tokens(engine).verdict is Verdict.FAILED


class Spoilt(TextTokenizer):
    """A tokenizer that is wrong in one way."""

    def __init__(self, spoils: str) -> None:
        super().__init__(byte_tokenizer()._backend)
        self.spoils = spoils

    def encode(self, text: str, *, unspaced: bool = False) -> list[int]:
        if self.spoils == "sentinels" and "<|fim_middle|>" in text:
            return [self.sentinel("<|fim_middle|>")]
        if self.spoils == "digits":
            text = re.sub(r"(?<= ) +(?=\d)", "", text)
        if self.spoils == "scripts":
            text = text.encode("latin-1", "replace").decode("latin-1")
        return super().encode(text, unspaced=unspaced)

    def stream(self):
        stream = super().stream()
        if self.spoils == "streams":
            stream.push(self.encode("?")[0])
        return stream


@pytest.mark.parametrize(
    ("spoils", "failing"),
    [
        ("sentinels", ["sentinels in text"]),
        ("digits", ["digits and spaces"]),
        ("scripts", ["round trip"]),
        ("streams", ["round trip", "digits and spaces"]),
        ("nothing", []),
    ],
)
def test_a_tokenizer_that_is_wrong_fails(spoils, failing):
    engine = ScriptedEngine("x", tokenizer=Spoilt(spoils))
    assert [check.name for check in proof._check_tokenizer(engine) if check.verdict is Verdict.FAILED] == failing


@pytest.mark.parametrize(
    ("bos", "leading", "template", "verdict"),
    [
        pytest.param("", "", (), Verdict.OK, id="none, as it is"),
        pytest.param("<s>", "<s>", (), Verdict.OK, id="one, as it is"),
        pytest.param("<s>", "", (), Verdict.OK, id="one, though the tokenizer has none"),
        pytest.param(None, "<s>", (), Verdict.OK, id="one, by the tokenizer"),
        pytest.param(None, "", (), Verdict.OK, id="none, by the tokenizer"),
        pytest.param("<s>", "", ("<s>",), Verdict.FAILED, id="two"),
        pytest.param("", "<s>", (), Verdict.NOT_JUDGED, id="none, though the tokenizer has one"),
    ],
)
def test_there_is_exactly_the_bos_that_the_family_wants(bos, leading, template, verdict):
    tokenizer = TextTokenizer(byte_tokenizer([*QWEN.stop, "<s>"])._backend, bos=leading)
    family = dataclasses.replace(QWEN, bos=bos, psm=(*template, *QWEN.psm))
    found = prove(ScriptedEngine("x", family=family, tokenizer=tokenizer))
    assert verdicts(found)["BOS"] is verdict


# --- why it is this family -----------------------------------------------------------------------


def test_why_a_family_was_recognised_is_said():
    assert recognised(STARCODER) == (
        "its architecture is gpt_bigcode, and its vocabulary has <fim_middle>, <fim_prefix>, <fim_suffix>"
    )
    assert recognised(STARCODER, "the catalogue").startswith("the catalogue names it")
    assert "left to right only" in recognised(CODEGEN)


# --- the real model ------------------------------------------------------------------------------


@pytest.mark.real_model
def test_the_real_model_passes_with_its_own_prompts_and_fails_with_any_other():
    engine = MODELS.use(ModelSpec.of("qwen2.5-coder-0.5b")).engine
    assert prove(engine).failed == []
    for template in (param.values[0] for param in WRONG):
        family = dataclasses.replace(engine.family, psm=template)
        prompt = proof.fim_prompt(family, engine.tokenizer, proof._HELLO.document, order="psm", room=1000)
        assert proof._answer(engine, proof._HELLO, prompt).check.verdict is Verdict.FAILED
    MODELS.unload()
