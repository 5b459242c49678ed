"""`--quantize` on a CPU: checkpoints of every layout that our decoder knows, and GGUF files, in 4 and 8 bits."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import checkpoints
import gguf_files
import pytest
import torch
from checkpoints import KINDS, build, change_config
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, MistralConfig

from fim_magic import weights
from fim_magic.engines.torch import packed, packed_conversion, packed_file, quantisation
from fim_magic.engines.torch.checkpoint_tensors import HEAD, CheckpointTensors
from fim_magic.engines.torch.configuration import model_without_numbers, read_configuration
from fim_magic.engines.torch.gguf_tensors import GgufTensors
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.engines.torch.packed_conversion import NotPackableError, packed_form, require_products
from fim_magic.engines.torch.quantisation import quantised_form
from fim_magic.engines.torch.quantised_tensors import MOST_LOST, QuantisedGguf, QuantisedTensors, unpacked
from fim_magic.errors import FetchError, ModelError, OptionError
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.resolve import resolve
from fim_magic.loading.spec import ModelSpec
from fim_magic.settings import Settings

GB = 10**9
ON_A_CPU = MemoryProbe(may_have_gpu=lambda: False)
ON_A_GPU = MemoryProbe(free_memory=lambda: {"cuda:0": GB, "cpu": GB}, may_have_gpu=lambda: True)
USUALLY = {4: 0.7, 8: 0.1}
"""How far logits usually are from those in float32. The tiny models' weights are large, and magnify what is lost."""

IDS = [(7 * n * n + 3) % 290 for n in range(60)]
ALL = {**KINDS, "mistral": checkpoints.Kind("llama", MistralConfig, checkpoints._SHAPE, checkpoints.PLAIN, bos="<s>")}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoints, "KINDS", ALL)


@pytest.fixture
def folder(tmp_path):
    return build("qwen2", tmp_path / "tiny")


def config_of(folder):
    return read_configuration(json.loads((folder / "config.json").read_text()))


def store(folder, change):
    """Write a checkpoint's weights anew, as `change` makes them."""
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path, {"format": "pt"})


def difference(folder, quantised):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0]
    decoder = LocalEngine.load(quantised, name="tiny", revision="")._decoder
    cache = decoder.new_cache()
    parts = (IDS[:40], IDS[40:45], IDS[45:46], IDS[46:])  # unpacked, by the kernel, as a token is read, unpacked
    found = torch.cat([decoder.forward(part, cache, all_logits=True) for part in parts])
    return float((found - expected).square().mean().sqrt() / expected.std())


