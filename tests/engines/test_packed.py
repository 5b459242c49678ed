"""Products with weights in 4 and 8 bits, against float32."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch

from fim_magic.engines.torch import packed
from fim_magic.engines.torch.packed_conversion import require_products
from fim_magic.engines.torch.precision import costs
from fim_magic.errors import ModelError

SHAPES = [(1, 32), (7, 64), (64, 96), (130, 128), (896, 896), (300, 1376)]  # rows and columns of weights
ROWS = [1, 2, 5, 13, 14, 23, 24, 65, 500, 1000]
ERROR = {4: 0.09, 8: 0.008}  # of normally distributed weights, relative to them
BFLOAT16 = 2.0**-8


def random_weight(rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows * columns)) * 0.02


def unpacked(weight, dtype=torch.float32):
    return packed.Unpacker(dtype).unpack(weight, 0, weight.planes.shape[0])[:, : weight.rows].t().float()


def error_of(found, expected):
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_quantised_weight_is_near_the_weight(shape, bits):
    weight = random_weight(*shape)
    found = packed.quantised(weight, bits)
    assert (found.rows, found.columns, found.bits) == (*shape, bits)
    assert error_of(unpacked(found), weight) < ERROR[bits]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30])
def test_a_group_of_one_value_stays_it(bits, value):
    weight = torch.full((3, 64), value)
    assert unpacked(packed.quantised(weight, bits)) == pytest.approx(weight, rel=2 * BFLOAT16)


def test_a_group_far_from_zero_keeps_its_spread():
    weight = 1.0 + random_weight(64, 64)
    assert float((unpacked(packed.quantised(weight, 4)) - weight).abs().max()) < 0.008


def test_nibbles_scales_and_zeros_come_back_as_they_were():
    scale, zero = torch.rand(70, 3).bfloat16(), torch.randn(70, 3).bfloat16()
    nibbles = torch.randint(0, 16, (70, 96))
    expected = (nibbles - 8.0).view(70, 3, 32) * scale.float()[..., None] + zero.float()[..., None]
    assert torch.equal(unpacked(packed.pack_4bit(nibbles, scale, zero)), expected.view(70, 96))


def test_numbers_and_their_scale_come_back_as_they_were():
    scale, numbers = torch.rand(70, 3).bfloat16(), torch.randint(-128, 128, (70, 96))
    expected = numbers.float().view(70, 3, 32) * scale.float()[..., None]
    assert torch.equal(unpacked(packed.pack_8bit(numbers, scale)), expected.view(70, 96))


def test_a_remainder_makes_up_for_what_rounding_takes_from_scales_and_zeros():
    nibbles, scale, zero = torch.randint(0, 16, (70, 96)), torch.rand(70, 3), torch.randn(70, 3)
    expected = ((nibbles - 8.0).view(70, 3, 32) * scale[..., None] + zero[..., None]).view(70, 96)
    alone = packed.pack_4bit(nibbles, scale, zero)
    weight = packed.pack_4bit_with_remainder(nibbles, scale, zero)
    assert (weight.bits, alone.bits) == (8, 4)
    assert error_of(unpacked(weight), expected) < 0.2 * error_of(unpacked(alone), expected)
    assert torch.equal(packed.rows_of(weight, torch.arange(70)), unpacked(weight))
    assert error_of(unpacked(weight, torch.bfloat16), expected) < BFLOAT16
    x = torch.randn(3, 96).bfloat16().float()
    largest = x.abs() @ expected.abs().t()
    assert bool(((packed.multiply(x, weight) - x @ expected.t()).abs() <= BFLOAT16 * largest).all())


def test_numbers_of_5_bits_get_scales_that_lose_less_when_they_are_rounded():
    numbers, scale = torch.randint(-16, 16, (700, 96)).float(), torch.rand(700, 3)
    expected = (numbers.view(700, 3, 32) * scale[..., None]).view(700, 96)
    plain, finer = packed.pack_8bit(numbers, scale), packed.pack_8bit(*packed.with_room(numbers, scale))
    assert error_of(unpacked(finer), expected) < 0.6 * error_of(unpacked(plain), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_the_unpacked_weight(shape, bits, dtype):
    weights = [packed.quantised(random_weight(*shape), bits), packed.quantised(random_weight(33, shape[1]), 8)]
    bias = torch.randn(shape[0] + 33)
    product = packed.PackedLinear(weights, bias, packed.Unpacker(dtype))
    whole = torch.cat([unpacked(weight) for weight in weights])
    for rows in ROWS:
        x = torch.randn(rows, shape[1])
        found, expected = product(x), torch.nn.functional.linear(x, whole, bias)
        assert found.dtype == torch.float32 and found.shape == expected.shape
        # Rows, weights and sums are rounded to bfloat16 once each; a sum may be much smaller than what it is made of.
        largest, usual = x.abs() @ whole.abs().t(), (x.square() @ whole.square().t()).sqrt()
        assert bool(((found - expected).abs() <= 1.6 * BFLOAT16 * largest + 1e-6).all()), rows
        assert error_of(found, expected) * expected.norm() < 1.2 * BFLOAT16 * usual.norm(), rows


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_unpacked_wherever_they_stand(shape, bits):
    weight = packed.quantised(random_weight(*shape), bits)
    rows = torch.randint(0, shape[0], (7,))
    assert torch.equal(packed.rows_of(weight, rows), unpacked(weight)[rows])


@pytest.mark.parametrize("bias", [None, torch.randn(300)])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_likeliest_tokens_are_told_apart_where_bfloat16_has_one_logit_for_them(bits, bias):
    weight = packed.quantised(random_weight(300, 896), bits)
    logits = packed.PackedLogits(weight, bias, packed.Unpacker(torch.bfloat16))
    for count in (1, 5, 24, 65):
        rows = 40 * torch.randn(count, 896)
        found, expected = logits(rows), torch.nn.functional.linear(rows, unpacked(weight), bias)
        likeliest = expected.topk(8).indices
        found, expected = found.gather(1, likeliest), expected.gather(1, likeliest)
        assert found == pytest.approx(expected, rel=1e-4)
        assert not bool((expected.bfloat16() == expected).all())  # where rounding would be seen


def test_a_large_weight_is_unpacked_in_parts(monkeypatch):
    weight = packed.quantised(random_weight(300, 64), 8)
    x = torch.randn(40, 64)
    whole = packed.Unpacker(torch.float32)
    expected = whole.multiply(x, weight)
    monkeypatch.setattr(packed, "_UNPACKED_AT_ONCE", 128 * 64)
    parts = packed.Unpacker(torch.float32)
    assert parts.multiply(x, weight) == pytest.approx(expected, abs=1e-6)
    assert parts._buffer.numel() == 128 * 64 < whole._buffer.numel()


def test_only_whole_groups_fit():
    assert [columns for columns in (0, 16, 32, 48, 64, 4864) if packed.fits(columns)] == [32, 64, 4864]


COMPARED = """
import torch
from fim_magic.engines.torch import packed
torch.manual_seed(0)
nibbles, numbers = torch.randint(0, 16, (130, 96)), torch.randint(-128, 128, (130, 96))
scale, zero = torch.rand(130, 3).bfloat16().float(), torch.randn(130, 3).bfloat16().float()
x = torch.randn(3, 96).bfloat16().float()
each = scale[..., None], zero[..., None]
finer = scale * 1.001, zero * 1.001
for weight, expected in [
    (packed.pack_4bit(nibbles, scale, zero), (nibbles - 8.0).view(130, 3, 32) * each[0] + each[1]),
    (packed.pack_8bit(numbers, scale), numbers.view(130, 3, 32) * each[0]),
    (
        packed.pack_4bit_with_remainder(nibbles, *finer),
        (nibbles - 8.0).view(130, 3, 32) * finer[0][..., None] + finer[1][..., None],
    ),
]:
    expected = expected.view(130, 96)
    for dtype in (torch.float32, torch.bfloat16):
        found = packed.Unpacker(dtype).unpack(weight, 0, 192)[:, :130].t().float()
        assert torch.allclose(found, expected, rtol=2**-7, atol=2**-7 if dtype == torch.bfloat16 else 2**-9)
    assert torch.allclose(packed.multiply(x, weight), x @ expected.t(), rtol=2**-7, atol=0.5)
    assert torch.allclose(packed.rows_of(weight, torch.arange(130)), expected, rtol=2**-11, atol=2**-9)
