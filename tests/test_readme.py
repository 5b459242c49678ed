"""The README and the manual, notebooks/README.md, say what is so."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import chinese
import pytest
from IPython.core.magic_arguments import parse_argstring

from fim_magic import catalog, cli
from fim_magic.magics import FimMagics
from fim_magic.markers import MARKERS
from fim_magic.settings import LOADING, Settings, options_of
from fim_magic.trimming import RULES

ROOT = Path(__file__).parent.parent
DOCUMENTS = {name: ROOT / name for name in ("README.md", "notebooks/README.md", "README.zh-TW.md")}
README, MANUAL, CHINESE = (path.read_text(encoding="utf-8") for path in DOCUMENTS.values())
BOTH = f"{README}\n{MANUAL}"

every_document = pytest.mark.parametrize("path", DOCUMENTS.values(), ids=DOCUMENTS)


def section(title: str) -> str:
    """A section of the manual, with what stands below its own headings."""
    _, found, rest = MANUAL.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def without_code(text: str) -> str:
    """A document without its code blocks and its code within lines, which hold no links and no headings."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def headings(text: str) -> list[tuple[int, str]]:
    """The depth and the title of each heading."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]


def anchor(title: str) -> str:
    """What a link to a heading ends with, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def targets(text: str) -> list[str]:
    """Where the links and pictures of a document lead, in Markdown and in HTML."""
    text = without_code(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"\b(?:src|srcset|href)=\"([^\"]+)\"", text)


def test_every_rule_is_named():
    rules = section("Where an answer ends")
    named = [name for name in re.findall(r"`([a-z-]+)`", rules) if "-" in name or name in RULES]
    assert sorted(named) == sorted(RULES)


def test_every_command_is_named_and_exists():
    told = FimMagics.command.__doc__
    commands = re.findall(r"^\| `%fim (\w+)", BOTH, re.MULTILINE)
    assert commands
    for command in commands:
        assert f"%fim {command}" in told
    for command in re.findall(r"%fim ([a-z]+)", told):
        assert f"%fim {command}" in MANUAL


def test_every_setting_that_no_option_sets_is_named():
    typed = options_of(Settings)
    for name in Settings.class_traits(config=True):
        assert name in typed or f"FimMagics.{name}" in BOTH


def test_every_option_of_the_magics_is_in_the_manual():
    flags = [flag for action in FimMagics.fim.parser._actions for flag in action.option_strings]
    assert {flag for option in options_of(Settings).values() for flag in option.flags} < set(flags)
    tables = "\n".join(re.findall(r"^\| `-.*$", section("In a notebook"), re.MULTILINE))
    for flag in flags:
        assert re.search(rf"`{flag}[` ]", tables), flag


def test_every_option_of_loading_is_named():
    for name in LOADING:
        assert f"`--{name}" in BOTH


def test_every_marker_is_named():
    for marker in MARKERS:
        assert f"`{marker}`" in BOTH


def test_models_in_examples_are_in_the_catalogue():
    names = re.findall(r"(?:--model|fetch|^%fim use) (?!\S+://)([a-z0-9.-]+)", BOTH, re.MULTILINE)
    assert names
    for name in names:
        assert catalog.find(name) is not None


def test_shell_examples_parse():
    lines = re.findall(r"^fim-magic .*?(?=\s+#|$)", BOTH, re.MULTILINE)
    assert lines
    for line in lines:
        cli._parser(line.split()[1:]).parse_args(line.split()[1:])


def test_cells_in_examples_parse():
    cells = re.findall(r"^%%(fim|complete)\b(.*)$", BOTH, re.MULTILINE)
    assert {name for name, _ in cells} == {"fim", "complete"}
    for name, line in cells:
        parse_argstring(getattr(FimMagics, name), line)


def test_modules_in_the_manual_exist():
    named = re.findall(r"`(\w+)`", section("Reading the code"))
    assert len(named) > 10
    for name in named:
        assert name == "fim_magic" or find_spec(f"fim_magic.{name}") is not None, name


@every_document
def test_links_and_pictures_are_there(path):
    found = targets(path.read_text(encoding="utf-8"))
    assert any("/images/" in f"/{target}" for target in found)
    for target in found:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = path if not name else (path.parent / name).resolve()
        assert file.is_relative_to(ROOT.resolve()), target
        assert file.is_file(), target
        if fragment:
            titles = [title for _, title in headings(file.read_text(encoding="utf-8"))]
            assert fragment in map(anchor, titles), target


def test_contents_are_the_headings():
    told = re.findall(r"^( *)- \[(.+)\]\(#(.+)\)$", section("Contents"), re.MULTILINE)
    listed = [(2 + len(indent) // 2, title, fragment) for indent, title, fragment in told]
    below = [(depth, title) for depth, title in headings(MANUAL) if depth > 1 and title != "Contents"]
    assert listed == [(depth, title, anchor(title)) for depth, title in below]
    assert len({fragment for *_, fragment in listed}) == len(listed)


def test_the_readme_has_ten_things_each_with_one_example():
    _, _, things = README.partition("\n## Ten things people do\n")
    numbered = re.split(r"^\*\*(\d+)\. ", things.partition("\n## ")[0], flags=re.MULTILINE)
    assert [int(number) for number in numbered[1::2]] == list(range(1, 11))
    for told in numbered[2::2]:
        assert len(re.findall(r"^```\w+$", told, re.MULTILINE)) == 1


def test_notebooks_are_linked():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"({path.name})" in MANUAL
        assert f"(notebooks/{path.name})" in README


def test_the_chinese_readme_shows_what_the_english_one_does():
    blocks = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    assert blocks.findall(CHINESE) == blocks.findall(README)
    assert [depth for depth, _ in headings(CHINESE)] == [depth for depth, _ in headings(README)]
    assert re.findall(r"^\*\*\d+\. ", CHINESE, re.MULTILINE) == re.findall(r"^\*\*\d+\. ", README, re.MULTILINE)
    other = {"README.md": "README.zh-TW.md"}
    assert {other.get(target, target) for target in targets(CHINESE)} == set(targets(README))


def test_the_chinese_readme_has_full_width_punctuation():
    prose = re.sub(r"\]\([^)]*\)|<[^>]*>", "]", without_code(CHINESE))
    assert chinese.faults(prose) == []
