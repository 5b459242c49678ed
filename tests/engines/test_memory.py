"""Free memory, giving it back, and running out of it: really on the CPU, with a stand-in for the GPU."""

from __future__ import annotations

import gc
import sys
import weakref

import psutil
import pytest
import torch

from fim_magic.engines import memory
from fim_magic.engines.memory import free_memory, free_ram, gigabytes
from fim_magic.engines.out_of_memory import FOR_LOADING, forget_frames, freeing_memory
from fim_magic.errors import ModelError

PETABYTE = 10**15
CUDA_SAYS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.99 GiB of which 1.20 GiB is free."
)


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device that exists only in what torch says of it: 5 GB are free, and 2 GB more reserved and unused."""
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (5 * 10**9, 24 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: 10**9)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    return emptied


@pytest.fixture
def mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 10**9)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * 10**9)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)


# --- free memory ---------------------------------------------------------------------------------


def test_what_is_free_here():
    free = free_memory()
    assert set(free) == {"cpu"} or torch.cuda.is_available() or torch.backends.mps.is_available()
    assert 0 < free["cpu"] <= psutil.virtual_memory().total


def test_memory_that_torch_has_reserved_and_does_not_use_is_free(gpu):
    assert free_memory() == {"cuda:0": 7 * 10**9, "cpu": pytest.approx(free_ram(), rel=0.1)}


def test_a_gpu_that_does_not_even_answer_is_left_out(gpu, monkeypatch):
    def full(device=None):
        raise torch.OutOfMemoryError(CUDA_SAYS)

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    assert set(free_memory()) == {"cpu"}


def test_a_mac_has_one_memory_for_both(mps):
    assert free_memory(30 * 10**9) == {"mps": 10 * 10**9, "cpu": 30 * 10**9}
    assert free_memory(4 * 10**9) == {"mps": 4 * 10**9, "cpu": 4 * 10**9}


V2 = {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 100\ninactive_file 50\nactive_file 25"}
V1 = {
    "memory.limit_in_bytes": "1000",
    "memory.usage_in_bytes": "700",
    "memory.stat": "cache 9\ntotal_inactive_file 50\ntotal_active_file 25",
}


def group(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("line", "where", "files"),
    [
        pytest.param("0::/", "", V2, id="a container, version 2"),
        pytest.param("0::/user.slice/notebook", "user.slice/notebook", V2, id="a service, version 2"),
        pytest.param("0::/user.slice/notebook", "user.slice", V2, id="a slice above it"),
        pytest.param("4:memory:/docker/abc", "memory/docker/abc", V1, id="version 1"),
        pytest.param("4:memory:/docker/abc", "memory", V1, id="version 1, the path is the host's"),
        pytest.param("4:cpu,memory:/", "memory", V1, id="version 1, with another controller"),
    ],
)
def test_a_containers_limit_counts(tmp_path, line, where, files):
    group(tmp_path / where, files)
    (tmp_path / "cgroup").write_text(f"9:pids:/\n{line}\n")
    assert list(memory._limits(tmp_path / "cgroup", tmp_path)) == [(1000, 700 - 75)]


def test_no_limit_is_none(tmp_path):
    group(tmp_path, V2 | {"memory.max": "max"})
    (tmp_path / "cgroup").write_text("0::/\n")
    assert list(memory._limits(tmp_path / "cgroup", tmp_path)) == []
    assert list(memory._limits(tmp_path / "absent", tmp_path)) == []


def test_the_narrowest_limit_holds():
    assert free_ram([(1000, 400), (500, 450), (10**18, 0)]) == 50
    assert free_ram([(1000, 1400)]) == 0


def test_gigabytes_are_of_ten_to_the_nine():
    assert gigabytes(1_260_000_000) == "1.3 GB"


def test_what_glibc_keeps_is_given_back():
    process = psutil.Process()
    small = 64_000  # below the size at which malloc asks the system for each block apart
    memory.give_back()
    blocks = [bytearray(small) for _ in range(3000)]
    kept = blocks[::100]  # so that the heap cannot simply shrink from its end
    with_blocks = process.memory_info().rss
    del blocks
    memory.give_back()
    assert with_blocks - process.memory_info().rss > 0.8 * 3000 * small or sys.platform != "linux"
    assert len(kept) == 30


# --- running out of it ---------------------------------------------------------------------------


def test_too_little_for_a_cpu_is_told_with_the_numbers():
    with pytest.raises(ModelError) as caught, freeing_memory("reading the prompt"):
        torch.empty(PETABYTE, dtype=torch.uint8)
    told = str(caught.value)
    assert "not enough memory for reading the prompt" in told
    assert "1000000.0 GB more were asked for" in told
    assert "GB on cpu are free" in told
    assert "--max-new-tokens" in told
    assert "-n 1" in told
    assert "--quantize" not in told


def test_too_little_for_a_gpu_is_told_with_the_numbers(gpu):
    with pytest.raises(ModelError) as caught, freeing_memory("generating"):
        raise torch.OutOfMemoryError(CUDA_SAYS)
    told = str(caught.value)
    assert "2.1 GB more were asked for" in told
    assert "7.0 GB on cuda:0 are free" in told
    assert "--quantize 4bit" in told
    assert gpu  # torch's cache was emptied


@pytest.mark.parametrize(
    "says",
    [
        pytest.param("MPS backend out of memory (MPS allocated: 8.00 GiB). Tried to allocate 1.00 GiB", id="Apple"),
        pytest.param("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", id="cuBLAS"),
        pytest.param("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes.", id="Windows"),
        pytest.param("HIP out of memory. Tried to allocate 20.00 MiB.", id="ROCm"),
    ],
)
def test_every_way_of_saying_it_is_understood(says):
    with pytest.raises(ModelError, match="not enough memory for this"), freeing_memory("this"):
        raise RuntimeError(says)


def test_pythons_own_is_understood():
    with pytest.raises(ModelError, match="not enough memory"), freeing_memory("this"):
        raise MemoryError


def test_apples_gpus_are_not_told_to_quantise(mps):
    with pytest.raises(ModelError) as caught, freeing_memory("this"):
        raise RuntimeError("MPS backend out of memory")
    assert "--quantize" not in str(caught.value)


def test_other_errors_pass_as_they_are():
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError) as caught, freeing_memory("this"):
        raise error
    assert caught.value is error
    with freeing_memory("this"):
        pass


def test_loading_has_its_own_advice():
    with pytest.raises(ModelError, match="No model is loaded now"), freeing_memory("loading x", advice=FOR_LOADING):
        raise MemoryError


def test_what_the_caller_holds_is_dropped_before_the_numbers_are_taken():
    order = []
    steps = {"drop": lambda: order.append("dropped"), "give_back": lambda: order.append("given back")}
    with pytest.raises(ModelError), freeing_memory("this", **steps):
        raise MemoryError
    assert order == ["dropped", "given back"]


class Layer:
    """Holds a large tensor in a local variable while it fails, as a model's forward does."""

    def __init__(self):
        self.seen = []

    def forward(self):
        activations = torch.ones(1000)
        self.seen.append(weakref.ref(activations))
        try:
            {}["no such key"]
        except KeyError:  # an error that is raised while another is handled keeps that one, too
            torch.empty(PETABYTE, dtype=torch.uint8)
        return activations


def test_nothing_of_the_failed_request_stays_in_memory_while_the_error_is_kept():
    layer = Layer()
    gc.disable()  # what only the collector of cycles finds would stay for long
    try:
        with pytest.raises(ModelError) as caught, freeing_memory("this"):
            layer.forward()
        sys.last_value = caught.value  # as IPython keeps it
        assert [seen() for seen in layer.seen] == [None]
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
    finally:
        gc.enable()
        del sys.last_value


def test_without_it_they_would_stay():
    layer = Layer()
    with pytest.raises(RuntimeError) as caught:
        layer.forward()
    assert layer.seen[0]() is not None
    forget_frames(caught.value)
    assert layer.seen[0]() is None


def test_errors_that_led_to_an_error_are_forgotten_with_it():
    layer = Layer()

    def load():
        try:
            layer.forward()
        except RuntimeError as error:
            raise ModelError("could not be loaded") from error

    with pytest.raises(ModelError) as caught:
        load()
    assert layer.seen[0]() is not None
    forget_frames(caught.value)
    assert layer.seen[0]() is None


def test_an_error_that_led_to_itself_ends():
    error = ValueError()
    other = ValueError()
    error.__context__, other.__context__ = other, error
    forget_frames(error)
