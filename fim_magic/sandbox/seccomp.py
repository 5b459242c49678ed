"""Which system calls a confined process may make: the program that seccomp runs at each.

The child loads this file by its path, as it does `kernel.py`, which brings it into force. References: Linux's
Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h, filter.h; the numbers are those of
arch/x86/entry/syscalls/syscall_64.tbl and of include/uapi/asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

# struct sock_filter's codes, and what a filter may answer.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_NEWEST = 470  # who asks for a system call that is newer than this list falls back to an older one
_NOT_SUPPORTED = 0x00050000 | errno.EOPNOTSUPP
_OF_A_THREAD = 0x10000 | 0x400  # CLONE_THREAD, and CLONE_FILES: a table of files of its own would be counted nowhere
_OWN_TABLE = 2  # close_range's CLOSE_RANGE_UNSHARE: the same
_AF_UNIX = 1
_SOCK_STREAM = 1
_SOCK_TYPE = 0xF
# fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal for any process, by way of a pipe; F_SETLEASE, which holds up others
# who open a file, F_NOTIFY, which watches what they do in a folder, and F_SETPIPE_SZ, of whose memory all of the user's
# processes have so much together.
_BAD_FCNTLS = (8, 10, 15, 1024, 1026, 1031)
_BAD_IOCTLS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_OF_SOCKETS = (0x8900, 0x8A00)  # ioctls that set who gets signals, or tell of the machine's network
# prctl's PR_SET_PDEATHSIG, PR_SET_DUMPABLE (the parent could not look into /proc any more), PR_SET_MM,
# PR_SET_CHILD_SUBREAPER, PR_SET_PTRACER.
_BAD_PRCTLS = (1, 4, 35, 36, 0x59616D61)

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
    "landlock_create_ruleset": 444,  # the rules of one keep files that are deleted, where nothing counts them
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
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
    "setsockopt": (54, 208),  # half a gigabyte waits in the pairs that it may have, if they are made larger
    "io_setup": (206, 0),  # what this takes is the whole machine's, what the next takes all the user's processes'
    "timer_create": (222, 107),
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
    "sync": (162, 81),  # of all disks, also what others have written
    "syncfs": (306, 267),
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

_MODES_AND_TIMES = frozenset("chmod fchmod fchmodat fchmodat2 futimesat utime utimensat utimes".split())

# What reads files' attributes, wherever they lie: programs that copy files go on where there are none.
_UNSUPPORTED: dict[str, tuple[int, int]] = {
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "getxattrat": (464, 464),
    "listxattrat": (465, 465),
}

# What depends on the arguments.
_CLONE, _CLONE3, _KILL_CALL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_PRLIMIT, _SOCKETPAIR, _FCNTL, _IOCTL = (302, 261), (53, 199), (72, 25), (16, 29)
_PRCTL, _CLOSE_RANGE = (157, 167), (436, 436)


def program(column: int, architecture: int, pid: int, *, spares_attributes: bool) -> bytes:
    """Return the program.

    Args:
        column: 0 on x86_64, 1 on aarch64.
        architecture: That one's AUDIT_ARCH_….
        pid: Of this process, which alone gets signals.
        spares_attributes: Whether modes and times of files may be changed, as copying a file does, since none can that
            is not the program's own.
    """
    numbered = {**_REFUSED_EVERYWHERE, **{name: numbers[column] for name, numbers in _REFUSED.items()}}
    refused = [number for name, number in numbered.items() if not (spares_attributes and name in _MODES_AND_TIMES)]
    low, third = _ARGUMENTS_AT, _ARGUMENTS_AT + 16  # each has 8 bytes, the low half first
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
    for numbers in _UNSUPPORTED.values():
        code += _when(_EQUAL, numbers[column], [_op(_ANSWER, _NOT_SUPPORTED)])
    of_a_thread = [_op(_LOAD, low), _op(_AND, _OF_A_THREAD), *_allow_if(_EQUAL, [_OF_A_THREAD])]
    code += _when(_EQUAL, _CLONE[column], of_a_thread)
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
    return b"".join([*code, *_on_arguments(column), _op(_ANSWER, _ALLOW)])


def _on_arguments(column: int) -> list[bytes]:
    first, second, third = (_ARGUMENTS_AT + 8 * place for place in range(3))
    # Datagrams of a pair may be sent to any address; asking for another family makes the kernel load what it is of.
    stream = [_op(_LOAD, second), _op(_AND, _SOCK_TYPE), *_allow_if(_EQUAL, [_SOCK_STREAM])]
    pair = [_op(_LOAD, first), _op(_EQUAL, _AF_UNIX, 1, 0), _op(_ANSWER, _REFUSE), *stream]
    code = _when(_EQUAL, _SOCKETPAIR[column], pair)
    code += _when(_EQUAL, _PRCTL[column], [_op(_LOAD, first), *_refuse_if(_BAD_PRCTLS)])
    code += _when(_EQUAL, _FCNTL[column], [_op(_LOAD, second), *_refuse_if(_BAD_FCNTLS)])
    least, end = _OF_SOCKETS
    between = [_op(_AT_LEAST, least, 0, 2), _op(_AT_LEAST, end, 1, 0), _op(_ANSWER, _REFUSE)]
    code += _when(_EQUAL, _IOCTL[column], [_op(_LOAD, second), *between, *_refuse_if(_BAD_IOCTLS)])
    table = [_op(_LOAD, third), _op(_ANY_BIT, _OWN_TABLE, 0, 1), _op(_ANSWER, _REFUSE), _op(_ANSWER, _ALLOW)]
    return code + _when(_EQUAL, _CLOSE_RANGE[column], table)


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _when(test: int, value: int, then: list[bytes]) -> list[bytes]:
    """What to do if the loaded word passes a test; it ends with an answer, since it may load something else."""
    return [_op(test, value, 0, len(then)), *then]


def _allow_if(test: int, values: Iterable[int]) -> list[bytes]:
    return [op for value in values for op in _when(test, value, [_op(_ANSWER, _ALLOW)])] + [_op(_ANSWER, _REFUSE)]


def _refuse_if(values: Iterable[int]) -> list[bytes]:
    return [op for value in values for op in _when(_EQUAL, value, [_op(_ANSWER, _REFUSE)])] + [_op(_ANSWER, _ALLOW)]
