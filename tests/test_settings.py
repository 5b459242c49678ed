from __future__ import annotations

import subprocess
import sys

import pytest
from shells import extended_shell, run_cell
from traitlets import TraitError
from traitlets.config import Config

from fim_magic import cli
from fim_magic.context import MODES
from fim_magic.errors import MarkerError, OptionError
from fim_magic.formats import ORDERS, family_names
from fim_magic.loading.loaders import ENGINES
from fim_magic.loading.manager import ModelManager
from fim_magic.markers import MARKERS
from fim_magic.options import origin_note
from fim_magic.settings import LOADING, METHODS, QUANTIZATIONS, Settings, options_of

BUILT_IN = {
    "model": "auto",
    "method": "fim",
    "max_prompt_tokens": 0,  # as many as are read in some seconds
    "candidates": 0,  # as many as the machine makes cheap
    "check": [],
    "max_new_tokens": 128,
    "lines": 1,
    "temperature": 0.0,
    "top_p": 0.95,
    "order": "auto",
    "quantize": None,
    "precision": None,
    "family": None,
    "engine": None,
    "tokenizer": None,
}
# Per option: a value from the environment, from the configuration, and from the call.
VALUES = {
    "model": ("from-environment", "from-config", "from-call"),
    "method": ("rank", "fim", "rank"),
    "candidates": (2, 3, 4),
    "check": (["a"], ["b"], ["c"]),
    "max_new_tokens": (20, 30, 40),
    "max_prompt_tokens": (2000, 3000, 4000),
    "lines": (2, 3, 4),
    "temperature": (0.2, 0.3, 0.4),
    "top_p": (0.2, 0.3, 0.4),
    "seed": (2, 3, 4),
    "order": ("psm", "spm", "auto"),
    "quantize": ("8bit", "4bit", "none"),
    "precision": ("packed", "exact", "auto"),
    "family": ("Mellum", "StarCoder", "auto"),
    "engine": ("gguf", "torch", "auto"),
    "tokenizer": ("tiny", "owner/name", "folder"),
}
LOADED_AS = {"none": None, "auto": None}  # what `ModelSpec` gets for these words


def asked(settings, **options):
    model, request = settings.request("a <cursor> b", **options)
    return {
        "model": model,
        "method": request.method,
        "candidates": request.candidates,
        "check": [*request.check_spec.expressions],
        "max_new_tokens": request.max_new_tokens,
        "max_prompt_tokens": request.max_prompt_tokens,
        "lines": request.lines,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "seed": request.sampling.seed,
        "order": request.order,
        **settings.loading(**options),
    }


def test_what_is_built_in():
    assert asked(Settings()).items() >= BUILT_IN.items()
    assert Settings().markers == list(MARKERS)


@pytest.mark.parametrize("name", VALUES)
def test_call_beats_config_beats_environment_beats_built_in(name, monkeypatch):
    environment, config, call = VALUES[name]
    monkeypatch.setenv(f"FIM_MAGIC_{name.upper()}", environment[0] if name == "check" else str(environment))
    configured = Config({"Settings": {name: config}})
    call_means = LOADED_AS.get(call, call) if name in LOADING else call
    assert asked(Settings())[name] == environment
    assert asked(Settings(config=configured))[name] == config
    assert asked(Settings(**{name: config}))[name] == config
    assert asked(Settings(config=configured), **{name: call})[name] == call_means
    assert asked(Settings(config=configured), **{name: None})[name] == config