# --- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ALL)
def test_every_layout_says_nearly_the_same(tmp_path, kind, bits):
    folder = build(kind, tmp_path / kind, seed=1)
    assert difference(folder, quantised_form(folder, bits, name="tiny")) < USUALLY[bits]


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [False, True])
def test_shards_and_tied_weights_and_16_bits(tmp_path, tied, stored):
    folder = build("llama", tmp_path / "whole", tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=stored)
    sharded = tmp_path / "sharded"
    model.save_pretrained(sharded, max_shard_size="20KB")
    (sharded / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert len(list(sharded.glob("*.safetensors"))) > 2
    tensors = CheckpointTensors(sharded, config_of(sharded))
    for name, expected in model.state_dict().items():
        assert torch.equal(tensors.numbers(name), expected.float())
        assert tensors.shape(name) == tuple(expected.shape)
    assert torch.equal(tensors.numbers(HEAD, 8, 24), model.lm_head.weight[8:24].float())
    assert difference(sharded, quantised_form(sharded, 8, name="tiny")) < USUALLY[8]


def test_what_is_loaded_says_in_how_many_bits_it_is(folder):
    engine = LocalEngine.load(quantised_form(folder, 4, name="tiny"), name="tiny", revision="")
    assert engine.info.runs_on.startswith("cpu, packed (4 bits ")
    assert engine.family.name == "Qwen2.5-Coder"


# --- in how many bits ------------------------------------------------------------------------------


class Drawn:
    """Weights with some numbers."""

    def __init__(self, **tensors):
        self.tensors = tensors

    def __contains__(self, name):
        return name in self.tensors

    def shape(self, name):
        return tuple(self.tensors[name].shape)

    def numbers(self, name, begin=0, end=None):
        return self.tensors[name][begin:end]


def test_four_bits_are_for_what_does_not_lose_too_much_in_them():
    generator = torch.Generator().manual_seed(0)
    usual = torch.randn(1500, 64, generator=generator)
    few = usual.clone()
    few[:, ::32], few[:, 16::32] = 30, -30  # two large numbers in each group
    named = {HEAD: usual, "model.layers.0.self_attn.v_proj.weight": usual, "transformer.h.0.attn.c_proj.weight": usual}
    source = Drawn(usual=usual, few=few, narrow=usual[:, :40], zero=torch.zeros(4, 32), **named)
    four, eight = QuantisedTensors(source, 4), QuantisedTensors(source, 8)
    expected = {"usual": (4, 8), "few": (8, 8), "narrow": (32, 32), "zero": (4, 8), **dict.fromkeys(named, (8, 8))}
    assert {name: (four.bits(name), eight.bits(name)) for name in expected} == expected
    for tensors, name, most in ((four, "usual", MOST_LOST), (four, "few", 0.01), (eight, "usual", 0.01)):
        weight = tensors.packed(name)
        numbers = source.numbers(name)
        assert weight.bits == tensors.bits(name) and (weight.rows, weight.columns) == tuple(numbers.shape)
        assert float((unpacked(weight) - numbers).norm() / numbers.norm()) < most


def test_four_bits_lose_less_than_the_range_of_each_group_would():
    numbers = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    groups = numbers.view(500, 2, 32)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = (high - low) / 15
    by_range = ((groups - low) / step).round() * step + low
    lost = float((unpacked(packed.quantised(numbers, 4)) - numbers).norm())
    assert lost < 0.93 * float((by_range - groups).norm())


def test_a_weight_is_packed_in_blocks_as_it_is_at_once():
    weight = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    whole = packed.quantised(weight, 4)
    found = packed_file.packed_in_blocks(lambda begin, end: packed.quantised(weight[begin:end], 4), 200, 64, 1)
    assert torch.equal(found.planes, whole.planes) and torch.equal(found.scales, whole.scales)


# --- GGUF files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
def test_a_gguf_file_with_more_bits_is_quantised(tmp_path, bits):
    tiny = gguf_files.write_gguf(tmp_path / "tiny.gguf", exact=True)
    folder = packed_form(tiny.path, bits=bits)
    assert f"quantised{bits}-" in folder.name
    engine = LocalEngine.load(folder, name="tiny", revision="")
    assert f"{bits} bits" in engine.info.precision
    assert packed_form(tiny.path).name != folder.name


def test_what_a_gguf_file_has_in_4_bits_stays_as_it_is(tmp_path):
    tiny = gguf_files.write_gguf(tmp_path / "tiny.gguf")
    config = AutoConfig.from_pretrained(packed_form(tiny.path, bits=4))
    stored = GgufTensors(tiny.path, config)
    tensors = QuantisedGguf(stored, 4)
    in_4, in_more = "model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.up_proj.weight"
    assert (stored.bits(in_4), stored.bits(in_more)) == (4, 8)
    assert torch.equal(tensors.packed(in_4).planes, stored.packed(in_4).planes)
    assert (tensors.bits(in_more), tensors.packed(in_more).bits) == (4, 4)
    assert QuantisedGguf(stored, 8).bits(in_4) == 4


def test_a_gguf_file_that_has_so_few_bits_already_is_told(tmp_path):
    tiny = gguf_files.write_gguf(tmp_path / "tiny.gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GgufTensors, "stored_bits", 4.9)
        with pytest.raises(NotPackableError, match=r"4\.9 bits a weight already.*%fim use NAME --precision packed"):
            packed_form(tiny.path, bits=4, name="NAME")
        with pytest.raises(NotPackableError, match="already"):
            packed_form(tiny.path, bits=8, name="NAME")
    config = AutoConfig.from_pretrained(packed_form(tiny.path))
    size, numbers = tiny.path.stat().st_size, sum(tensor.size for tensor in tiny.tensors.values())
    assert 8 < GgufTensors(tiny.path, config).stored_bits < 8 * size / numbers


# --- refusals ------------------------------------------------------------------------------------


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (pickled, "are pickle files.*Load it as it is: %fim use tiny.*%fim models"),
        (
            lambda folder: change_config(folder, model_type="gpt_neox"),
            r"architecture \(gpt_neox\).*%fim use tiny\. Or take a model that fits",
        ),
        (
            lambda folder: change_config(folder, model_type="gpt2", attention_head_type="multiquery"),
            r"architecture \(gpt2\)",
        ),
        (
            lambda folder: change_config(folder, rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
            r"architecture \(qwen2\)",
        ),
        (
            lambda folder: change_config(folder, auto_map={"AutoModelForCausalLM": "a.B"}, architectures=["B"]),
            "needs code of its own.*%fim use tiny",
        ),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
        (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "could not be loaded"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (
            lambda folder: store(folder, lambda held: {n: t for n, t in held.items() if "mlp.up" not in n}),
            r"2 weights are absent, such as model\.layers\.0\.mlp\.up_proj",
        ),
        (
            lambda folder: change_config(folder, intermediate_size=96),
            r"mlp\.\w+_proj\.weight is \(.*\) in its files, and \(.*\) by its config\.json",
        ),
        (lambda folder: change_config(folder, vocab_size=2**24), "its files hold"),
        (
            lambda folder: store(folder, lambda held: {n: t.double() for n, t in held.items()}),
            "is stored as F64",
        ),
    ],
)
def test_what_cannot_be_quantised_is_told_with_what_to_do(folder, change, told):
    change(folder)
    with pytest.raises(ModelError, match=told) as caught:
        quantised_form(folder, 4, name="tiny")
    assert "\n" not in str(caught.value)
    kept = weights.cache_dir() / "converted"
    assert not kept.exists() or not list(kept.iterdir())


def test_what_is_stored_quantised_is_told(folder):
    change_config(folder, quantization_config={"quant_method": "awq"})
    with pytest.raises(OptionError, match=r"already \(awq\)\. Omit --quantize"):
        quantised_form(folder, 4, name="tiny")


@pytest.mark.parametrize(("bits", "told"), [(4, "--quantize 8bit keeps more"), (8, "Omit --quantize")])
def test_what_says_something_else_is_refused(folder, monkeypatch, bits, told):
    monkeypatch.setattr(packed_conversion, "_AGREEMENT", 1e-6)
    monkeypatch.setattr(packed_conversion, "_AGREEMENT_OF_4_BITS", 1e-6)
    with pytest.raises(NotPackableError, match=told):
        quantised_form(folder, bits, name="tiny")
    assert not list((weights.cache_dir() / "converted").iterdir())


def test_a_machine_without_the_operators_says_so():
    def absent(*_):
        raise NotImplementedError

    require_products("NAME", "--quantize 4bit")
    with pytest.raises(ModelError, match="Omit --quantize 4bit: %fim use NAME"):
        require_products("NAME", "--quantize 4bit", absent)


def test_without_room_on_the_disk_nothing_is_left(folder, monkeypatch):
    needed = []

    def full(_folder, size):
        needed.append(size)
        raise FetchError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(packed_file.weights, "require_room", full)
        with pytest.raises(FetchError, match="no room"):
            quantised_form(folder, 4, name="tiny")
    assert not list((weights.cache_dir() / "converted").iterdir())
    written = quantised_form(folder, 4, name="tiny") / "packed.safetensors"
    assert needed == [written.stat().st_size]


def test_other_threads_keep_the_users_dtype_meanwhile(monkeypatch):
    """The default is the whole process's: what another thread made while a model was described had the model's."""
    config = read_configuration({**MistralConfig(**checkpoints._SHAPE).to_dict(), "dtype": "bfloat16"})
    set_to, put = [], torch.set_default_dtype
    monkeypatch.setattr(torch, "set_default_dtype", lambda dtype: (set_to.append(dtype), put(dtype)))
    model = model_without_numbers(config)
    assert set(set_to) <= {torch.get_default_dtype()}
    assert {each.device.type for each in model.parameters()} == {"meta"}
    assert config.dtype == torch.bfloat16


# --- the folder in the cache ---------------------------------------------------------------------


def test_it_is_made_once_for_a_commit_and_the_bits(folder):
    made = quantised_form(folder, 4, name="owner/name", commit="a" * 40)
    written = (made / "packed.safetensors").stat().st_mtime_ns
    assert quantised_form(folder, 4, name="owner/name", commit="a" * 40) == made
    assert (made / "packed.safetensors").stat().st_mtime_ns == written
    assert made.name == f"tiny-aaaaaaaaaaaa-quantised4-{packed.layout_name()}-3"
    others = {
        quantised_form(folder, 4, name="owner/name", commit="b" * 40),
        quantised_form(folder, 8, name="owner/name", commit="a" * 40),
    }
    assert len({made, *others}) == 3


def test_it_is_made_once_however_it_is_named(folder, monkeypatch):
    made = quantised_form(folder, 4, name=str(folder))
    monkeypatch.chdir(folder.parent)
    for name in (folder.name, f"./{folder.name}", f"C:\\models\\{folder.name}"):
        assert quantised_form(Path(folder.name), 4, name=name) == made
    assert made.parent == weights.cache_dir() / "converted"


def test_of_the_hub_it_has_the_name_of_the_repository(folder, tmp_path):
    snapshots = tmp_path / "models--owner--name" / "snapshots"
    snapshots.mkdir(parents=True)
    snapshot = folder.rename(snapshots / ("c" * 40))
    made = {quantised_form(snapshot, 4, name=name, commit="c" * 40) for name in ("owner/name", "short-name")}
    assert [each.name for each in made] == [f"owner--name-cccccccccccc-quantised4-{packed.layout_name()}-3"]


def test_a_folder_that_has_changed_is_quantised_anew_and_not_hashed_again_before(folder, monkeypatch):
    first = quantised_form(folder, 8, name="tiny")
    with monkeypatch.context() as patch:
        patch.setattr("fim_magic.weights.manifest.sha256_of", lambda *_: pytest.fail("it was hashed again"))
        assert quantised_form(folder, 8, name="tiny") == first
    store(folder, lambda held: {name: tensor + 1 for name, tensor in held.items()})
    assert quantised_form(folder, 8, name="tiny") != first


def test_a_damaged_folder_is_made_again(folder):
    notices = []
    made = quantised_form(folder, 8, name="tiny", on_notice=notices.append)
    with (made / "packed.safetensors").open("r+b") as file:
        file.truncate(1000)
    assert quantised_form(folder, 8, name="tiny", on_notice=notices.append) == made
    assert len(notices) == 1
    LocalEngine.load(made, name="tiny", revision="").warm_up()


def test_what_is_cut_off_leaves_nothing(folder):
    def stop(progress):
        if progress.what.startswith("Checking the converted"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantised_form(folder, 8, name="tiny", on_progress=stop)
    assert not list((weights.cache_dir() / "converted").iterdir())


def test_two_at_once_make_it_once(folder, monkeypatch):
    written, found = [], []

    def counted(*args, **options):
        written.append(args)
        return packed_conversion.write_checked(*args, **options)

    monkeypatch.setattr(quantisation, "write_checked", counted)
    threads = [threading.Thread(target=lambda: found.append(quantised_form(folder, 8, name="tiny"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1] and len(written) == 1


def test_a_cache_in_the_place_of_which_is_a_file_is_told(folder):
    weights.cache_dir().write_text("")
    with pytest.raises(FetchError, match="could not be written"):
        quantised_form(folder, 8, name="tiny")


# --- %fim use ------------------------------------------------------------------------------------


def source_for(spec, memory=ON_A_CPU):
    return resolve(spec, LOADERS, memory).source


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_on_a_cpu_it_is_loaded_quantised(folder, quantize):
    spec = ModelSpec(str(folder), quantize=quantize)
    assert source_for(spec).precision == quantize
    assert source_for(spec, ON_A_GPU).precision == "exact"
    loaded = ModelManager().use(spec)
    assert f"{quantize[0]} bits" in loaded.engine.info.precision
    assert loaded.placement.description == "cpu, packed"


def test_a_gguf_file_is_loaded_quantised(tmp_path):
    tiny = gguf_files.write_gguf(tmp_path / "tiny.gguf", exact=True)
    spec = ModelSpec(str(tiny.path), quantize="4bit")
    folder, _ = LOADERS["torch"].fetch(source_for(spec), lambda _: None, False, lambda _: None)
    assert "quantised4" in folder.name


@pytest.mark.parametrize("precision", ["exact", "packed"])
def test_another_precision_contradicts_it(folder, precision):
    with pytest.raises(OptionError, match=rf"--precision {precision} .*Omit one of them: %fim use \S+ --quantize 4bit"):
        source_for(ModelSpec(str(folder), quantize="4bit", precision=precision))
    source_for(ModelSpec(str(folder), quantize="4bit"))


def test_a_precision_that_is_configured_does_not_contradict_it(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_PRECISION", "exact")
    assert Settings().loading(quantize="4bit")["precision"] is None
    assert Settings().loading(quantize="4bit", precision="exact")["precision"] == "exact"


def test_another_precision_is_another_model():
    assert ModelSpec("m").is_answered_by(ModelSpec("m"))
    assert not ModelSpec("m", precision="exact").is_answered_by(ModelSpec("m"))
    assert not ModelSpec("m", precision="packed").is_answered_by(ModelSpec("m", precision="exact"))


def test_what_cannot_be_is_refused_before_it_is_fetched():
    source = source_for(ModelSpec("granite-4-micro", quantize="4bit"))
    with pytest.raises(ModelError, match="--quantize 4bit does not take granite-4-micro on a CPU"):
        LOADERS["torch"].require_room(source, "4bit", ON_A_CPU)


def test_what_does_not_fit_is_refused_before_it_is_quantised(folder):
    source = source_for(ModelSpec(str(folder), quantize="4bit"))
    tight = MemoryProbe(free_memory=lambda: {"cpu": 10**6}, may_have_gpu=lambda: False)
    with pytest.raises(ModelError, match=r"does not fit: its weights take .* in 4 bit"):
        LOADERS["torch"].require_room(source, "4bit", tight)
    LOADERS["torch"].require_room(source, "4bit", ON_A_CPU)
