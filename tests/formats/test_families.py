"""Every family's checkpoint, in its vendor's own layout, from the Hugging Face cache to an answer.

The checkpoints are those of `families.py`: tiny and random, but with real architectures, tokenizers and files.
"""

from __future__ import annotations

import gc
import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
from contract import begun
from families import (
    COMMIT,
    FAMILIES,
    INFILLING,
    NATIVE,
    SPELLING_CANNOT_TELL,
    P,
    Row,
    S,
    in_hub_cache,
    model_of,
    raw,
    write,
    write_gpt2,
)
from safetensors import safe_open
from test_weights import Served, serve_repository, served, use_hub  # noqa: F401 - a fixture
from tokenizers import Tokenizer

from fim_magic import catalog
from fim_magic.document import Document
from fim_magic.engines import Engine
from fim_magic.engines.torch import generation as torch_generation
from fim_magic.engines.torch.conversions import codegen25
from fim_magic.errors import ModelError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.loading.manager import MODELS
from fim_magic.loading.spec import ModelSpec
from fim_magic.pipeline import run
from fim_magic.request import Request
from fim_magic.settings import Settings

TEXTS = {P: "def mean(numbers):\n    total = sum(numbers)\n    ", S: '\n    return "平均 é", total\n'}
DOCUMENT = Document(TEXTS[P], TEXTS[S])
ORDERS = [(name, order) for name in INFILLING for order in ("psm", "spm") if getattr(FAMILIES[name], order)]
LEFT_TO_RIGHT = [name for name in NATIVE if name not in INFILLING]


@pytest.fixture(scope="module", autouse=True)
def _tiny_models_are_quick():
    """One thread computes them sooner than several, and giving a model's memory back need not look at all the rest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory):
    """A Hugging Face cache, and no Hub."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hub")
        patch.setattr(constants, "HF_HUB_CACHE", str(folder))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        # CodeGen2.5's tokenizer is made from GPT-2's, which is as small as all others here.
        gpt2 = Tokenizer.from_file(str(write_gpt2(in_hub_cache(codegen25.GPT2, folder)) / "tokenizer.json"))
        model = json.loads(gpt2.to_str())["model"]
        patch.setattr(codegen25, "_GPT2_SHA256", codegen25._sha256(model["vocab"], model["merges"]))
        yield folder
    MODELS.unload()


@pytest.fixture(scope="module")
def snapshot(hub_cache):
    """`snapshot(name)` is the folder of a family's checkpoint in that cache, written once."""

    def folder(name):
        path = in_hub_cache(FAMILIES[name].repo, hub_cache)
        return path if path.exists() else write(FAMILIES[name], path)

    return folder


@pytest.fixture(scope="module")
def loaded(snapshot):
    """`loaded(name)` is what asking for a family by its Hub name gives, loaded once."""
    kept = {}

    def load(name):
        if name not in kept:
            snapshot(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it used the network"))
                kept[name] = MODELS.use(ModelSpec.of(FAMILIES[name].repo))
        return kept[name]

    return load


def ids_of(row: Row, template) -> list[int]:
    """The ids that a row's prompt stands for, by the library's own reading of its tokenizer.json."""
    tokens = raw(row)

    def encoded(text: str) -> list[int]:
        return tokens.encode(text, add_special_tokens=False).ids

    found: list[int] = []
    for item in template:
        if isinstance(item, int):
            found.append(item)
        elif item == S and row.unspaced:
            found += encoded("☺" + TEXTS[S])[len(encoded("☺")) :]  # as Meta's and Mistral's code does it
        else:
            found += encoded(TEXTS.get(item, item))
    return found


def generated(engine: Engine, ids, *, tokens=8, candidates=1) -> list[list[int]]:
    generation = begun(engine, ids, candidates=candidates)
    for _ in generation.prefill():
        pass
    answers: list[list[int]] = [[] for _ in range(candidates)]
    for _ in range(tokens):
        for token in generation.step():
            answers[token.candidate].append(token.id)
    return [ids[:tokens] for ids in answers]


def answer(engine: Engine, **options):
    *_, last = run(Request(DOCUMENT, max_new_tokens=8, **options), engine)
    assert isinstance(last, Finished)
    return last.result.candidates[0]


@pytest.mark.parametrize("name", NATIVE)
def test_the_files_are_the_vendors(snapshot, name):
    row, folder = FAMILIES[name], snapshot(name)
    files = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer_config.json"} <= files
    assert ("tokenizer.json" in files) == row.tokenizer_file
    if row.pickles:
        parts = [torch.load(path, weights_only=True) for path in folder.glob("pytorch_model*.bin")]
        names = [weight for part in parts for weight in part]
        assert len(parts) == row.pickles
        assert not list(folder.glob("*.safetensors"))
    else:
        with safe_open(folder / "model.safetensors", "pt") as weights:
            names = weights.keys()
    assert row.weight in names


@pytest.mark.parametrize("name", NATIVE)
def test_the_family_is_found_from_the_checkpoint(loaded, name):
    found = loaded(name)
    assert found.engine.family.name == FAMILIES[name].family
    assert found.engine.info.revision == COMMIT[:12]
    assert found.engine.family.can_infill == (name in INFILLING)
    config = FAMILIES[name].config
    assert found.engine.context_length == config.get("max_position_embeddings", config.get("n_positions"))


@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_the_infilling_prompt_is_the_vendors_to_the_token(loaded, name, order):
    engine, row = loaded(name).engine, FAMILIES[name]
    prompt = prompt_for(Request(DOCUMENT, order=order, healing=False), engine)
    assert list(prompt.ids) == ids_of(row, getattr(row, order))
    assert prompt.order == order


@pytest.mark.parametrize("name", NATIVE)
def test_the_prompt_for_left_to_right_is_the_vendors_to_the_token(loaded, name):
    engine, row = loaded(name).engine, FAMILIES[name]
    prompt = prompt_for(Request(DOCUMENT, method="complete", healing=False), engine)
    assert list(prompt.ids) == ids_of(row, row.complete)


@pytest.mark.parametrize("name", INFILLING)
def test_it_infills(loaded, name):
    engine, row = loaded(name).engine, FAMILIES[name]
    _, request = Settings().request(f"{TEXTS[P]}<cursor>{TEXTS[S]}", max_new_tokens=8)
    *_, last = run(request, engine)
    candidate = last.result.candidates[0]
    assert candidate.raw
    sentinels = [raw(row).id_to_token(token) for token in {*row.psm, *row.spm} if isinstance(token, int)]
    assert not [sentinel for sentinel in sentinels if sentinel in candidate.middle]


@pytest.mark.parametrize("name", NATIVE)
def test_it_completes(loaded, name):
    assert answer(loaded(name).engine, method="complete").raw


@pytest.mark.parametrize("name", NATIVE)
def test_it_says_what_transformers_own_generation_says(loaded, snapshot, name):
    """Every weight came to its place, and neither reading the prompt in parts nor sharing it changes the answer."""
    engine = loaded(name).engine
    ids = prompt_for(Request(DOCUMENT, method="complete"), engine).ids
    model = model_of(FAMILIES[name])
    prompt = torch.tensor([ids])
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    told = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    expected = told[0, len(ids) :].tolist()
    assert len(set(expected)) > 1
    assert generated(engine, ids) == [expected]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_generation, "_PREFILL_CHUNK", 7)
        assert generated(engine, ids, candidates=2) == [expected, expected]


