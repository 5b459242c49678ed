from __future__ import annotations

import pytest
from traitlets.config import Config

from fim_magic.document import MARKERS
from fim_magic.errors import MarkerError, OptionError
from fim_magic.settings import Settings, options_of

BUILT_IN = {"model": "auto", "candidates": 1, "max_new_tokens": 128, "temperature": 0.0, "top_p": 0.95, "order": "auto"}
# Per option: a value from the environment, from the configuration, and from the call.
VALUES = {
    "model": ("from-environment", "from-config", "from-call"),
    "candidates": (2, 3, 4),
    "max_new_tokens": (20, 30, 40),
    "temperature": (0.2, 0.3, 0.4),
    "top_p": (0.2, 0.3, 0.4),
    "seed": (2, 3, 4),
    "order": ("psm", "spm", "auto"),
}


def asked(settings, **options):
    model, request = settings.request("a <cursor> b", **options)
    return {
        "model": model,
        "candidates": request.candidates,
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "seed": request.sampling.seed,
        "order": request.order,
    }


def test_what_is_built_in():
    assert asked(Settings()).items() >= BUILT_IN.items()
    assert Settings().markers == list(MARKERS)


@pytest.mark.parametrize("name", VALUES)
def test_call_beats_config_beats_environment_beats_built_in(name, monkeypatch):
    environment, config, call = VALUES[name]
    monkeypatch.setenv(f"FIM_MAGIC_{name.upper()}", str(environment))
    configured = Config({"Settings": {name: config}})
    assert asked(Settings())[name] == environment
    assert asked(Settings(config=configured))[name] == config
    assert asked(Settings(**{name: config}))[name] == config
    assert asked(Settings(config=configured), **{name: call})[name] == call
    assert asked(Settings(config=configured), **{name: None})[name] == config


def test_a_trait_that_is_set_later_beats_the_environment(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CANDIDATES", "2")
    settings = Settings()
    settings.candidates = 3
    assert asked(settings)["candidates"] == 3


def test_several_candidates_are_sampled_unless_told_otherwise():
    assert asked(Settings(), candidates=3)["temperature"] == 0.8
    assert asked(Settings(), candidates=3, temperature=0)["temperature"] == 0.0


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
        ("max_new_tokens", 0),
        ("max_new_tokens", 12.5),
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


def test_one_marker_needs_no_list():
    assert Settings().request("a HERE b", markers="HERE")[1].document.prefix == "a "


@pytest.mark.parametrize(("name", "value"), [("candidates", "abc"), ("temperature", "hot"), ("seed", "")])
def test_an_unreadable_environment_is_told_when_it_matters(name, value, monkeypatch):
    monkeypatch.setenv(f"FIM_MAGIC_{name.upper()}", value)
    settings = Settings()  # the extension loads
    with pytest.raises(OptionError, match=f"FIM_MAGIC_{name.upper()} holds {value!r}"):
        settings.request("<cursor>")
    assert asked(settings, **{name: 1})[name] == 1


def test_an_option_that_does_not_exist_is_told_with_those_that_do():
    with pytest.raises(OptionError, match=r"'colour'.*candidates, markers"):
        Settings().request("<cursor>", colour="red")


def test_infilling_needs_a_marker_and_completion_does_not():
    with pytest.raises(MarkerError):
        Settings().request("x = ")
    _, request = Settings().request("x = ", method="complete")
    assert (request.document.prefix, request.method) == ("x = ", "complete")


def test_every_option_can_be_typed_and_has_a_help_text_for_argparse():
    options = options_of(Settings)
    assert set(options) == set(VALUES)
    for name, option in options.items():
        assert "--" + name.replace("_", "-") in option.flags
        assert option.help % {}
        assert option.type(str(VALUES[name][0])) == VALUES[name][0]
