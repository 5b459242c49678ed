"""The version stands in pyproject.toml, and everything that tells it has it from there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fim_magic
from fim_magic import cli, provenance, reports
from fim_magic.version import UNKNOWN, find_version

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
STATED = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[1]
NOT_INSTALLED = "fim-magic-which-nobody-has-installed"


def test_all_tell_what_pyproject_says():
    assert fim_magic.__version__ == find_version() == STATED
    assert cli.__version__ == provenance.__version__ == reports.__version__ == fim_magic.__version__


def test_a_checkout_that_is_not_installed_has_the_version_of_its_pyproject(tmp_path):
    assert find_version(NOT_INSTALLED) == STATED
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace(f'"{STATED}"', '"9.8.7"'), "utf-8")
    assert find_version(NOT_INSTALLED, tmp_path) == "9.8.7"


def test_a_copy_that_is_neither_says_that_it_does_not_know(tmp_path):
    assert find_version(NOT_INSTALLED, tmp_path) == UNKNOWN
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "3.0"\n', "utf-8")
    assert find_version(NOT_INSTALLED, tmp_path) == UNKNOWN
    (tmp_path / "pyproject.toml").write_text('[tool.x]\nversion = "3.0"\n\n[project]\nname = "fim-magic"\n', "utf-8")
    assert find_version(NOT_INSTALLED, tmp_path) == UNKNOWN


def test_it_is_written_nowhere_else():
    for path in (ROOT / "fim_magic").rglob("*.py"):
        assert f'"{STATED}"' not in path.read_text("utf-8"), path


def test_nothing_below_the_root_imports_it_from_there():
    found = set()
    for path in (ROOT / "fim_magic").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            if names & set(fim_magic.__all__) and node.module == "fim_magic":
                found.add(path.relative_to(ROOT).as_posix())
    assert not found, "the root is above them: fim_magic.version has it"


def test_the_command_line_tells_it(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"fim-magic {STATED}\n"


def test_the_citation_says_what_the_project_says():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    stated = {name: re.search(rf'\b{name} = "(.+?)"', PROJECT)[1] for name in ("license", "Repository")}
    assert f"\nversion: {STATED}\n" in citation
    assert f"\nlicense: {stated['license']}\n" in citation
    assert f"\nrepository-code: {stated['Repository']}\n" in citation
    (author,) = re.findall(r'^authors = \[{ name = "(.+)" }\]$', PROJECT, re.MULTILINE)
    assert f"\n  - name: {author}\n" in citation


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "\n## [Unreleased]\n" in changelog
    assert STATED in changelog
