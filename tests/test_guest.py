"""The user's process is theirs: loading a model, filling, checking, ranking and unloading leave it as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from gguf_files import write_gguf

from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.selection.judging import in_place


def traces_of(*names, home):
    for folder in ("cache", "temporary"):
        (home / folder).mkdir()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("guest.py")), *names],
        env={**os.environ, "FIM_MAGIC_CACHE": str(home / "cache"), "TMPDIR": str(home / "temporary")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_session_leaves_the_process_as_it_was(checkpoint, tmp_path):
    assert traces_of(str(checkpoint("qwen2")), str(checkpoint("starcoder")), home=tmp_path) == []


def test_so_does_a_gguf_file_that_is_converted_first(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path, context=512)
    assert traces_of(str(path), home=tmp_path) == []


def test_a_new_seed_is_not_drawn_from_the_users_random_stream():
    import random

    random.seed(5)
    before = random.getstate()
    assert Sampling().varied() != Sampling().varied()
    assert random.getstate() == before


def test_threads_that_check_at_once_leave_the_warning_filters_as_they_were():
    from fim_magic.candidate import Candidate, Ending

    def check():
        for number in range(30):
            candidate = Candidate(f"'\\d' is {number}", Ending.STOP_TOKEN)
            in_place(Document("x = ", "\n"), candidate)

    before = list(warnings.filters)
    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("text", ["x = '\\d'", "x is 'a'", "assert (1, 2)"])
def test_reading_a_cell_warns_of_nothing(text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_place(Document("", "\n"), _candidate(text))
    assert caught == []


def _candidate(text):
    from fim_magic.candidate import Candidate, Ending

    return Candidate(text, Ending.STOP_TOKEN)
