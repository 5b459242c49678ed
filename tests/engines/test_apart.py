"""A function of ours in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess

from fim_magic.engines.apart import start_apart

ASKED = """
import json, os, sys
facts = {"keys": os.environ.get("FIM_MAGIC_SERVER_KEYS"), "more": os.environ["MORE"], "leads": os.getsid(0) == os.getpid()}
print(json.dumps(facts | {"isolated": sys.flags.isolated, "paths": sys.path}))
"""


def test_it_has_our_packages_and_none_of_the_keys(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the user')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", "gpu.example:8000=sesame")
    monkeypatch.syspath_prepend("")
    process = start_apart(exec, ASKED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, variables={"MORE": "x"})
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    told = json.loads(said)
    assert (told["keys"], told["more"], told["leads"], told["isolated"]) == (None, "x", True, 1)
    assert any(os.path.isdir(os.path.join(path, "fim_magic")) for path in told["paths"])
    assert "" not in told["paths"]
