"""The system calls a program may not make, as a filter in the kernel.

Namespaces do not cover everything: memory in anonymous files, key rings and sockets of
the virtual machine outlive or escape them. The rest shortens the list of kernel code
within a program's reach. It is a list of what is refused, not of what is allowed.
"""

import ctypes
import errno
import functools
import os
import struct

from lora_qd.tasks.sandbox.inside.kernel import call

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below, and the kernel's name, by processor."""

_REFUSED = {  # x86-64, ARM64
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "fanotify_init": (300, 262),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "open_by_handle_at": (304, 265),
    "personality": (135, 92),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "quotactl": (179, 60),
    "sched_setaffinity": (203, 122),
}
_CLONE, _SOCKET, _PRLIMIT = (56, 220), (41, 198), (302, 261)
_CLONE3 = 435
_NEW_NAMESPACES = 0x7E020000
_FAMILIES = (1, 2, 10)  # Unix, IPv4, IPv6
_OTHER_ABI = 0x40000000  # x32 on x86-64

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def _op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)


_PERMIT = _op(_RETURN, _ALLOW)
_REFUSE = _op(_RETURN, _ERROR | errno.EPERM)


def _case(number: int, body: list[bytes]) -> list[bytes]:
    """Return the code that runs ``body`` for one system call; it must return."""
    return [_op(_EQUAL, number, 0, len(body)), *body]


@functools.cache
def program(machine: str, *, is_system: bool = False) -> bytes:
    """Return the filter's instructions for a processor.

    Args:
        machine: the processor, as ``uname`` has it.
        is_system: whether system tools run under it. They take it well if the kernel
            does not know a kind of socket, and end if they may not have it.

    Raises:
        OSError: the processor is neither x86-64 nor ARM64.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"expected x86-64 or ARM64, but got {machine}")
    column, architecture = _ARCHITECTURES[machine]
    argument = _op(_LOAD, _ARGUMENT)
    code = [_op(_LOAD, _ARCHITECTURE), _op(_EQUAL, architecture, 1, 0), _REFUSE]
    code += [_op(_LOAD, _NUMBER), _op(_AT_LEAST, _OTHER_ABI, 0, 1), _REFUSE]
    for numbers in _REFUSED.values():
        code += _case(numbers[column], [_REFUSE])
    # The C library falls back to clone, whose flags a filter can read.
    code += _case(_CLONE3, [_op(_RETURN, _ERROR | errno.ENOSYS)])
    flags = _op(_ANY_BIT, _NEW_NAMESPACES, 1, 0)
    code += _case(_CLONE[column], [argument, flags, _PERMIT, _REFUSE])
    others = _op(_EQUAL, 0, 0, 1)
    code += _case(_PRLIMIT[column], [argument, others, _PERMIT, _REFUSE])
    families = [
        _op(_EQUAL, family, len(_FAMILIES) - i, 0) for i, family in enumerate(_FAMILIES)
    ]
    unknown = _op(_RETURN, _ERROR | errno.EAFNOSUPPORT) if is_system else _REFUSE
    code += _case(_SOCKET[column], [argument, *families, unknown, _PERMIT])
    return b"".join([*code, _PERMIT])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(*, is_system: bool = False) -> None:
    """Filter the calls of this process and of all that it starts, for good.

    Raises:
        OSError: the kernel or the processor does not support it.
    """
    code = program(os.uname().machine, is_system=is_system)
    filter_ = _Program(len(code) // 8, code)
    call("prctl", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0)
