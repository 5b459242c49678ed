"""The README says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from fim_magic import catalog, cli
from fim_magic.document import MARKERS
from fim_magic.magics import FimMagics
from fim_magic.settings import LOADING, Settings, options_of
from fim_magic.trimming import RULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_rule_is_named():
    section = README.partition("## Where an answer ends")[2].partition("\n## ")[0]
    named = [name for name in re.findall(r"`([a-z-]+)`", section) if "-" in name or name in RULES]
    assert sorted(named) == sorted(RULES)


def test_every_command_is_named_and_exists():
    manual = FimMagics.command.__doc__
    for command in re.findall(r"^\| `%fim (\w+)", README, re.MULTILINE):
        assert f"%fim {command}" in manual
    for command in re.findall(r"%fim ([a-z]+)", manual):
        assert f"%fim {command}" in README


def test_every_setting_that_no_option_sets_is_named():
    typed = options_of(Settings)
    for name in Settings.class_traits(config=True):
        assert name in typed or f"FimMagics.{name}" in README


def test_every_option_of_loading_is_named():
    for name in LOADING:
        assert f"`--{name}" in README


def test_every_marker_is_named():
    for marker in MARKERS:
        assert f"`{marker}`" in README


def test_models_in_examples_are_in_the_catalogue():
    for name in re.findall(r"(?:--model|fetch) ([a-z0-9.-]+)", README):
        assert catalog.find(name) is not None


def test_shell_examples_parse():
    for line in re.findall(r"^fim-magic .*?(?=\s+#|$)", README, re.MULTILINE):
        cli._parser().parse_args(line.split()[1:])


def test_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()
