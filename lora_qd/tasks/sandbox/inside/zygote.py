"""The warm interpreter that every job is forked from; see `bubblewrap.command`."""

# Warm for what jobs commonly import; more would make every fork slower.
import bisect  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json  # noqa: F401
import math  # noqa: F401
import operator  # noqa: F401
import os
import re  # noqa: F401
import select
import sqlite3  # noqa: F401
import string  # noqa: F401
import sys
import textwrap  # noqa: F401
import typing  # noqa: F401

from lora_qd.tasks.sandbox.inside import (
    call_filter,
    judging,  # noqa: F401 - warm
    statements,  # noqa: F401 - warm
)
from lora_qd.tasks.sandbox.inside.kernel import fork_into_namespaces
from lora_qd.tasks.sandbox.inside.messages import write_message
from lora_qd.tasks.sandbox.inside.supervisor import supervise

_CHANNEL = 0
_BROKEN, _DRIVER_GONE = 1, 2


def main() -> int:
    """Answer jobs on standard input, a socket, until the driver is gone.

    The first argument is the id of the user that jobs become, 0 for none.
    """
    user_id = int(sys.argv[1])
    call_filter.program(os.uname().machine)  # from now on it is known
    write_message(_CHANNEL, {"is_ready": True})
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would make a fork copy most of its memory
    while True:
        select.select([_CHANNEL], [], [])
        supervisor = fork_into_namespaces()
        if supervisor == 0:
            _supervise_next(user_id)
        _, status = os.waitpid(supervisor, 0)
        if status != 0:
            is_end = os.waitstatus_to_exitcode(status) == _DRIVER_GONE
            return 0 if is_end else _BROKEN


def _supervise_next(user_id: int) -> None:
    status = _BROKEN
    try:
        supervise(_CHANNEL, user_id)
        status = 0
    except EOFError:
        status = _DRIVER_GONE
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode())
    finally:
        os._exit(status)
