from __future__ import annotations

import itertools
import re
from pathlib import Path

import families
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic import catalog
from fim_magic.engines.torch.architectures import KNOWN
from fim_magic.formats import FAMILIES

GIB = 2**30
NAMES = [entry.name for entry in catalog.ENTRIES]
FREE_LICENCES = {"Apache-2.0", "MIT", "BSD-3-Clause"}
INFILLING = {family.name for family in FAMILIES if family.can_infill}


def entry(name: str) -> catalog.Entry:
    found = catalog.find(name)
    assert found is not None
    return found


def test_names_are_unique_and_found_in_any_letter_case():
    assert len(set(NAMES)) == len(NAMES)
    for each in catalog.ENTRIES:
        assert re.fullmatch(r"[a-z0-9.-]+", each.name)
        assert catalog.find(each.name.upper()) is each
    assert catalog.find("nonsense") is None


def test_every_entry_has_a_source_a_licence_and_a_family_that_can_do_what_it_says():
    for each in catalog.ENTRIES:
        assert each.repo or each.gguf
        assert each.licence
        assert each.family in INFILLING or not each.infills
        assert not (each.chats and each.infills)
        if each.gguf is not None:
            assert len(bytes.fromhex(each.gguf.sha256)) == 32
            assert each.gguf.size > 0
            assert each.gguf.hub_repo or each.gguf.pypi_parts


@pytest.mark.parametrize("name", [name for name in NAMES if re.search(r"-\d[\d.]*[bm](-|$)", name)])
def test_the_size_in_a_name_is_about_the_number_of_parameters(name):
    """Vendors round, and leave the embedding out: CodeGen "2B" has 2.78 billion. A slip in the table is greater."""
    size, unit = re.search(r"-(\d[\d.]*)([bm])(?:-|$)", name).groups()
    billions = float(size) / (1000 if unit == "m" else 1)
    assert 0.85 < entry(name).parameters / billions < 1.7


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("codegen-2b-mono", 2.78), ("codegen2-3.7b", 3.64), ("starcoder2-15b", 16.0), ("deepseek-coder-v2-lite", 15.7)],
)
def test_parameters_are_those_of_the_files_and_not_those_of_the_name(name, parameters):
    assert entry(name).parameters == parameters


PROMISED = """
    santacoder starcoder starcoderbase-1b starcoderbase-3b starcoderbase-7b starcoderbase-15b starcoderplus
    tiny-starcoder starchat-alpha starchat-beta starcoder2-3b starcoder2-7b starcoder2-15b codegen2-1b codegen2-3.7b
    codegen2-7b codegen2-16b codegen2.5-7b-multi codegen2.5-7b-mono codegen2.5-7b-instruct deepseek-coder-1.3b
    deepseek-coder-5.7b deepseek-coder-6.7b deepseek-coder-33b deepseek-coder-v2-lite codeqwen1.5-7b
    qwen2.5-coder-0.5b qwen2.5-coder-1.5b qwen2.5-coder-3b qwen2.5-coder-7b qwen2.5-coder-14b qwen2.5-coder-32b
    qwen3-coder-30b qwen3-coder-next qwen3-coder-480b deepseek-v4-flash codegemma-2b codegemma-7b codestral-22b
    granite-code-3b granite-3.3-2b granite-3.3-8b granite-4-micro stable-code-3b refact-1.6b incoder-1b seed-coder-8b
    mellum-4b mellum-4b-dpo-all codegeex4-9b glm-4.5 glm-4.5-air falcon-h1-tiny-coder smollm2-135m
"""


def test_every_model_of_a_family_that_is_promised_is_there():
    sizes = itertools.product(("350m", "2b", "6b", "16b"), ("mono", "multi", "nl"))
    code_llamas = itertools.product(("7b", "13b", "34b", "70b"), ("", "-python", "-instruct"))
    promised = [
        *PROMISED.split(),
        *(f"codegen-{size}-{kind}" for size, kind in sizes),
        *(f"codellama-{size}{kind}" for size, kind in code_llamas),
    ]
    assert [name for name in promised if catalog.find(name) is None] == []


