"""What a child finds: its environment variables, the packages that it may import, the files that it may read."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

# What the interpreter, its packages and system libraries read: no user's own files.
_SYSTEM_PATHS = (
    "/usr /lib /lib64 /nix/store /gnu/store /etc/ld.so.cache /etc/localtime /etc/fonts /etc/mime.types /proc/cpuinfo"
    " /proc/meminfo /sys/devices/system/cpu /System /Library/Fonts /dev/urandom /dev/random"
)
_OF_A_PREFIX = ("lib", "lib64", "share", "DLLs", "Library")  # not all of it: a project may be its own environment
_THREAD_COUNTS = (
    "MKL_NUM_THREADS NUMEXPR_NUM_THREADS OMP_NUM_THREADS OPENBLAS_NUM_THREADS VECLIB_MAXIMUM_THREADS"  # words
)


def variables(home: Path) -> dict[str, str]:
    """Return all of a child's environment variables: of this process's it gets only what interpreters start with."""
    folder = str(home)
    found = {
        "HOME": folder,
        "TMPDIR": folder,
        "MPLCONFIGDIR": folder,
        "MPLBACKEND": "Agg",
        "LANG": "C.UTF-8",
        "USER": "user",  # the list of users cannot be read
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of address space
        **dict.fromkeys(_THREAD_COUNTS.split(), "1"),
    }
    # Without these some interpreters do not start.
    found |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    if os.name == "nt":
        found |= {"TEMP": folder, "TMP": folder, "USERPROFILE": folder}
    return found


def packages() -> list[str]:
    """Return where this process finds packages, and an isolated interpreter would not: the user's site-packages."""
    return [path for path in sys.path if path == site.getusersitepackages()]


def readable_paths() -> list[str]:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = [str(Path(prefix, part)) for prefix in sorted(prefixes) for part in _OF_A_PREFIX]
    paths = sysconfig.get_paths()
    found += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    if os.name == "nt":
        found += [os.environ.get("SYSTEMROOT", r"C:\Windows")]
    return [*_SYSTEM_PATHS.split(), *found, *packages()]
