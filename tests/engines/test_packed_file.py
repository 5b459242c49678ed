"""Files of packed weights, of every layout that our decoder knows, against transformers in float32."""

from __future__ import annotations

import pytest
import torch
from checkpoints import KINDS

from fim_magic.engines.torch import packed
from fim_magic.engines.torch.architectures import decoder_from, is_known
from fim_magic.engines.torch.packed_file import PackedWeights, PlainWeights, describe_shares, write_packed


class OfModel:
    """The tensors of a model of transformers, quantised in some bits."""

    def __init__(self, model, bits):
        self._tensors = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
        self._bits = bits

    def __contains__(self, name):
        return name in self._tensors

    def shape(self, name):
        return tuple(self._tensors[name].shape)

    def bits(self, name):
        return self._bits if packed.fits(self.shape(name)[-1]) else 32

    def has_remainder(self, name):
        return False

    def numbers(self, name, begin=0, end=None):
        return self._tensors[name][begin:end]

    def packed(self, name):
        return packed.quantised(self._tensors[name], self._bits)


class AsKept(OfModel):
    """The same as they are when they have been packed, in float32."""

    def numbers(self, name, begin=0, end=None):
        if any(part in name for part in ("embed_tokens", "wte", "wpe")):
            return self._tensors[name][begin:end].bfloat16().float()
        if self._tensors[name].dim() < 2 or self.bits(name) == 32:
            return self._tensors[name]
        weight = self.packed(name)
        unpacked = packed.Unpacker(torch.float32).unpack(weight, 0, weight.planes.shape[0])
        return unpacked[:, : weight.rows].t()[begin:end].contiguous()


@pytest.fixture(params=KINDS)
def model(request, engine):
    found = engine(request.param)._model.module
    return found if is_known(found.config) else pytest.fail("our decoder does not know this kind")


def logits_of(decoder, ids):
    cache = decoder.new_cache()
    parts = (ids[:40], ids[40:45], ids[45:46], ids[46:])  # unpacked, by the kernel, as a token is read, unpacked
    return torch.cat([decoder.forward(part, cache, all_logits=True) for part in parts])


def furthest(found, expected):
    return float((found - expected).abs().max() / expected.std())


def usual(found, expected):
    return float((found - expected).square().mean().sqrt() / expected.std())


IDS = [(7 * n * n + 3) % 290 for n in range(60)]


def test_the_names_are_those_of_the_library(model):
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].float()
    assert furthest(logits_of(decoder_from(model.config, PlainWeights(OfModel(model, 8))), IDS), expected) < 1e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_logits_are_those_of_the_numbers_that_are_kept(model, tmp_path, bits, monkeypatch):
    path, counted = tmp_path / "packed.safetensors", []
    write_packed(path, model.config, OfModel(model, bits), counted.append)
    assert counted == sorted(counted) and counted
    weights = PackedWeights(path, packed.Unpacker(torch.float32))
    decoder = decoder_from(model.config, weights)
    expected = logits_of(decoder_from(model.config, PlainWeights(AsKept(model, bits))), IDS)
    monkeypatch.setattr(packed, "LEAST_ROWS_TO_UNPACK", {4: 1, 8: 1})
    assert furthest(logits_of(decoder, IDS), expected) < 1e-3
    # Rounded to bfloat16 in each product. The usual difference: these weights are large, and magnify single ones.
    in_bfloat16 = decoder_from(model.config, PackedWeights(path, packed.Unpacker(torch.bfloat16)))
    assert usual(logits_of(in_bfloat16, IDS), expected) < 0.05
    monkeypatch.setattr(packed, "LEAST_ROWS_TO_UNPACK", {4: 1000, 8: 1000})
    assert usual(logits_of(decoder, IDS), expected) < 0.05
    assert weights.shares[bits] > 0 and f"{bits} bits" in describe_shares(weights.shares)


def test_an_absent_weight_is_told(engine, tmp_path):
    model = engine("qwen2")._model.module
    tensors = OfModel(model, 8)
    del tensors._tensors["model.layers.1.mlp.down_proj.weight"]
    with pytest.raises(KeyError, match="down_proj"):
        write_packed(tmp_path / "packed.safetensors", model.config, tensors, lambda _: None)