@pytest.mark.parametrize(
    "name",
    [
        "codellama-34b",
        "codellama-70b",
        "codellama-7b-python",
        "codellama-34b-instruct",
        "codegen-16b-mono",
        "smollm2-1.7b",
        "codegemma-7b-it",
        "starchat-beta",
    ],
)
def test_what_no_vendor_says_to_infill_does_not(name):
    assert not entry(name).infills


# --- repositories on the Hub ---------------------------------------------------------------------


def test_a_repository_is_known_by_all_its_names_in_any_letter_case_and_is_one_models_alone():
    for each in catalog.ENTRIES:
        for repo in each.repos:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", repo)
            assert catalog.by_repo(repo.lower()) is each
    assert catalog.by_repo("owner/model") is None
    assert catalog.by_repo("") is None


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("Salesforce/codegen2-1B_P", "codegen2-1b"),
        ("Salesforce/codegen2-1B", "codegen2-1b"),
        ("salesforce/codegen25-7B-multi", "codegen2.5-7b-multi"),
        ("meta-llama/CodeLlama-13b-Instruct-hf", "codellama-13b-instruct"),
        ("bigcode/santacoder", "santacoder"),
        ("THUDM/codegeex4-all-9b", "codegeex4-9b"),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b"),
    ],
)
def test_renamed_and_copied_repositories_are_known(repo, name):
    assert catalog.by_repo(repo) is entry(name)


def test_a_repository_with_gguf_files_is_the_vendors_own_and_no_other_models():
    known = [repo for each in catalog.ENTRIES for repo in each.repos]
    named = [each for each in catalog.ENTRIES if each.gguf_repo]
    assert len({each.gguf_repo for each in named}) == len(named) > 0
    for each in named:
        assert each.gguf_repo.split("/")[0] == each.repo.split("/")[0]
        assert each.gguf_repo.lower().endswith("-gguf")
        assert each.gguf_repo not in known


def test_santacoder_is_the_copy_that_needs_no_code_of_its_own():
    assert entry("santacoder").repo == "bigcode/gpt_bigcode-santacoder"
    assert not entry("santacoder").remote_code


@pytest.mark.parametrize("row", families.FAMILIES.values(), ids=list(families.FAMILIES))
def test_the_catalogue_says_of_every_familys_checkpoint_what_its_files_say(row):
    """The files are those that `families` writes as the vendors have them."""
    known = catalog.by_repo(row.repo)
    infills = bool(row.psm or row.spm)
    if known is None:
        assert not infills
        return
    assert known.remote_code == row.code
    assert (
        known.infills == infills or row.code
    )  # where only the vendor's code builds prompts, there are none to compare
    assert known.known == (row.config["model_type"] in KNOWN or known.name == "santacoder")  # its second copy is
    # What the architecture alone tells: Granite's largest are StarCoders, and Code Llama without its sentinels a Llama.
    assert known.family == row.family or row.family in ("StarCoder", "llama")


# --- licences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "qwen2.5-coder-3b",
        "codestral-22b",
        "incoder-1b",
        "incoder-6b",
        "codegen2.5-7b-instruct",
        "aixcoder-7b",
        "codeqwen1.5-7b",
        "codegeex4-9b",
        "stable-code-3b",
    ],
)
def test_a_licence_that_limits_commercial_use_is_said_in_one_sentence(name):
    note = entry(name).licence_note
    assert "commercial use" in note.lower()
    assert re.fullmatch(r"[A-Z][^.]*\.", note)


def test_no_free_licence_has_such_a_note():
    assert [each.name for each in catalog.ENTRIES if each.licence in FREE_LICENCES and each.licence_note] == []


# --- which model for this machine ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "name"),
    [
        pytest.param(None, "qwen2.5-coder-0.5b", id="no GPU"),
        pytest.param(0, "qwen2.5-coder-0.5b", id="a full GPU"),
        pytest.param(2 * GIB, "qwen2.5-coder-0.5b", id="too little"),
        pytest.param(6 * GIB, "qwen2.5-coder-1.5b", id="a small GPU"),
        pytest.param(80 * GIB, "qwen2.5-coder-7b", id="a large GPU"),
    ],
)
def test_auto_takes_the_largest_default_that_fits_and_says_why(free, name):
    chosen, why = catalog.choose(free)
    assert chosen.name == name
    assert ("no GPU" in why) == (free is None)
    assert free is None or "GPU memory" in why


