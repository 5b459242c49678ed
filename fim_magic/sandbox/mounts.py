"""A scratch folder of a size that nothing gets around: a file system in memory that only this process sees.

The child loads this file by its path, as it does `kernel.py`. Whatever a program does with it, hides its folders, keeps
files open that it has deleted or maps them into memory, it holds no more than it has room for, and it is gone with the
last process that uses it. All other file systems can only be read there, so that modes and times of files can be left
to the program.

root may mount in a namespace of mounts; others need one of users as well, which some systems refuse, or give without
its powers (Ubuntu's AppArmor). So a copy of this process tries it first: what fails half-way would leave this one in
neither state. References: mount_namespaces(7), user_namespaces(7), tmpfs(5).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS
_NEW_USERS = 0x10000000  # CLONE_NEWUSER
_NO_SUID, _NO_DEVICES, _NO_EXECUTION = 2, 4, 8
_RECURSIVE, _PRIVATE = 1 << 14, 1 << 18
_MOUNT_SETATTR = 442  # Linux 5.12; the same number everywhere
_FROM_HERE, _ALL_BELOW, _READ_ONLY = -100, 0x8000, 1  # AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY


def private_tmpfs(folder: str, size: int, inodes: int) -> tuple[bool, bool]:
    """Put an empty file system over a folder, for this process alone, and let it change no other.

    Return whether it is there, and whether no other can be changed; what was opened before still can.

    This process must not have threads yet.

    Args:
        folder: What lies in it cannot be reached any more.
        size: Bytes that fit in.
        inodes: Files and folders that fit in.
    """
    if not sys.platform.startswith("linux"):
        return False, False
    options = f"size={size},nr_inodes={inodes},mode=700".encode()
    for kinds in (_NEW_NAMESPACE, _NEW_NAMESPACE | _NEW_USERS):
        if _tried_elsewhere(kinds, folder, options):
            return _mount(kinds, folder, options)
    return False, False


def _tried_elsewhere(kinds: int, folder: str, options: bytes) -> bool:
    try:
        pid = os.fork()
    except OSError:
        return False
    if not pid:
        works = False
        try:
            works, _ = _mount(kinds, folder, options)
        finally:
            os._exit(0 if works else 1)
    return os.waitpid(pid, 0)[1] == 0


def _mount(kinds: int, folder: str, options: bytes) -> tuple[bool, bool]:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(kinds):
        return False, False
    if kinds & _NEW_USERS:
        try:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as stream:
                    stream.write(text)
        except OSError:
            return False, False
    # What is mounted here must not show where this process came from.
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None):
        return False, False
    is_alone = _cover_proc(libc) and _set_read_only(libc)
    flags = ctypes.c_ulong(_NO_SUID | _NO_DEVICES | _NO_EXECUTION)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options):
        return False, False
    os.chdir(folder)
    return True, is_alone


def _cover_proc(libc: ctypes.CDLL) -> bool:
    """Put copies of what tells of the machine in the place of /proc.

    Its link to the interpreter leads to where that was started from, where it may still be changed. What else it shows
    is of other processes.
    """
    try:
        found = {}
        for name in ("cpuinfo", "meminfo"):
            with open(f"/proc/{name}", "rb") as stream:
                found[name] = stream.read()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
            proc = [line.split()[4] for line in stream if line.rpartition(" - ")[2].startswith("proc ")]
        if not all(f"{path}/".startswith("/proc/") for path in proc):
            return False  # somebody has mounted a second one
        flags = ctypes.c_ulong(_NO_SUID | _NO_DEVICES | _NO_EXECUTION)
        if libc.mount(b"none", b"/proc", b"tmpfs", flags, b"size=4m,mode=755"):
            return False
        for name, text in found.items():
            with open(f"/proc/{name}", "wb") as stream:
                stream.write(text)
    except OSError:
        return False
    return True


def _set_read_only(libc: ctypes.CDLL) -> bool:
    """Let nothing be changed in any file system that is mounted."""
    attributes = struct.pack("=4Q", _READ_ONLY, 0, 0, 0)  # struct mount_attr
    size = ctypes.c_size_t(len(attributes))
    return bool(libc.syscall(_MOUNT_SETATTR, _FROM_HERE, b"/", _ALL_BELOW, attributes, size) == 0)