def test_a_trait_that_is_set_later_beats_the_environment(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CANDIDATES", "2")
    settings = Settings()
    settings.candidates = 3
    assert asked(settings)["candidates"] == 3


def test_nothing_is_sampled_unless_told_otherwise():
    assert asked(Settings(), candidates=3)["temperature"] == 0.0
    assert asked(Settings(), candidates=3, temperature=0.8)["temperature"] == 0.8


def test_without_a_seed_each_request_has_another():
    seeds = {asked(Settings())["seed"] for _ in range(20)}
    assert len(seeds) == 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("candidates", 0),
        ("candidates", 65),
        ("candidates", 1.5),
        ("candidates", "3"),
        ("candidates", "many"),
        ("method", "guess"),
        ("check", [1]),
        ("max_new_tokens", 0),
        ("max_new_tokens", 12.5),
        ("lines", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", "x"),
        ("seed", "x"),
        ("seed", 1.5),
        ("order", "PSM"),
        ("order", 3),
        ("model", ""),
        ("model", 3),
    ],
)
def test_a_value_that_makes_no_sense_is_told_with_its_flag(name, value):
    with pytest.raises(OptionError) as caught:
        Settings().request("<cursor>", **{name: value})
    assert "--" + name.replace("_", "-") in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("markers", [[], [""], [3], 3])
def test_markers_that_make_no_sense(markers):
    with pytest.raises(OptionError, match="markers"):
        Settings().request("<cursor>", markers=markers)


@pytest.mark.parametrize("typed", ["4bit", "4BIT"])
def test_how_a_model_is_loaded_is_said_in_any_case(typed):
    told = Settings().loading(quantize=typed, precision="Packed", family="granite CODE", engine="GGUF")
    family, engine = "Granite Code", "gguf"
    assert told == {"quantize": "4bit", "precision": "packed", "family": family, "engine": engine, "tokenizer": None}


def test_how_a_model_is_loaded_is_no_part_of_the_request():
    given = {"model": "tiny", "quantize": "8bit", "family": "Mellum", "engine": "torch", "candidates": 2}
    model, request = Settings().request("<cursor>", **given)
    assert (model, request.candidates) == ("tiny", 2)
    how = {"quantize": "8bit", "precision": None, "family": "Mellum", "engine": "torch", "tokenizer": None}
    assert Settings().loading(**given) == how


def test_none_beats_a_quantization_that_is_configured():
    assert Settings(quantize="8bit").loading(quantize="none")["quantize"] is None
    assert Settings(quantize=None).loading()["quantize"] is None


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        ("quantize", "5bit", ["none", "8bit", "4bit"]),
        ("quantize", 4, ["none", "8bit", "4bit"]),
        ("family", "Mellow", ["auto", *family_names()]),
        ("family", ["Mellum"], ["auto", *family_names()]),
        ("engine", "onnx", ["auto", "torch", "gguf", "server"]),
        ("engine", "none", ["auto", "torch", "gguf", "server"]),
    ],
)
def test_an_unknown_way_of_loading_is_told_with_the_possible_ones(name, value, possible):
    with pytest.raises(OptionError) as caught:
        Settings().loading(**{name: value})
    assert str(caught.value) == f"--{name} is one of {', '.join(possible)}; {value!r} is not."


def test_loading_knows_the_same_options_as_a_request():
    with pytest.raises(OptionError, match="'colour'"):
        Settings().loading(colour="red")


def test_one_marker_needs_no_list():
    assert Settings().request("a HERE b", markers="HERE")[1].document.prefix == "a "


def test_details_come_from_the_configuration_or_the_environment(monkeypatch):
    assert Settings().details == "line"
    monkeypatch.setenv("FIM_MAGIC_DETAILS", "full")
    assert Settings().details == "full"
    assert Settings(details="line").details == "line"
    monkeypatch.setenv("FIM_MAGIC_DETAILS", "everything")
    with pytest.raises(OptionError, match="FIM_MAGIC_DETAILS holds 'everything'"):
        Settings().request("<cursor>")


@pytest.mark.parametrize(("name", "value"), [("max_new_tokens", "abc"), ("temperature", "hot"), ("seed", "")])
def test_an_unreadable_environment_is_told_when_it_matters(name, value, monkeypatch):
    monkeypatch.setenv(f"FIM_MAGIC_{name.upper()}", value)
    settings = Settings()  # the extension loads
    with pytest.raises(OptionError, match=f"FIM_MAGIC_{name.upper()} holds {value!r}"):
        settings.request("<cursor>")
    assert asked(settings, **{name: 1})[name] == 1


