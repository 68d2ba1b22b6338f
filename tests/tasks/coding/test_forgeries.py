"""Answers that try to be scored as right: none is, and the next one is unharmed."""

import pytest

from tests.tasks.coding.problems import HUMANEVAL, MBPP, score, write

RIGHT = "def halves(xs):\n    return [x / 2 for x in xs]"
STUB = "\ndef halves(xs): return None"
EQUAL_TO_ALL = """
class Same{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __iter__(self): return iter([self])
    def __radd__(self, other): return 2.0
    def __len__(self): return 0
def halves(xs): return Same({argument})
"""
FIND_JUDGE = """
import os
def halves(xs):
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        for name in ("mem", "environ", "maps", "fd/1", "fd/3", "cwd/x"):
            try:
                with open(f"/proc/{pid}/{name}", "r+b" if name == "mem" else "wb") as f:
                    f.write(b"passed")
            except OSError:
                pass
    return None
"""
SCAN_MEMORY = """
import gc, re
def halves(xs):
    for found in gc.get_objects():
        if isinstance(found, str) and "candidate([2, 4])" in found:
            return [1, 2]
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                if re.search(rb"candi" + rb"date\\(\\[2", memory.read(end - start)):
                    return [1, 2]
"""
FORGED_REPLIES = """
import json, os, struct
data = json.dumps({"value": ["l", 1, 2]}).encode()
for _ in range(9):
    try: os.write(3, struct.pack(">I", len(data)) + data)
    except OSError: pass
def halves(xs): os._exit(0)
"""
HUGE_REPLY = """
import os, struct
os.write(3, struct.pack(">I", 0xffffffff) + b"x" * 100)
def halves(xs): pass
"""
FORGERIES = {
    "prints that it passed": "print('passed')" + STUB,
    "prints and ends": "import sys\nprint('passed')\nsys.exit(0)",
    "ends at once": "import os\nos._exit(0)",
    "ends when called": "import os\ndef halves(xs):\n    os._exit(0)",
    "raises SystemExit": "def halves(xs):\n    raise SystemExit(0)",
    "raises KeyboardInterrupt": "def halves(xs):\n    raise KeyboardInterrupt",
    "ends by EOFError": "def halves(xs):\n    raise EOFError",
    "equals everything": EQUAL_TO_ALL.format(base="", argument=""),
    "a list that equals everything": EQUAL_TO_ALL.format(base="(list)", argument=""),
    "a number that equals everything": EQUAL_TO_ALL.format(base="(int)", argument="3"),
    "a text that equals everything": EQUAL_TO_ALL.format(base="(str)", argument="'a'"),
    "replaces built-ins": (
        "import builtins\n"
        "for name in ('sum', 'isinstance', 'len', 'list', 'AssertionError', 'print'):\n"
        "    setattr(builtins, name, lambda *a: True)" + STUB
    ),
    "replaces modules": (
        "import sys, math\nmath.isclose = lambda *a: True\n"
        "class All:\n    def __getattr__(self, name): return lambda *a, **k: True\n"
        "for name in list(sys.modules):\n"
        "    if name not in ('sys', 'builtins'): sys.modules[name] = All()" + STUB
    ),
    "defines the check": "def check(candidate): pass" + STUB,
    "traces": (
        "import sys\ndef trace(*a): return trace\nsys.settrace(trace)\n"
        "sys.excepthook = lambda *a: None" + STUB
    ),
    "walks frames": (
        "import sys\ndef halves(xs):\n    frame = sys._getframe()\n"
        "    while frame:\n        frame.f_globals['reply'] = frame = frame.f_back\n"
    ),
    "prints at exit": (
        "import atexit\natexit.register(print, 'passed')\n"
        "def halves(xs): raise SystemExit"
    ),
    "prints from a thread": (
        "import threading, time\n"
        "def late():\n    while True: print('passed')\n"
        "threading.Thread(target=late, daemon=True).start()" + STUB
    ),
    "leaves a daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
        "    while True:\n        print('passed'); time.sleep(0.1)" + STUB
    ),
    "writes to every descriptor": (
        "import os\ndef halves(xs):\n    for fd in range(64):\n"
        "        try: os.write(fd, b'passed\\n')\n        except OSError: pass\n"
    ),
    "writes replies itself": FORGED_REPLIES,
    "writes an endless reply": HUGE_REPLY,
    "kills its parent": "import os, signal\nos.kill(os.getppid(), 9)" + STUB,
    "kills everything": "import os\ndef halves(xs): os.kill(-1, 9)",
    "stops the judge": (
        "import os, signal\nfor p in os.listdir('/proc'):\n"
        "    if p.isdigit() and int(p) not in (1, os.getpid()):\n"
        "        try: os.kill(int(p), signal.SIGTERM)\n        except OSError: pass"
        + STUB
    ),
    "writes into the judge": FIND_JUDGE,
    "traces the judge": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "for p in os.listdir('/proc'):\n"
        "    if p.isdigit(): libc.ptrace(16, int(p), 0, 0)" + STUB
    ),
    "finds the tests in its memory": SCAN_MEMORY,
    "an error with a hostile text": (
        "class Bad(AssertionError):\n    def __str__(self): raise SystemExit(0)\n"
        "def halves(xs): raise Bad"
    ),
    "an error named as a built-in": (
        "class SystemExit(BaseException): pass\ndef halves(xs): raise SystemExit(0)"
    ),
    "hostile pickles": (
        "import os\nclass P(list):\n"
        "    def __reduce__(self): return os._exit, (0,)\n"
        "def halves(xs): return P()"
    ),
    "a generator": "def halves(xs):\n    while True: yield 1",
    "not a number": "def halves(xs): return [float('nan')] * len(xs)",
    "a huge list": "def halves(xs): return [1, 2] * 10_000_000",
    "a deep list": (
        "def halves(xs):\n    x = []\n    for _ in range(99999): x = [x]\n    return x"
    ),
    "a list of itself": "def halves(xs):\n    x = []\n    x.append(x)\n    return x",
    "endless recursion": "def halves(xs): return halves(xs)",
    "too much output": "def halves(xs):\n    while True: print('passed' * 999)",
    "shadows the judge's modules": (
        "for name in ('json', 'math', 'numpy', 'lora_qd', 'builtins'):\n"
        "    open(f'/scratch/{name}.py', 'w').write('print(\"passed\"); exit(0)')\n"
        + STUB
    ),
}


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("own") / "own.jsonl", HUMANEVAL)
    answers = [a for forgery in FORGERIES.values() for a in (forgery, RIGHT)]
    found = score("humaneval", path, *answers, cpu_s=1)
    return dict(zip(FORGERIES, zip(found[::2], found[1::2], strict=True), strict=True))


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_scores_nothing_and_harms_nothing(scores, name):
    forged, next_one = scores[name]
    assert (forged.value, bool(forged.reason)) == (0.0, True)
    assert "\n" not in forged.reason
    assert (next_one.value, next_one.reason) == (1.0, "")


def test_there_are_at_least_thirty():
    assert len(FORGERIES) >= 30


def test_a_class_cannot_pass_for_what_a_test_expects(tmp_path):
    path = write(tmp_path / "own.jsonl", MBPP)
    answer = (
        "class Same:\n    def __eq__(self, other): return True\n"
        "def add(a, b): return Same()"
    )
    (forged,) = score("mbpp", path, answer)
    assert forged.value == 0
