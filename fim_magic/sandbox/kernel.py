"""What Linux takes away from a process for good: files by Landlock, system calls by seccomp, root's powers.

The child loads this file by its path, before it runs anything: it needs nothing but Python's own library.

Landlock allows by path and does not know chmod, chown, utime, extended attributes and stat. seccomp knows no paths.
So the files' contents are Landlock's, and what would change a file's attributes is refused altogether; that a file is
there, and how large it is, a program can still find out if it knows its path.

References: Linux's Documentation/userspace-api/landlock.rst and seccomp_filter.rst, include/uapi/linux/landlock.h,
seccomp.h, filter.h, audit.h; the numbers are those of arch/x86/entry/syscalls/syscall_64.tbl and of
include/uapi/asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable

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

# struct sock_filter's codes, and what a filter may answer.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_NEWEST = 470  # who asks for a system call that is newer than this list falls back to an older one
_CLONE_THREAD = 0x10000
_SOCK_STREAM = 1
_SOCK_TYPE = 0xF
_SET_OWNER = (8, 10, 15)  # fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal for any process, by way of a pipe
_BAD_IOCTLS = (0x8901, 0x8902, 0x5412, 0x541C)  # FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX

# Refused whatever the arguments are. First what has one number everywhere.
_REFUSED_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,  # its operations do not pass through seccomp
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "fchmodat2": 452,
    "setxattrat": 463,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_setattr": 469,
}

# name: (x86_64, aarch64), None where an architecture does not have it.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Other processes.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "unshare": (272, 97),
    "setns": (308, 268),
    # The network. A pair of stream sockets is allowed further down: asyncio wakes itself by one.
    "socket": (41, 198),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    # Open files can be sent to oneself, where nothing counts them.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # Memory and messages that no limit counts, or that other processes share.
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "shmat": (30, 196),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "semop": (65, 193),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Files, where Landlock does not look.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    # The machine.
    "setrlimit": (160, 164),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}

# What depends on the arguments.
_CLONE, _CLONE3, _KILL_CALL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_PRLIMIT, _SOCKETPAIR, _FCNTL, _IOCTL = (302, 261), (53, 199), (72, 25), (16, 29)

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


def refuse_system_calls() -> bool:
    """Refuse this process other processes, sockets and what changes the machine; by seccomp. Return whether it is so.

    Threads may be started. Signals reach only this process.
    """
    architecture = _architecture()
    if architecture is None:
        return False
    program = _filter(architecture[0], architecture[1], os.getpid())
    text = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(text)),
    )
    return not _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0)


def _filter(column: int, architecture: int, pid: int) -> bytes:
    refused = [*_REFUSED_EVERYWHERE.values(), *(numbers[column] for numbers in _REFUSED.values())]
    low = _ARGUMENTS_AT  # of the first argument; each has 8 bytes, the low half first
    second, third = low + 8, low + 16
    code = [
        _op(_LOAD, _ARCHITECTURE_AT),
        _op(_EQUAL, architecture, 1, 0),
        _op(_ANSWER, _KILL),  # the 32-bit calls have other numbers
        _op(_LOAD, _NUMBER_AT),
        *_when(_AT_LEAST, _NEWEST, [_op(_ANSWER, _UNKNOWN)]),
        # glibc then takes clone, whose flags a filter can read.
        *_when(_EQUAL, _CLONE3[column], [_op(_ANSWER, _UNKNOWN)]),
    ]
    for number in refused:
        if number is not None:
            code += _when(_EQUAL, number, [_op(_ANSWER, _REFUSE)])
    code += _when(_EQUAL, _CLONE[column], [_op(_LOAD, low), *_allow_if(_ANY_BIT, [_CLONE_THREAD])])
    for call in (_KILL_CALL, _TGKILL):
        code += _when(_EQUAL, call[column], [_op(_LOAD, low), *_allow_if(_EQUAL, [pid])])
    of_a_limit = [  # reading one's own is allowed, setting is not
        _op(_LOAD, third),
        _op(_EQUAL, 0, 1, 0),
        _op(_ANSWER, _REFUSE),
        _op(_LOAD, third + 4),
        _op(_EQUAL, 0, 1, 0),
        _op(_ANSWER, _REFUSE),
        _op(_LOAD, low),
        *_allow_if(_EQUAL, [0, pid]),
    ]
    code += _when(_EQUAL, _PRLIMIT[column], of_a_limit)
    # Datagrams of a pair may be sent to any address.
    stream = [_op(_LOAD, second), _op(_AND, _SOCK_TYPE), *_allow_if(_EQUAL, [_SOCK_STREAM])]
    code += _when(_EQUAL, _SOCKETPAIR[column], stream)
    for call, bad in ((_FCNTL, _SET_OWNER), (_IOCTL, _BAD_IOCTLS)):
        code += _when(_EQUAL, call[column], [_op(_LOAD, second), *_refuse_if(bad)])
    return b"".join([*code, _op(_ANSWER, _ALLOW)])


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _when(test: int, value: int, then: list[bytes]) -> list[bytes]:
    """What to do if the loaded word passes a test; it ends with an answer, since it may load something else."""
    return [_op(test, value, 0, len(then)), *then]


def _allow_if(test: int, values: Iterable[int]) -> list[bytes]:
    return [op for value in values for op in _when(test, value, [_op(_ANSWER, _ALLOW)])] + [_op(_ANSWER, _REFUSE)]


def _refuse_if(values: Iterable[int]) -> list[bytes]:
    return [op for value in values for op in _when(_EQUAL, value, [_op(_ANSWER, _REFUSE)])] + [_op(_ANSWER, _ALLOW)]