WRONG = {  # in an environment variable: what each setting cannot be, though it may be read
    "model": "",
    "method": "guess",
    "candidates": "0",
    "max_new_tokens": "0",
    "max_prompt_tokens": "1",
    "lines": "0",
    "temperature": "-1",
    "top_p": "2",
    "seed": f"{2**70}",
    "order": "mps",
    "context": "most",
    "quantize": "3bit",
    "precision": "rough",
    "family": "Nobody",
    "engine": "steam",
    "tokenizer": "",
    "markers": "\u200b",
    "idle_minutes": "-1",
    "wait_seconds": "inf",
    "auto": "maybe",
    "stats": "maybe",
    "details": "everything",
    "filling": "some",
    "allowed_hosts": "a/b",
    "remote_context": "everything",
    "ghost": "always",
    "ghost_hosts": "a/b",
    "unconfined_checks": "never",
}
ANYTHING = {"check"}  # an expression may be any text


def use(settings):
    settings.request("a <cursor> b")
    settings.loading()
    settings.waiting()
    settings.permission_for_typing()


@pytest.mark.parametrize("name", WRONG)
def test_what_a_wrong_environment_variable_holds_is_told_by_its_name(name, monkeypatch):
    variable = f"FIM_MAGIC_{name.upper()}"
    monkeypatch.setenv(variable, WRONG[name])
    settings = Settings()
    with pytest.raises(OptionError, match=variable) as told:
        use(settings)
    assert "Change or unset it" in str(told.value)
    assert "FimMagics" not in str(told.value)
    monkeypatch.delenv(variable)
    use(Settings())


