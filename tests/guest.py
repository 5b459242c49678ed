"""Loads models, fills, checks, ranks and unloads, and prints what is then different in the process, as a JSON list.

`python tests/guest.py NAME...` does it with each of these models, in a process that had its own settings before.
"""

from __future__ import annotations

import decimal
import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging as transformers_logging

_LIBRARIES = ("transformers", "torch", "tokenizers", "huggingface_hub", "gguf", "tqdm", "numpy", "warnings", "logging")
_DOWN_TO = 3  # levels of a library's modules
_CODE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"


def settings_of_the_user() -> None:
    """Set what a user may have set."""
    warnings.filterwarnings("error", category=SyntaxWarning)
    warnings.filterwarnings("ignore", message="the user's own")
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("transformers").setLevel(logging.INFO)
    transformers_logging.enable_progress_bar()
    disable_progress_bars()  # the Hub's
    torch.set_num_threads(1)
    random.seed(1)
    np.random.seed(2)  # what many users' notebooks do
    torch.manual_seed(3)
    np.seterr(over="ignore")
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.environ["THE_USERS_OWN"] = "1"


def of_the_process() -> Iterator[tuple[str, Any]]:
    """Yield each thing that belongs to the user, by name, as something that can be compared."""
    yield "random", random.getstate()
    yield "numpy.random", repr(np.random.get_state())  # the user's
    yield "torch's random stream", torch.get_rng_state().tolist()
    yield "warning filters", list(warnings.filters)
    yield "warnings.showwarning", warnings.showwarning
    yield "default dtype", torch.get_default_dtype()
    yield "default device", torch.get_default_device()
    yield "grad mode", (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    yield "threads of torch", (torch.get_num_threads(), torch.get_num_interop_threads())
    yield "precision of matmul", torch.get_float32_matmul_precision()
    yield "deterministic algorithms", torch.are_deterministic_algorithms_enabled()
    yield "numpy's errors", np.geterr()
    yield "numpy's print options", repr(np.get_printoptions())
    yield "decimal", repr(decimal.getcontext())
    yield "locale", locale.setlocale(locale.LC_ALL)
    for each in sorted(signal.valid_signals()):
        yield f"signal {each}", signal.getsignal(each)
    yield "os.environ", dict(os.environ)
    yield "working directory", Path.cwd()
    yield "standard streams", (sys.stdin, sys.stdout, sys.stderr)
    yield "hooks", (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, sys.gettrace())
    yield "recursion limit", sys.getrecursionlimit()
    yield "import path", (list(sys.path), list(sys.meta_path), list(sys.path_hooks))
    yield "garbage collection", (gc.isenabled(), gc.get_threshold())
    yield "threads", sorted(each.name for each in threading.enumerate())
    yield "open files", _open_files()
    yield "temporary files", sorted(map(str, Path(tempfile.gettempdir()).iterdir()))
    yield (
        "verbosity of transformers",
        (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
        ),
    )
    yield "root logger", _logger(logging.getLogger())


def of_the_libraries() -> dict[str, Any]:
    """Return loggers, and what the modules of other libraries define, by name: each has to stay the same object."""
    found: dict[str, Any] = {}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            found[f"logger {name}"] = _logger(logger)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in _LIBRARIES and name.count(".") < _DOWN_TO and isinstance(module, ModuleType):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, FunctionType | type):
                    found[f"{name}.{attribute}"] = value
    return found


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled


def _open_files() -> list[str]:
    paths = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            path = str(each.readlink())
        except OSError:  # the one that lists them
            continue
        if path.startswith("/") and not path.startswith(("/dev", "/proc")):
            paths.append(path)
    return sorted(paths)


def use(name: str) -> None:
    """Do what a session does with a model."""
    from fim_magic import infill
    from fim_magic.loading.manager import MODELS

    infill(_CODE, model=name, max_new_tokens=12)
    infill(_CODE, model=name, max_new_tokens=12, candidates=3, check=["mean([1, 3]) == 2", "doctests"])
    infill(_CODE, model=name, max_new_tokens=12, candidates=2, temperature=0.8)
    infill(_CODE, model=name, max_new_tokens=12, candidates=2, method="rank")
    infill("x = '\\d'\nif x is 'a':\n    <cursor>\n", model=name, max_new_tokens=12, candidates=4)
    MODELS.unload()


def main() -> None:
    """Compare before and after."""
    # What comes with an import is no trace of use: IPython's completer brings a warning filter in older releases.
    import IPython  # noqa: F401

    from fim_magic.engines.torch import gguf_conversion, local  # noqa: F401

    settings_of_the_user()
    transformers.AutoConfig  # noqa: B018 - lazy modules are there before
    before, libraries = dict(of_the_process()), of_the_libraries()
    for name in sys.argv[1:]:
        use(name)
    gc.collect()
    after, then = dict(of_the_process()), of_the_libraries()
    changed = [name for name, value in before.items() if after[name] != value]
    replaced = [name for name, value in libraries.items() if name in then and then[name] != value]
    told = [f"{name}: {before[name]!r:.200} -> {after[name]!r:.200}" for name in changed]
    print(json.dumps([*told, *replaced]))


if __name__ == "__main__":
    main()