@pytest.mark.parametrize("name", LEFT_TO_RIGHT)
def test_a_family_that_cannot_infill_is_refused_with_one_that_can(loaded, name):
    with pytest.raises(ModelError) as refusal:
        prompt_for(Request(DOCUMENT), loaded(name).engine)
    said = str(refusal.value)
    assert "%%complete" in said
    named = re.search(r"%fim use (\S+)", said)
    assert named is not None
    entry = catalog.find(named[1].rstrip("."))
    assert entry is not None
    assert entry.infills


@pytest.mark.parametrize("name", [name for name, row in FAMILIES.items() if row.code])
def test_a_family_that_needs_code_of_its_own_is_refused_and_the_code_not_run(snapshot, name):
    folder = snapshot(name)
    with pytest.raises(ModelError, match="code"):
        MODELS.use(ModelSpec.of(FAMILIES[name].repo))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", [name for name in NATIVE if "auto_map" in FAMILIES[name].config])
def test_code_that_is_not_needed_is_not_run_either(loaded, snapshot, name):
    assert loaded(name).engine.family.name == FAMILIES[name].family
    assert any(snapshot(name).glob("*.py"))
    assert not (snapshot(name) / "ran").exists()


@pytest.mark.parametrize("name", [name for name in NATIVE if name not in SPELLING_CANNOT_TELL])
def test_a_fine_tune_in_any_folder_is_known_too(snapshot, tmp_path, name):
    folder = shutil.copytree(snapshot(name), tmp_path / "my-fine-tune")
    row = FAMILIES[name]
    assert MODELS.use(ModelSpec.of(str(folder))).engine.family.name == (row.alone or row.family)


@pytest.mark.parametrize("name", SPELLING_CANNOT_TELL)
def test_where_spelling_cannot_tell_a_fine_tune_is_refused_until_its_family_is_named(snapshot, tmp_path, name):
    row = FAMILIES[name]
    folder = str(shutil.copytree(snapshot(name), tmp_path / "my-fine-tune"))
    with pytest.raises(ModelError, match=re.escape("--family")):
        prompt_for(Request(DOCUMENT, healing=False), MODELS.use(ModelSpec.of(folder)).engine)
    complete = Request(DOCUMENT, method="complete", healing=False)
    assert list(prompt_for(complete, MODELS.use(ModelSpec.of(folder)).engine).ids) == ids_of(row, (P,))
    named = MODELS.use(ModelSpec.of(folder, family=row.family))
    assert list(prompt_for(Request(DOCUMENT, healing=False), named.engine).ids) == ids_of(row, row.psm or row.spm)


@pytest.mark.parametrize("name", ["starcoder2", "deepseek", "codegen2"])
def test_from_the_hub_itself(served: Served, tmp_path: Path, monkeypatch, name):  # noqa: F811 - the fixture
    from huggingface_hub import constants

    row = FAMILIES[name]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_hub(monkeypatch, served.url)
    MODELS.unload()
    folder = write(row, tmp_path / "vendor")
    serve_repository(served, {path.name: path.read_bytes() for path in folder.iterdir()})
    found = MODELS.use(ModelSpec.of("owner/model"))
    assert found.engine.family.name == row.family
    assert list(prompt_for(Request(DOCUMENT, order="psm", healing=False), found.engine).ids) == ids_of(row, row.psm)
    assert answer(found.engine).raw
    fetched = in_hub_cache("owner/model", tmp_path / "hub")
    assert {path.suffix for path in fetched.iterdir()} == {".json", ".bin" if row.pickles else ".safetensors"}