@pytest.mark.parametrize(
    ("typed", "is_told"),
    [
        ("", True),
        ("--engine gguf", False),
        ("--engine=gguf", False),
        ("-n 3 --engines", True),
        ("--quantize 4bit", True),
    ],
)
def test_an_option_to_omit_that_nobody_has_typed_is_told_by_its_variable(typed, is_told, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_ENGINE", "gguf")
    monkeypatch.setenv("FIM_MAGIC_MODEL", "tiny")
    settings = Settings()
    note = origin_note(settings, "--engine gguf runs .gguf files. Omit it, or --models.", typed)
    assert note == is_told * " --engine comes from the environment variable FIM_MAGIC_ENGINE; change or unset it."
    assert origin_note(settings, "--model PATH", "-m there") == ""
    settings.engine = "torch"
    assert origin_note(settings, "Omit --engine torch.", typed) == ""


def test_both_doors_tell_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("FIM_MAGIC_ENGINE", "gguf")
    assert cli.main(["fetch", "starcoder2-3b"], ModelManager()) == 1
    assert "--engine comes from the environment variable FIM_MAGIC_ENGINE" in capsys.readouterr().err
    with extended_shell(tmp_path) as shell:
        assert "variable FIM_MAGIC_ENGINE" in run_cell(shell, "%fim use starcoder2-3b")
        assert "variable FIM_MAGIC_ENGINE" not in run_cell(shell, "%fim use starcoder2-3b --engine gguf")


def test_each_setting_that_has_a_variable_has_a_wrong_value():
    traits = Settings.class_traits(config=True)
    assert {name for name, trait in traits.items() if {"flags", "from_environment"} & trait.metadata.keys()} == {
        *WRONG,
        *ANYTHING,
    }


def test_an_error_names_what_can_be_changed(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_LINES", "0")
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", "gpu.example:8000,a/b")
    monkeypatch.setenv("FIM_MAGIC_DETAILS", "all")
    settings = Settings()
    with pytest.raises(OptionError, match="it is one of line, full"):
        use(settings)
    settings.details = "full"
    with pytest.raises(OptionError, match=r"allowed hosts \(the environment variable FIM_MAGIC_ALLOWED_HOSTS\), 'a/b'"):
        settings.permission()
    settings.allowed_hosts = [*settings.allowed_hosts, "c:1"]  # as %fim allow does
    with pytest.raises(OptionError, match="FIM_MAGIC_ALLOWED_HOSTS"):
        settings.permission()
    settings.allowed_hosts = ["c d"]
    with pytest.raises(OptionError, match=r"FimMagics\.allowed_hosts"):
        settings.permission()
    settings.allowed_hosts = []
    with pytest.raises(OptionError, match="variable FIM_MAGIC_LINES is from 1"):
        use(settings)
    settings.lines = -3
    with pytest.raises(OptionError, match=r"FimMagics\.lines is from 1"):
        use(settings)
    with pytest.raises(OptionError, match=r"^--lines is from 1"):
        settings.request("<cursor>", lines=-3)


def test_an_option_that_does_not_exist_is_told_with_those_that_do():
    with pytest.raises(OptionError, match=r"'colour'.*candidates, check, context, engine, family, lines, markers"):
        Settings().request("<cursor>", colour="red")


def test_checks_are_expressions_or_the_doctests():
    checks = Settings().request("<cursor>", check=["f(1) == 2", "doctests"])[1].check_spec
    assert (checks.expressions, checks.doctests) == (("f(1) == 2",), True)
    assert not Settings().request("<cursor>")[1].check_spec.anything
    assert Settings().request("<cursor>", check="f(1) == 2")[1].check_spec.expressions == ("f(1) == 2",)


def test_several_markers_are_several_holes():
    _, request = Settings().request("a = <cursor>\nb = <cursor>\n")
    assert request.blanks.count == request.document.holes == 2
    assert Settings().request("a = <cursor>")[1].blanks is None


def test_infilling_needs_a_marker_and_completion_does_not():
    with pytest.raises(MarkerError):
        Settings().request("x = ")
    _, request = Settings().request("x = ", complete=True)
    assert (request.document.prefix, request.method) == ("x = ", "complete")


WORDS = {
    "engine": ("auto", *ENGINES),
    "method": METHODS,
    "context": MODES,
    "order": ORDERS,
    "quantize": QUANTIZATIONS,
}
"""What some options take: their help names it all."""


def test_every_option_can_be_typed_and_has_a_help_text_for_argparse():
    options = options_of(Settings)
    # The context is about the notebook around the text, the markers about the text itself.
    assert set(options) == {*VALUES, "context", "markers"}
    for name, option in options.items():
        assert "--" + name.replace("_", "-") in option.flags
        assert option.help % {}
        assert all(word in option.help for word in WORDS.get(name, ()))
        for value in VALUES.get(name, ["cells"]):
            for each in value if option.repeats else [value]:
                assert option.type(str(each)) == each


# --- how long a model may stay unused ------------------------------------------------------------


def test_an_unused_model_stays_half_an_hour():
    assert Settings().idle_minutes == 30


def test_idle_minutes_come_from_the_configuration_or_the_environment(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_IDLE_MINUTES", "2.5")
    assert Settings().idle_minutes == 2.5
    assert Settings(config=Config({"Settings": {"idle_minutes": 5}})).idle_minutes == 5
    assert "idle_minutes" not in options_of(Settings)  # it is about the notebook, and not about one cell


@pytest.mark.parametrize("minutes", [-1, "a while", None])
def test_idle_minutes_that_make_no_sense(minutes):
    with pytest.raises(TraitError):
        Settings(idle_minutes=minutes)


@pytest.mark.parametrize("value", ["-1", "long"])
def test_unreadable_idle_minutes_are_told_when_something_is_asked(value, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_IDLE_MINUTES", value)
    with pytest.raises(OptionError, match=f"FIM_MAGIC_IDLE_MINUTES holds '{value}', which idle_minutes cannot be"):
        Settings().request("<cursor>")


def test_the_extension_loads_without_what_the_first_request_needs():
    script = (
        "import sys, fim_magic.extension\n"
        "first = ('fim_magic.engines', 'fim_magic.loading.loaders', 'fim_magic.request', 'fim_magic.review')\n"
        "print([name for name in first if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
