from __future__ import annotations

import pytest

from fim_magic import catalog
from fim_magic.formats import FAMILIES

GIB = 2**30


def test_names_are_unique_and_found_in_any_letter_case():
    assert len({entry.name for entry in catalog.ENTRIES}) == len(catalog.ENTRIES)
    for entry in catalog.ENTRIES:
        assert catalog.find(entry.name.upper()) is entry
    assert catalog.find("nonsense") is None


def test_every_entry_has_a_family_that_does_what_the_entry_says_and_a_source():
    infilling = {family.name for family in FAMILIES}
    for entry in catalog.ENTRIES:
        assert (entry.family in infilling) == entry.infills
        assert entry.repo or entry.gguf
        assert entry.licence
        if entry.gguf is not None:
            assert len(bytes.fromhex(entry.gguf.sha256)) == 32
            assert entry.gguf.size > 0
            assert entry.gguf.hub_repo or entry.gguf.pypi_parts


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
    entry, why = catalog.choose(free)
    assert entry.name == name
    assert ("no GPU" in why) == (free is None)
    assert free is None or "GPU memory" in why


def test_auto_needs_the_memory_that_the_entry_says():
    entry = catalog.find("qwen2.5-coder-7b")
    assert catalog.choose(entry.memory(2))[0] is entry
    assert catalog.choose(entry.memory(2) - 1)[0] is not entry
    assert entry.memory(2) > 2 * 7.6e9


def test_auto_never_takes_a_model_that_may_not_be_used_freely():
    for free in (None, *range(0, 200 * GIB, GIB)):
        assert catalog.choose(free)[0].licence == "Apache-2.0"


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
