"""Which build of llama.cpp is compared with, and which instructions it was compiled with.

Another build than the installed one is asked as a program. llama.h's structures change from release to release, and no
function tells how a library was laid out, so that one of another release would read the wrong memory. What
`llama-server` takes and answers has stayed the same for years.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fim_magic.child_environment import without_keys
from fim_magic.errors import OptionError

PROGRAM = "llama-server.exe" if sys.platform == "win32" else "llama-server"

_BUILD = (
    "Build it in llama.cpp's folder: cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && cmake --build build "
    "--target llama-server. Then: fim-magic bench --llama-cpp build"
)
_PLACES = ("", "bin", "build/bin")
_SECONDS = 60.0  # for a program that loads nothing
_OPTIONS = "LLAMA_ARG_"  # a server takes options from the environment, too
_MOST_CHARACTERS = 200
_VERSION = re.compile(r"^version: *(.+)$", re.MULTILINE)
_SYSTEM = re.compile(r"system_info: *(.+)$", re.MULTILINE)
_SET = re.compile(r"\b([A-Z][A-Z0-9_]*) = 1\b")

# Linux's name of what a processor has, and llama.cpp's of what it was compiled with.
_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
}


@dataclass(frozen=True)
class LlamaCppBuild:
    """A build of llama.cpp.

    Attributes:
        version: As it tells it.
        compiled_with: Instructions and other options, as its system info names them; empty where it does not tell.
        program: Its llama-server; None for the installed library.
    """

    version: str
    compiled_with: tuple[str, ...]
    program: Path | None = None

    def lacking(self, flags: Collection[str]) -> list[str]:
        """Return which instructions it does without, of those that a processor has by Linux's names of them."""
        known = self.compiled_with
        return [name for flag, name in _INSTRUCTIONS.items() if known and flag in flags and name not in known]

    def describe(self, flags: Collection[str] = ()) -> str:
        """Say what it is in a line; `flags` are the processor's."""
        if not self.compiled_with:
            return f"{self.version}, which does not tell what it was compiled with"
        lacking = self.lacking(flags)
        without = f"; without {' '.join(lacking)}, which the processor has" if lacking else ""
        return f"{self.version}, compiled with {' '.join(self.compiled_with)}{without}"


def installed_build() -> LlamaCppBuild:
    """Return the build in the installed package xllamacpp; a ModelError where it cannot be loaded."""
    from fim_magic.engines.llama_cpp import library

    info = library.library().llama_print_system_info().decode(errors="replace")
    return LlamaCppBuild(f"xllamacpp {library.RELEASE}, installed", _names(info))


def build_at(path: Path) -> LlamaCppBuild:
    """Return the build at a path: llama-server itself, or a folder or library that has it beside it.

    Raises:
        OptionError: There is none, or it cannot be run.
    """
    program = _program_at(path)
    said = _VERSION.search(_output_of(program, "--version"))
    if said is None:
        raise OptionError(f"{str(program)!r} does not tell its version, as llama-server does. {_BUILD}")
    with tempfile.TemporaryDirectory() as folder:
        # It tells of its system before it looks for the model, which is not there: no weights are read.
        told = _SYSTEM.search(_output_of(program, "--model", str(Path(folder) / "none.gguf"), "--verbosity", "4"))
    version = "".join(filter(str.isprintable, said[1]))[:_MOST_CHARACTERS]
    return LlamaCppBuild(f"llama-server {version}", _names(told[1]) if told else (), program)


def environment() -> dict[str, str]:
    """Return the environment for a llama-server: this process's, without what would change how it computes."""
    return {name: value for name, value in without_keys().items() if not name.startswith(_OPTIONS)}


def _program_at(path: Path) -> Path:
    path = path.expanduser()
    if path.is_file() and not _is_library(path):
        return path.resolve()
    folder = path.parent if path.is_file() else path
    found = next((place for name in _PLACES if (place := folder / name / PROGRAM).is_file()), None)
    if found is not None:
        return found.resolve()
    if not path.exists():
        raise OptionError(f"There is no file or folder {str(path)!r} for --llama-cpp. {_BUILD}")
    why = (
        " A library alone is not loaded: how its structures are laid out changes from release to release, and it does "
        "not tell."
        if any(map(_is_library, [path, *folder.glob("*llama*")]))
        else ""
    )
    raise OptionError(f"There is no {PROGRAM} in {str(folder)!r}.{why} {_BUILD}")


def _is_library(path: Path) -> bool:
    return re.search(r"\.(so|dylib|dll)(\.|$)", path.name) is not None


def _output_of(program: Path, *arguments: str) -> str:
    """Run a program to its end, and return what it wrote."""
    try:
        done = subprocess.run(  # what the user named
            [str(program), *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OptionError(f"{str(program)!r} has not ended after {_SECONDS:.0f} seconds. {_BUILD}") from error
    except OSError as error:
        raise OptionError(f"{str(program)!r} cannot be run ({error.strerror or error}). {_BUILD}") from error
    return done.stdout.decode(errors="replace")


def _names(info: str) -> tuple[str, ...]:
    """Return what is set in llama.cpp's system info, such as "CPU : AVX = 1 | AVX2 = 1 | "."""
    return tuple(dict.fromkeys(_SET.findall(info)))