print(packed.capability())
"""


@pytest.mark.parametrize("name", ["default", "avx2", "avx512"])
def test_every_layout_of_the_kernel_is_known(name):
    here = torch.backends.cpu.get_cpu_capability()
    done = subprocess.run(
        [sys.executable, "-c", COMPARED],
        env={**os.environ, "ATEN_CPU_CAPABILITY": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A processor without the instructions takes what it has.
    assert done.stdout.strip() in (name.upper(), here)


def packed_as(block, halves):
    """Return torch's operator as it would be with another layout."""

    def pack(nibbles, _tiles):
        rows, columns = nibbles.shape
        out = torch.empty(rows // block, columns, block // 2, dtype=torch.uint8)
        for at, column, byte in itertools.product(*map(range, out.shape)):
            low, high = (byte, byte + block // 2) if halves else (2 * byte, 2 * byte + 1)
            out[at, column, byte] = nibbles[at * block + low, column] | nibbles[at * block + high, column] << 4
        return out.view(rows, columns // 2)

    return pack


@pytest.fixture
def operator(monkeypatch):
    def put(pack):
        monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack_for_cpu", pack)
        packed._layout.cache_clear()

    yield put
    packed._layout.cache_clear()


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("block", [64, 32, 16])
def test_the_layout_is_that_which_torch_packs_with(operator, block, halves):
    """Compilers and releases have others for the same instructions: MSVC has neighbours, and Arm blocks of 16."""
    operator(packed_as(block, halves))
    assert packed.layout_name() == f"{block}-{'halves' if halves else 'neighbours'}"
    numbers = torch.arange(96 * 64).view(96, 64) % 256 - 128
    weight = packed.pack_8bit(numbers, torch.ones(96, 2))
    assert torch.equal(packed.rows_of(weight, torch.arange(96)), numbers.float())
    assert torch.equal(packed.Unpacker(torch.float32).unpack(weight, 0, 128)[:, :96].t(), numbers.float())


def test_a_layout_that_is_not_known_is_refused(operator):
    pack = packed_as(64, halves=True)
    operator(lambda nibbles, tiles: pack(nibbles.flip(0), tiles))
    with pytest.raises(ModelError, match="Omit --quantize 4bit: %fim use NAME"):
        require_products("NAME", "--quantize 4bit")
    assert costs((128, 64), busy=lambda: False) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_any_number_of_rows_are_of_few_shapes(monkeypatch, dtype):
    """For each shape that it has met, torch keeps what it has made for it: hundreds of MB, of prompts of all lengths."""
    shapes, multiply = set(), torch.mm

    def noted(rows, weight):
        shapes.add(tuple(rows.shape))
        return multiply(rows, weight)

    monkeypatch.setattr(torch, "mm", noted)
    generator = torch.Generator().manual_seed(0)
    weight = packed.quantised(torch.randn(96, 64, generator=generator), 8)
    unpacker = packed.Unpacker(dtype)
    for count in range(1, 129):
        rows = torch.randn(count, 64, generator=generator)
        product = unpacker.multiply(rows, weight)
        assert product.shape == (count, 96)
        expected = rows @ packed.rows_of(weight, torch.arange(96)).T
        assert float((product - expected).abs().max()) < (0.5 if dtype == torch.bfloat16 else 1e-3)
    assert len(shapes) == 4
