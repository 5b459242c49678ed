from __future__ import annotations

import json
import re
from dataclasses import replace

import families
import pytest
import torch
from scripted import ScriptedEngine

from fim_magic import catalog, reports
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import Document
from fim_magic.engines import Destination, ServerInfo
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import ModelError
from fim_magic.loading.loaded import Loaded
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.spec import ModelSpec
from fim_magic.reports import machine
from fim_magic.reports.machine import Machine

GB = 10**9


@pytest.fixture(autouse=True)
def no_model():
    MODELS.unload()
    yield
    MODELS.unload()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Empty ones."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path


def with_free(free: int, *precisions: str) -> Machine:
    return Machine("the test's device", free, precisions or ("32 bit",))


def result(**changes) -> Result:
    values = {
        "document": Document("a", "b"),
        "candidates": (Candidate("x", Ending.STOP_TOKEN, token_ids=(1, 2, 3), logprobs=(-1.0,) * 3),),
        "model": "m",
        "revision": "r",
        "method": "fim",
        "order": "psm",
        "prompt_tokens": 5,
        "dropped_prefix_tokens": 0,
        "dropped_suffix_tokens": 0,
        "seed": None,
        "first_token_seconds": 1.0,
        "seconds": 2.0,
    }
    return Result(**(values | changes))


def row_of(name: str, told: str) -> str:
    (row,) = (line for line in told.splitlines() if line.split()[:1] == [name])
    return row


def above(name: str, told: str) -> str:
    """The lines that say what a model has in common with its relatives."""
    lines = told.splitlines()
    at = lines.index(row_of(name, told))
    heading = max(n for n in range(at) if not lines[n].startswith(" "))
    return " ".join(line.strip() for line in lines[heading:at] if not re.match(r"  \S", line))


def all_about(told: str) -> dict[str, str]:
    """What is told about one model, by its labels."""
    told = re.sub(r"\n {10}", " ", told)
    return {line[:10].strip(): line[10:] for line in told.splitlines()}


# --- status --------------------------------------------------------------------------------------


def test_status_without_a_model_says_how_to_get_one():
    assert "%fim use NAME" in reports.status(None)


def test_status_tells_model_place_and_last_request():
    MODELS.adopt(ScriptedEngine("x"))
    told = reports.status(result())
    assert "scripted (test), Qwen2.5-Coder" in told
    assert "cpu, scripted" in told
    assert "3 tokens in 2.0 s (2.0 tokens/s), ended by itself" in told
    assert "PSM: as asked for" in told


def test_status_tells_what_was_still_known_of_the_prompt_and_when_the_first_token_came():
    told = reports.status(result())
    assert "the first token after 1.0 s\n" in told
    again = result()
    object.__setattr__(again, "reused_tokens", 4)
    assert "the first token after 1.0 s: 4 of its 5 prompt tokens were still known from before" in reports.status(again)


@pytest.mark.parametrize("known", [True, False])
def test_status_says_where_our_own_decoder_does_not_run(checkpoint, known):
    options = {} if known else {"make_decoder": lambda _model: None}
    MODELS.adopt(LocalEngine.load(checkpoint("qwen2"), name="qwen2", revision="tiny", **options))
    assert ("over the library's forward" in reports.status(None)) is not known


@pytest.mark.parametrize(
    ("runtime", "asked", "told"),
    [
        ("gguf", None, "by llama.cpp: it is faster; --engine torch takes the other"),
        ("torch", None, "by torch: it is faster; --engine gguf takes the other"),
        ("gguf", "gguf", "by llama.cpp: it is faster\n"),
    ],
)
def test_status_tells_the_engine_and_why(runtime, asked, told):
    engine = ScriptedEngine("x")
    engine.info = replace(engine.info, runtime={"gguf": "llama.cpp"}.get(runtime, runtime))
    spec = ModelSpec("m", engine=asked)
    models = ModelManager()
    models.loaded = Loaded(engine, spec, "", 1.0, engine_name=runtime, engine_reason="it is faster")
    assert told in reports.status(None, manager=models)


def test_status_cuts_long_names_and_lines():
    engine = ScriptedEngine("x")
    name = "vllm://gpu.example:8000/" + "folder/" * 60 + "starcoder"
    server = ServerInfo("gpu.example:8000", "vLLM " + "9" * 300, name, is_encrypted=True, is_here=False)
    engine.info = replace(engine.info, model=name, server=server, destination=Destination.HOST)
    MODELS.adopt(engine)
    lines = reports.status(None).splitlines()
    assert max(map(len, lines)) <= 120
    assert sum("vllm://gpu.example:8000/folder/" in line for line in lines) == 2
    assert sum("/starcoder" in line for line in lines) == 2
    assert lines[-1].startswith("Memory    this process")


