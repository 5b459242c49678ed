"""A model's folder, as users who load it by hand get it."""

import json

import pytest
import torch
from gguf_files import write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

import fim_magic
from fim_magic.errors import ModelError, OptionError


def test_transformers_loads_what_a_gguf_file_became(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    folder = fim_magic.model_folder(str(tmp_path / "tiny.gguf"))
    ids = AutoTokenizer.from_pretrained(folder)("def mean(xs):", return_tensors="pt")
    logits = AutoModelForCausalLM.from_pretrained(folder)(**ids).logits
    assert torch.isfinite(logits).all()
    assert fim_magic.model_folder(str(tmp_path / "tiny.gguf")) == folder


def test_a_folder_is_itself(checkpoint):
    assert fim_magic.model_folder(str(checkpoint("qwen2"))) == checkpoint("qwen2")


def test_what_has_no_folder_is_refused(checkpoint, tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        fim_magic.model_folder("no such model")
    with pytest.raises(OptionError, match="address of a server"):
        fim_magic.model_folder("vllm://localhost:8000/owner/name")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(checkpoint("qwen2"))}))
    with pytest.raises(OptionError, match=r"is an adapter \(LoRA\)"):
        fim_magic.model_folder(str(tmp_path))
