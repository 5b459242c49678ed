"""Does with a server what people do, in a process that can import none of the libraries that models are loaded with.

`python tests/servers/without_torch.py ADDRESS FILE [OPTION...]` fills the hole in FILE with every door that there is,
and prints what happened as JSON. OPTIONs are those of `%fim use`, such as `--tokenizer FOLDER`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

LEFT_OUT = ("torch", "transformers", "accelerate", "gguf", "safetensors", "pandas")


class Missing:
    """Finds none of these libraries, as if they were not installed, and keeps what was looked for."""

    def __init__(self) -> None:
        self.sought: list[str] = []

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> ModuleSpec:
        if name.partition(".")[0] in LEFT_OUT:
            self.sought.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None  # type: ignore[return-value] # as the protocol has it


def ran(command: list[str]) -> tuple[int, str, str]:
    from fim_magic import cli

    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(command)
    out.flush()
    return status, out.buffer.getvalue().decode(), err.getvalue()


def in_a_notebook(address: str, hole: str, use: str) -> dict[str, Any]:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config(HistoryManager={"hist_file": ":memory:"}))
    told: dict[str, Any] = {}
    for name, cell in {
        "load_ext": "%load_ext fim_magic",
        "use": f"%fim use {address}{use}",
        "fim": f"%%fim -n 2\n{hole}",
        "check": f'%%fim --check "mean([1, 3]) == 2"\n{hole}',
        "prompt": "%fim prompt",
        "accept": "%fim accept",
        "status": "%fim status",
        "log": "%fim log",
        "all": "%fim log 1",
        "replay": "%fim replay 1",
        "again": f"%%complete\n{hole}",
    }.items():
        with capture_output() as captured:
            shell.run_cell(cell, store_history=True)
        told[name] = captured.stdout + captured.stderr
        if name == "accept":
            told["accepted"] = shell.rl_next_input
    told["sought"] = list(missing.sought)
    for name in ("models", "doctor", "unload"):
        with capture_output() as captured:
            shell.run_cell(f"%fim {name}")
        told[name] = captured.stdout + captured.stderr
    return told


def main() -> None:
    address, path, *options = sys.argv[1:]
    hole = Path(path).read_text("utf-8")
    use = "".join(f" {option}" for option in options)
    notebook = in_a_notebook(address, hole, use)
    before = len(missing.sought)
    infill = ran(["infill", path, "--model", address, *options])
    from fim_magic import infill as in_python

    text = in_python(hole, model=address, **({"tokenizer": options[1]} if options else {})).text
    sought = missing.sought[before:]
    print(
        json.dumps(
            {
                "notebook": notebook,
                "infill": infill,
                "python": text,
                "sought": sought,
                "doctor": ran(["doctor"]),
                "model": ran(["doctor", "--model", address]),
                "models": ran(["models"]),
                "imported": [name for name in LEFT_OUT if name in sys.modules],
            }
        )
    )


if __name__ == "__main__":
    missing = Missing()
    sys.meta_path.insert(0, missing)
    main()