# --- the list of models --------------------------------------------------------------------------


def test_models_lists_every_entry_with_its_sizes_and_where_it_is():
    told = reports.models()
    for entry in catalog.ENTRIES:
        row = row_of(entry.name, told)
        for size in machine.ON_A_CPU.values():
            assert f"{entry.memory(size) / GB:.1f}" in row
        assert row.endswith(entry.repo or entry.repos[0])
        assert entry.licence in above(entry.name, told)


def test_models_fits_a_terminal():
    assert max(map(len, reports.models().splitlines())) <= 120


def test_models_says_what_each_can_do_and_how_much_it_reads():
    told = reports.models()
    for name, words in {
        "codellama-7b": ["16K", "yes"],
        "codellama-34b": ["16K", "no"],
        "starchat-beta": ["8K", "chat"],
        "qwen3-coder-30b": ["256K", "yes"],
        "codellama-70b-python": ["?", "no"],
    }.items():
        assert row_of(name, told).split()[-3:-1] == words


def test_models_marks_the_loaded_one():
    engine = ScriptedEngine("x")
    engine.info = replace(engine.info, model="starcoder2-3b")
    MODELS.adopt(engine)
    rows = [line for line in reports.models().splitlines() if re.match(r"  \S", line)]
    assert [row.split()[0] for row in rows if " * " in row] == ["starcoder2-3b"]


def test_those_that_fit_come_first_with_the_memory_that_they_take_here_in_brackets():
    here = with_free(8 * GB)
    told = reports.models(machine=here)
    fitting, _, rest = told.partition("These do not fit")
    assert fitting.startswith("These fit the test's device, of which 8.0 GB are free")
    for entry in catalog.ENTRIES:
        assert (row_of(entry.name, told) in fitting) == (entry.memory(4) <= here.free)
        assert (f"[{entry.memory(4) / GB:.1f}]" in row_of(entry.name, told)) == (entry.memory(4) <= here.free)
    assert "[" not in rest.partition("Memory is")[0]


