"""How many threads may compute."""

from __future__ import annotations

import os
import sys

import pytest

from fim_magic.engines.cores import usable_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil counts them")


ALL = frozenset(range(8))


@pytest.fixture
def machine(tmp_path):
    """A machine with four cores of two threads each."""
    for n in range(8):
        topology = tmp_path / f"cpu{n}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{n % 4},{n % 4 + 4}\n")
    return tmp_path


def test_two_threads_of_a_core_count_once(machine, tmp_path):
    assert usable_cores(machine, tmp_path / "none", ALL) == 4


def test_only_cores_that_the_process_may_use_count(machine, tmp_path):
    assert usable_cores(machine, tmp_path / "none", {1, 5, 6}) == 2


@pytest.mark.parametrize(
    ("said", "cores"), [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("", 4)]
)
def test_a_containers_share_of_time_is_the_limit(machine, tmp_path, said, cores):
    quota = tmp_path / "cpu.max"
    quota.write_text(said)
    assert usable_cores(machine, quota, ALL) == cores


def test_where_linux_does_not_say_what_is_one_core_each_thread_counts(tmp_path):
    assert usable_cores(tmp_path / "none", tmp_path / "none", {0, 1, 2}) == 3


def test_this_machine_has_some():
    assert 1 <= usable_cores() <= os.cpu_count()
