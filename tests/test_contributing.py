"""What stands in .github is so: paths and names exist, the picture is the code's, checklists leave nothing out."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import families
import import_graph
import pytest
import test_formats
import test_frontends
import test_traps
import test_trimming

from fim_magic import catalog
from fim_magic.evaluate.answers import scoring
from fim_magic.formats import FAMILIES
from fim_magic.frontends.front_ends import FRONT_ENDS
from fim_magic.loading.loaders import ENGINES
from fim_magic.sandbox import Limits, child
from fim_magic.settings import Settings
from fim_magic.trimming import RULES

ROOT = Path(__file__).parent.parent
PAPERS = {path.name: path.read_text("utf-8") for path in (ROOT / ".github").glob("*.md")}
CONTRIBUTING, DECISIONS = PAPERS["CONTRIBUTING.md"], PAPERS["DECISIONS.md"]
MANUAL = [path for path in (ROOT / "README.md", ROOT / "notebooks" / "README.md") if path.is_file()]
SECTIONS = {text.partition("\n")[0]: text for text in CONTRIBUTING.split("\n## ")[1:]}
CHECKLISTS = [title for title in SECTIONS if title.startswith("How to add")]

ONLY_BY_NAME = {"CodeGemma Instruct"}
"""Families that nothing in a checkpoint tells from another one, so that they have no tiny checkpoint of their own."""


def spans(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def bullets(title):
    """The entries of a checklist, each with the paths and the other names that it has."""
    for text in re.findall(r"^- (.*(?:\n  .*)*)", SECTIONS[title], re.MULTILINE):
        found = spans(text)
        paths = [span for span in found if is_path(span)]
        yield text, paths, [span for span in found if span not in paths]


def is_path(text):
    return re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)*(/|\.(py|js|md|toml))|\.ci/run", text) is not None


def manual(heading):
    """What stands under a heading of the manual, in whichever file that is."""
    found = [path.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0] for path in MANUAL]
    return "\n".join(filter(None, found))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_path_exists(paper):
    paths = [span for span in spans(PAPERS[paper]) if is_path(span) and "/" in span]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_commands_to_set_up_and_test_are_the_readmes():
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"```bash\n(.*?)\n```", SECTIONS["Set up and test"], re.DOTALL)
    assert len(commands) == 2
    assert [command for command in commands if command not in readme] == []
    gate = (ROOT / ".ci" / "run").read_text("utf-8")
    for command in ("ruff check .", "ruff format --check .", "mypy"):
        assert f"\n{command}\n" in gate
        assert f"`{command}`" in SECTIONS["Set up and test"]


def test_markers_of_tests_are_named():
    project = (ROOT / "pyproject.toml").read_text("utf-8").partition("markers = [")[2].partition("\n]")[0]
    for marker in re.findall(r'^  "(\w+):', project, re.MULTILINE):
        assert f"`{marker}`" in SECTIONS["Set up and test"]


# --- checklists ----------------------------------------------------------------------------------


def test_there_are_four():
    assert [f"How to add a{what}" for what in (" family", " trimming rule", "n engine", " front end")] == CHECKLISTS


@pytest.mark.parametrize("title", CHECKLISTS)
def test_what_a_checklist_names_stands_in_the_files_that_it_names(title):
    for text, paths, names in bullets(title):
        files = [ROOT / path for path in paths if (ROOT / path).is_file()]
        said = "\n".join(path.read_text("utf-8") for path in files)
        missing = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said) is None]
        assert not files or missing == [], text


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_where_the_checklist_puts_it(rule):
    file = Path(inspect.getfile(RULES[rule]))
    assert file.parent == ROOT / "fim_magic" / "trimming"
    elsewhere = test_trimming.IN_FILES_OF_THEIR_OWN.get(rule, "")
    assert rule in test_trimming.TABLES or list((ROOT / "tests").rglob(f"{elsewhere}.py"))
    assert re.search(rf"^\|[^|]*`{rule}`[^|]*\|", manual("Where an answer ends"), re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.name}-{family.model_types[0]}")
def test_every_family_is_where_the_checklist_puts_it(family):
    rows = {name: row for name, row in families.FAMILIES.items() if row.family == family.name}
    assert rows or family.name in ONLY_BY_NAME
    entries = [entry for entry in catalog.ENTRIES if entry.family == family.name]
    assert entries
    for order in ("psm", "spm"):
        assert getattr(family, order) is None or (family.name, order) in test_formats.GOLDEN
    runs = {name for name, row in rows.items() if row.tokenizer_file and not row.code}
    assert not runs or runs & set(test_traps.STOPS)


def test_every_engine_is_where_the_checklist_puts_it():
    for engine in ENGINES:
        assert f'"{engine}"' in (ROOT / "tests" / "loading" / "test_choice.py").read_text("utf-8")
        assert any(f"`--engine {engine}" in text or f"`{engine}`" in text for text in map(Path.read_text, MANUAL))


def test_every_front_end_is_where_the_checklist_puts_it():
    kinds = {type(front_end) for front_end in FRONT_ENDS}
    assert kinds == {kind for _, _, kind in test_frontends.RECOGNISED}
    assert all(Path(inspect.getfile(kind)).parent == ROOT / "fim_magic" / "frontends" for kind in kinds)
    page = (ROOT / "fim_magic" / "frontends" / "static" / "notebook.js").read_text("utf-8")
    assert all(f"'{front_end.page}'" in page for front_end in FRONT_ENDS if front_end.page)


# --- decisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("section", DECISIONS.split("\n## ")[1:], ids=lambda text: text.partition("\n")[0])
def test_every_decision_has_its_date_and_stands_in_the_code(section):
    assert re.match(r"\d{4}-\d\d-\d\d: ", section)
    paths = [span for span in spans(section) if is_path(span)]
    code = "\n".join((ROOT / path).read_text("utf-8") for path in paths)
    assert paths
    assert [name for name in spans(section) if name.isidentifier() and name not in code] == []


def test_the_newest_decision_stands_first():
    dates = re.findall(r"^## (\S+):", DECISIONS, re.MULTILINE)
    assert dates == sorted(dates, reverse=True)


def test_docstrings_hold_no_measurements():
    told = re.compile(r"\b[Oo]f \d+ (?:\w+ )?(?:holes|answers|tasks|spans)|\bto \d+ tasks|\b[Mm]easured (?:on|after)\b")
    for path in (ROOT / "fim_magic").rglob("*.py"):
        if "evaluate" not in path.parts:
            assert told.search(path.read_text("utf-8")) is None, f"{path}: its figures belong into .github/DECISIONS.md"


# --- security ------------------------------------------------------------------------------------


def test_the_sandboxs_limits_are_those_that_are_told():
    told, limits = " ".join(PAPERS["SECURITY.md"].split()), Limits()
    for said in (
        f"{limits.seconds} s of processor time",
        f"{limits.memory >> 30} GiB of address space",
        f"{limits.file_size >> 20} MiB in one file",
        f"{limits.disk >> 20} MiB on disk",
        f"{limits.output >> 20} MiB of output",
        f"{limits.threads} threads",
        f"{child._OPEN_FILES} open files",
        f"gives {scoring._LIMITS.memory >> 30} GiB",
    ):
        assert said in told


def test_code_of_checkpoints_is_allowed_by_no_setting():
    assert not any("code" in name for name in Settings.class_traits(config=True))


# --- the picture of the imports ------------------------------------------------------------------


def test_the_picture_is_what_the_code_imports():
    (shown,) = re.findall(r"```mermaid\n(.*?)\n?```", CONTRIBUTING, re.DOTALL)
    assert shown == import_graph.mermaid(), "put what `python tests/import_graph.py` prints into CONTRIBUTING.md"


def test_no_two_import_each_other():
    assert import_graph.circles(import_graph.read()) == []


HEAVY = {
    "torch": {"engines/torch", "engines/memory.py", "reports/machine.py", "evaluate"},
    "transformers": {"engines/torch", "evaluate"},
    "IPython": {"__init__.py", "magics.py", "ghost.py", "frontends", "review", "cell_text.py", "evaluate"},
}
"""Where each of these is imported. The lists may only get shorter: everything else works without."""


@pytest.mark.parametrize("library", HEAVY)
def test_what_is_heavy_is_imported_in_few_places(library):
    found = set()
    for path in (ROOT / "fim_magic").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if any(name.partition(".")[0] == library for name in names):
                found.add(path.relative_to(ROOT / "fim_magic").as_posix())
    places = {place for place in HEAVY[library] if any(each == place or each.startswith(place + "/") for each in found)}
    assert places == HEAVY[library]
    assert not [each for each in found if not any(each == place or each.startswith(place + "/") for place in places)]


def test_a_picture_without_shortcuts_leads_to_the_same_nodes():
    graph = import_graph.read()
    shown = import_graph.without_shortcuts(graph)
    for node in graph:
        assert shown[node] <= graph[node]
        assert import_graph._reached(shown, node) == import_graph._reached(graph, node)


def test_imports_are_read_wherever_they_stand(tmp_path):
    package = tmp_path / "house"
    (package / "cellar").mkdir(parents=True)
    (package / "__init__.py").write_text("def f():\n    from house.roof import tiles\n", "utf-8")
    (package / "roof.py").write_text("import ast\nif TYPE_CHECKING:\n    from house import cellar, f\n", "utf-8")
    (package / "attic.py").write_text("import house.cellar.wine\n", "utf-8")
    (package / "cellar" / "__init__.py").write_text("from house.cellar import wine\n", "utf-8")
    (package / "cellar" / "wine.py").write_text("from house.roof import tiles\n", "utf-8")
    graph = import_graph.read(package)
    assert graph == {"__init__": {"roof"}, "roof": {"cellar", "__init__"}, "attic": {"cellar"}, "cellar": {"roof"}}
    assert import_graph.circles(graph) == [["__init__", "cellar", "roof"]]
    drawn = import_graph.mermaid(package)
    assert '    root["house"]' in drawn
    assert '    cellar["cellar/"]' in drawn
    assert "    roof --> cellar" in drawn