def test_on_a_cpu_what_fits_in_fewer_bits_is_offered_so_where_it_can_be_quantised():
    here = Machine("the CPU", 8 * GB, ("32 bit", "8 bit", "4 bit"), machine.ON_A_CPU, quantises_all=False)
    told = reports.models(machine=here)
    for name, precision in (("qwen2.5-coder-7b", "4 bit"), ("starcoder2-3b", "8 bit")):
        assert f"[{catalog.find(name).memory(machine.ON_A_CPU[precision]) / GB:.1f}]" in row_of(name, told)
    assert f"[{catalog.find('qwen2.5-coder-1.5b').memory(4) / GB:.1f}]" in row_of("qwen2.5-coder-1.5b", told)
    assert "[" not in row_of("granite-4-h-tiny", told)  # of an architecture that our own decoder does not know
    assert "32 bit, 8 bit --quantize 8bit, 4 bit --quantize 4bit" in " ".join(told.split())
    assert all_about(reports.model("qwen2.5-coder-7b", here))["load"] == "%fim use qwen2.5-coder-7b --quantize 4bit"
    tight = replace(here, free=GB // 2)  # its file has few bits already
    assert all_about(reports.model("smollm2-135m", tight))["load"] == "%fim use smollm2-135m --precision packed"


def test_what_a_file_takes_in_its_own_bits_is_said_below_the_list():
    here = Machine("the CPU", 8 * GB, ("32 bit", "8 bit", "4 bit"), machine.ON_A_CPU, quantises_all=False)
    told = " ".join(reports.models("qwen2.5-coder", here).split())
    assert "qwen2.5-coder-0.5b is a .gguf file: " in told
    assert "it stays in them and takes 0.6. " in told
    assert "smollm2-135m" not in told
    assert "it stays in them" not in reports.models("starcoder", here)
    assert "it stays in them" not in reports.models(
        "qwen2.5-coder", with_free(8 * GB, "16 bit")
    )  # on a GPU they are float16


def test_the_vendors_own_gguf_files_are_named_with_the_lines_to_type():
    told = all_about(reports.model("qwen2.5-coder-7b", with_free(8 * GB)))["GGUF"]
    assert "hf download Qwen/Qwen2.5-Coder-7B-Instruct-GGUF" in told
    assert "%fim use FILE.gguf --precision packed" in told
    assert "GGUF" not in all_about(reports.model("starcoder2-3b", with_free(8 * GB)))


def test_where_nothing_fits_there_is_only_the_other_list():
    assert reports.models(machine=with_free(0)).startswith("These do not fit")


def test_on_a_gpu_the_best_precision_that_fits_is_marked_and_the_option_for_it_said():
    told = reports.models(machine=with_free(24 * GB, "16 bit", "8 bit", "4 bit"))
    marked = {
        name: re.search(r"\[(.*?)\]", row_of(name, told)) for name in ("starcoder2-7b", "starcoder", "codellama-34b")
    }
    assert {name: found and float(found[1]) for name, found in marked.items()} == {
        "starcoder2-7b": 17.2,  # 16 bit
        "starcoder": 18.6,  # 8 bit
        "codellama-34b": 22.7,  # 4 bit
    }
    assert "--quantize 4bit" in told


def test_a_licence_that_limits_commercial_use_and_a_login_are_said_above_the_models():
    told = reports.models()
    assert "commercial use and production are forbidden" in above("codestral-22b", told)
    assert "needs a login" in above("codestral-22b", told)
    assert "commercial use is forbidden" in above("qwen2.5-coder-3b", told)
    assert above("qwen2.5-coder-7b", told) == "Qwen2.5-Coder, Apache-2.0."
    assert "login" not in above("tiny-starcoder", told)
    assert "code of its own" in above("refact-1.6b", told)


def test_a_word_keeps_those_that_have_it_in_their_name_family_or_repository():
    def listed(word: str) -> set[str]:
        told = reports.models(word)
        return {entry.name for entry in catalog.ENTRIES if f"\n  {entry.name} " in told}

    assert listed("codellama") == {entry.name for entry in catalog.ENTRIES if entry.family == "CodeLlama"}
    assert listed("PYTHON") == {"codellama-7b-python", "codellama-13b-python", "codellama-34b-python",
                                "codellama-70b-python", "mellum-4b-python", "mellum-4b-dpo-python"}  # fmt: skip
    assert listed("Salesforce/") == {entry.name for entry in catalog.ENTRIES if entry.family.startswith("CodeGen")}


def test_a_word_that_none_has_gets_close_names():
    told = reports.models("starcodr2-3b")
    assert "Did you mean starcoder2-3b" in told
    assert "\x1b" not in reports.models("\x1b[31m")


# --- all about one model -------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["codellama-7b", "CodeLlama-7B", "codellama/CodeLlama-7b-hf", "incoder-6"])
def test_the_only_model_with_a_word_is_told_all_about(word):
    told = all_about(reports.models(word))
    assert {"model", "Hub", "context", "can", "memory", "here", "licence", "on disk", "load"} <= set(told)
    assert max(map(len, reports.models(word).splitlines())) <= 120


def test_all_about_a_gated_model_has_the_two_steps_to_get_in():
    told = all_about(reports.model("starcoderbase-3b"))
    assert "https://huggingface.co/bigcode/starcoderbase-3b" in told["gated"]
    assert "hf auth login" in told["gated"]
    assert "gated" not in all_about(reports.model("starcoder2-3b"))


def test_all_about_a_model_says_where_its_licence_limits_it():
    assert "commercial use is forbidden" in all_about(reports.model("qwen2.5-coder-3b"))["licence"]


def test_all_about_a_model_says_what_to_type_for_it():
    here = with_free(24 * GB, "16 bit", "8 bit", "4 bit")
    assert all_about(reports.model("starcoder2-3b", here))["load"] == "%fim use starcoder2-3b"
    assert all_about(reports.model("starcoder", here))["load"] == "%fim use starcoder --quantize 8bit"
    told = all_about(reports.model("codellama-70b", here))
    assert "does not fit" in told["here"]


def test_code_of_its_own_is_only_ever_run_for_a_commit_that_was_read():
    load = all_about(reports.model("refact-1.6b"))["load"]
    assert "@COMMIT --allow-code" in load
    assert "read" in load


@pytest.mark.parametrize(
    ("name", "words"),
    [("codellama-34b", "codellama-13b"), ("starchat-beta", "dialogue"), ("smollm2-360m", "only complete")],
)
def test_all_about_a_model_that_cannot_infill_says_what_it_can_and_which_is_nearest(name, words):
    can = all_about(reports.model(name))["can"]
    assert words in can
    assert "%%complete" in can
    assert "nearest that infills" in can


def test_a_revision_changes_nothing_of_what_is_known():
    here = with_free(8 * GB)  # of a machine, what is free may change between the two
    assert reports.model("bigcode/starcoder2-3b@733247c55e3f", here) == reports.model("starcoder2-3b", here)


def test_whether_it_is_on_disk_is_said(caches):
    assert all_about(reports.model("starcoder2-3b"))["on disk"].startswith("no")
    folder = families.in_hub_cache("bigcode/starcoder2-3b", caches / "hub")
    families.write(families.FAMILIES["starcoder2"], folder)
    assert all_about(reports.model("starcoder2-3b"))["on disk"] == "yes"


def test_a_folder_is_told_its_family_by_its_files_alone(checkpoint):
    uses = MODELS.uses
    told = all_about(reports.model(str(checkpoint("starcoder"))))
    assert told["family"].startswith("StarCoder, ")
    assert "infills" in told["family"]
    assert "32 bit 0.0 GB" in told["memory"]
    assert "only completes" in all_about(reports.model(str(checkpoint("llama"))))["family"]
    assert MODELS.uses == uses


def test_a_repository_without_a_short_name_is_told_what_is_known(caches):
    assert "no short name" in all_about(reports.model("owner/model"))["Hub"]
    folder = families.in_hub_cache("owner/model", caches / "hub")
    families.write(families.FAMILIES["deepseek"], folder)
    assert "DeepSeek-Coder" in all_about(reports.model("owner/model"))["family"]


def test_a_gguf_file_is_told_its_size(tmp_path):
    (tmp_path / "some.gguf").write_bytes(bytes(300_000_000))
    assert "0.3 GB" in reports.model(str(tmp_path / "some.gguf"))


@pytest.mark.parametrize("name", ["nonsense", "./nowhere", "~nobody-has-this-home/x", "a\0b", "x" * 5000])
def test_what_is_no_model_is_an_error(name):
    with pytest.raises(ModelError, match="no model called"):
        reports.model(name)


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=re.escape("config.json")):
        reports.model(str(tmp_path))


