"""What Linux takes away from a process for good: files by Landlock, system calls by seccomp, root's powers.

The child loads this file by its path, before it runs anything: it needs nothing but Python's own library.

Landlock allows by path and does not know chmod, chown, utime, extended attributes and stat. seccomp knows no paths.
So the files' contents are Landlock's, and what would change a file's attributes is refused altogether, but for modes
and times where the mounts (`mounts.py`) keep a program to its own files. That a file is there, how large it is, and
where a link leads, a program can still find out if it knows its path.

References: Linux's Documentation/userspace-api/landlock.rst and seccomp_filter.rst, include/uapi/linux/landlock.h,
seccomp.h, audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable, Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

_CREATE_RULESET = 444  # Landlock's three have the same numbers everywhere
_ADD_RULE = 445
_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

# struct landlock_ruleset_attr, and which ABI brought which right.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in range(13, 16))
_FILE_RIGHTS = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_ABI_NETWORK = 4
_ABI_SCOPES = 6
_NETWORK = 0b11  # bind and connect
_SCOPES = 0b11  # abstract sockets and signals
_READING = _READ_FILE | _READ_DIR
# Neither devices, which would be a way to the disk for root, nor sockets; nothing may be executed.
_WRITING = _READING | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_FIFO | _MAKE_SYM
_WRITING |= _REFER | _TRUNCATE
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION = 0x20080522
_CAPABILITY_SIZE = 24  # bytes: effective, permitted and inheritable, the lower 32 and the upper 32

# The machine's name: (its place in the tables above, AUDIT_ARCH_…, the number of capset).
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 126), "aarch64": (1, 0xC00000B7, 91)}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _architecture() -> tuple[int, int, int] | None:
    # A 32-bit Python on a 64-bit kernel has other numbers.
    if not sys.platform.startswith("linux") or struct.calcsize("P") != 8:  # bytes of a pointer
        return None
    return _ARCHITECTURES.get(platform.machine())


def die_with_parent() -> None:
    """Ask for a SIGKILL when the process that started this one ends."""
    if sys.platform.startswith("linux"):
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def no_new_privileges() -> bool:
    """Give up what a setuid file or a capability of a file could give, for good. Landlock and seccomp ask for it."""
    return sys.platform.startswith("linux") and not _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> bool:
    """Give up powers such as root's, all but reading: root may run a Python that belongs to a user."""
    architecture = _architecture()
    if architecture is None:
        return False
    libc, capset = _libc(), architecture[2]
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(_CAPABILITY_SIZE)
    if libc.syscall(capset - 1, header, held):  # capget
        return False
    kept = struct.unpack_from("=I", held, 4)[0] & (1 << _CAP_DAC_READ_SEARCH)  # of those that are permitted
    return bool(libc.syscall(capset, header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0)


def landlock_abi() -> int:
    """Return the version of Landlock that this kernel has switched on, or 0."""
    if _architecture() is None:
        return 0
    size = ctypes.c_size_t(0)
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, size, _CREATE_RULESET_VERSION)))


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> int:
    """Allow this process, and its threads to come, only these files and folders, and no TCP; by Landlock.

    Return the version of Landlock that does it, or 0 where the kernel has none.
    """
    abi = landlock_abi()
    if not abi:
        return 0
    libc = _libc()
    handled = sum(rights for since, rights in _FILE_RIGHTS if abi >= since)
    fields = [handled]
    fields += [_NETWORK] if abi >= _ABI_NETWORK else []
    fields += [_SCOPES] if abi >= _ABI_SCOPES else []
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return 0
    try:
        for rights, paths in ((_READING, readable), (_WRITING, writable)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        return 0 if libc.syscall(_RESTRICT_SELF, ruleset, 0) else abi
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]  # Linux has it
    except OSError:
        return  # this machine has none
    try:
        if not os.path.isdir(path):  # pathlib takes longer to import than this takes
            rights &= _ON_A_FILE
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def refuse_system_calls(program: Callable[..., bytes], *, spares_attributes: bool) -> bool:
    """Refuse this process other processes, sockets and what changes the machine; by seccomp. Return whether it is so.

    Threads may be started. Signals reach only this process.

    Args:
        program: `seccomp.program`.
        spares_attributes: As for that.
    """
    architecture = _architecture()
    if architecture is None:
        return False
    code = program(architecture[0], architecture[1], os.getpid(), spares_attributes=spares_attributes)
    text = ctypes.create_string_buffer(code, len(code))
    described = ctypes.create_string_buffer(
        struct.pack("@HP", len(code) // 8, ctypes.addressof(text)),
    )
    return not _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0)