def test_auto_needs_the_memory_that_the_entry_says():
    large = entry("qwen2.5-coder-7b")
    assert catalog.choose(large.memory(2))[0] is large
    assert catalog.choose(large.memory(2) - 1)[0] is not large
    assert large.memory(2) > 2 * 7.6e9


def test_auto_never_takes_a_model_that_may_not_be_used_freely():
    for free in (None, *range(0, 200 * GIB, GIB)):
        chosen, _ = catalog.choose(free)
        assert chosen.licence == "Apache-2.0"
        assert chosen.unhindered


@given(st.integers(0, 800 * 10**9), st.sampled_from([4, 2, 1, 0.5625]), st.booleans())
def test_the_largest_that_fits_is_the_largest_that_anybody_can_load_at_once(free, size, infills):
    found = catalog.largest_that_fits(free, size, infills=infills)
    fitting = [each for each in catalog.ENTRIES if each.memory(size) <= free and (each.infills or not infills)]
    assert (found is None) == (not fitting)
    if found is not None:
        assert found in fitting
        assert not [each for each in fitting if each.unhindered and each.parameters > found.parameters]


def test_what_asks_for_more_is_named_only_where_nothing_else_fits():
    gated = entry("starcoderbase-1b")
    assert catalog.largest_that_fits(10 * GIB, 4, entries=(gated, entry("tiny-starcoder"))).name == "tiny-starcoder"
    assert catalog.largest_that_fits(10 * GIB, 4, entries=(gated,)) is gated


# --- names that people type ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("starcoder2-3", "starcoder2-3b"), ("Qwen2.5-Coder-7", "qwen2.5-coder-7b"), ("smollm2", "smollm2-135m")],
)
def test_an_unknown_name_gets_close_ones(typed, meant):
    told = str(catalog.unknown(typed))
    assert repr(typed) in told
    assert meant in told


def test_a_name_like_no_other_gets_none():
    assert "Did you mean" not in str(catalog.unknown("zzz"))


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("codellama-34b", "codellama-13b"),
        ("codellama-70b-instruct", "codellama-13b"),
        ("codellama-7b-python", "codellama-7b"),
        ("codellama/CodeLlama-34b-Python-hf", "codellama-13b"),
        ("CodeLlama", "codellama-7b"),
        ("codegen-2b-mono", "codegen2-3.7b"),
        ("codegen-350m-nl", "codegen2-1b"),
        ("CodeGen", "codegen2-1b"),
        ("starchat-beta", "starcoderbase-15b"),
        ("StarChat", "starcoderbase-15b"),
        ("codegemma-7b-it", "codegemma-7b"),
        ("smollm2-135m", "qwen2.5-coder-0.5b"),
        ("llama", "qwen2.5-coder-0.5b"),
        ("an architecture that nobody knows", "qwen2.5-coder-0.5b"),
        ("", "qwen2.5-coder-0.5b"),
    ],
)
def test_the_nearest_that_infills_is_a_relative_of_about_the_size(model, nearest):
    assert catalog.nearest_infilling(model).name == nearest


@pytest.mark.parametrize("each", catalog.ENTRIES, ids=NAMES)
def test_there_always_is_a_nearest_that_infills(each):
    nearest = catalog.nearest_infilling(each)
    assert nearest.infills
    if each.infills:
        assert (nearest.family, nearest.parameters) == (each.family, each.parameters)


def test_the_manual_names_models_that_exist():
    manual = Path(__file__).parents[2] / "notebooks" / "README.md"
    section = manual.read_text(encoding="utf-8").partition("\n## Models\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z][a-z0-9.]*-[a-z0-9.-]+)`", section)
    assert len(named) > 30
    assert [name for name in named if catalog.find(name) is None] == []