def test_a_broken_config_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="could not be read"):
        reports.model(str(tmp_path))


def test_a_folder_without_weights_or_tokenizer_says_so(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    told = all_about(reports.model(str(tmp_path)))
    assert "no weights" in told["memory"]
    assert "not known before it is loaded" in told["family"]


def test_a_config_with_escapes_cannot_drive_the_terminal(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "\x1b[2Jevil"}))
    assert "\x1b" not in reports.model(str(tmp_path))


# --- this machine --------------------------------------------------------------------------------


def test_on_this_machine_models_run_on_the_cpu_in_32_bits_and_in_fewer():
    here = machine.this_machine()
    assert here.precisions == ("32 bit", "8 bit", "4 bit")
    assert here.sizes == {"32 bit": 4, "16 bit": 2, "8 bit": 1.3, "4 bit": 0.84}
    assert "CPU" in here.where
    assert here.free > 0


def test_gpus_count_together_and_what_the_loaded_model_holds_is_free(monkeypatch):
    """The GPUs are made up; what is asked of torch is its name for them."""
    free = {"cuda:0": 5 * GB, "cuda:1": 7 * GB, "cpu": 9 * GB}
    models = ModelManager(memory=MemoryProbe(free_memory=lambda: free))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device[-1]}")
    here = machine.this_machine(models)
    assert (here.where, here.free, here.precisions) == ("GPU 0 and GPU 1", 12 * GB, ("16 bit", "8 bit", "4 bit"))
    loaded = models.adopt(ScriptedEngine("x"))
    placement = type("Placed", (), {"held": {"cuda:1": 3 * GB}})
    models.loaded = replace(loaded, placement=placement)
    assert machine.this_machine(models).free == 15 * GB


def test_a_gpu_of_apples_has_16_bit_only():
    memory = MemoryProbe(free_memory=lambda: {"mps": 5 * GB, "cpu": 9 * GB})
    here = machine.this_machine(ModelManager(memory=memory))
    assert (here.free, here.precisions) == (5 * GB, ("16 bit",))


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_names_what_to_do_where_something_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "not" / "there"))
    told = reports.doctor(lambda: {"Hugging Face Hub": False, "PyPI": True})
    assert "transformers" in told
    assert str(tmp_path / "not" / "there") in told
    hub = next(line for line in told.splitlines() if "Hugging Face Hub" in line)
    assert hub.startswith("!")
    assert "models that are in the cache work" in hub
    pypi = next(line for line in told.splitlines() if "PyPI" in line)
    assert pypi.startswith(" ")


def test_doctor_really_looks(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").write_bytes(bytes(200_000_000))
    assert f"{tmp_path / 'cache'} (0.2 GB)" in reports.doctor(dict)
