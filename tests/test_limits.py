"""The size limits of the code, held by reading its syntax trees.

Not checked: nesting, and how well a long function reads.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 6
BANNED_VERBS = {"get", "process", "handle", "do"}
BANNED_NOUNS = {"manager", "utils"}

PACKAGE = sorted((ROOT / "lora_qd").rglob("*.py"))
SOURCES = [*PACKAGE, *sorted((ROOT / "setup").rglob("*.py")), ROOT / "cli.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions_of(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, kinds)]


def place(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno} {getattr(node, 'name', '')}"


def functions_where(paths, predicate):
    return [
        place(path, function)
        for path in paths
        for function in functions_of(path)
        if predicate(function)
    ]


def is_command(function):
    """Whether it is a verb of the command line, whose parameters are its options."""
    return any(
        isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "command"
        for each in function.decorator_list
    )


def num_lines(function):
    """Lines of code: the docstring is not counted, nor are a command's options."""
    first = function.body[0]
    start = first.lineno if is_command(function) else function.lineno
    lines = function.end_lineno - start + 1
    if ast.get_docstring(function) is None:
        return lines
    return lines - (first.end_lineno - first.lineno + 1)


def positional_of(function):
    names = [each.arg for each in function.args.posonlyargs + function.args.args]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def num_parameters(function):
    if is_command(function):
        return 0
    return len(positional_of(function)) + len(function.args.kwonlyargs)


def test_there_is_something_to_check():
    assert len(PACKAGE) > 20
    assert len(TESTS) > 1


def test_no_file_is_longer_than_the_limit():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCES + TESTS
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_the_limit():
    too_long = functions_where(SOURCES, lambda f: num_lines(f) >= MAX_FUNCTION_LINES)
    assert too_long == []


def test_no_function_takes_too_many_parameters():
    too_many = functions_where(SOURCES, lambda f: num_parameters(f) > MAX_PARAMETERS)
    assert too_many == []


def is_banned(name):
    words = name.strip("_").lower().split("_")
    return words[0] in BANNED_VERBS or not BANNED_NOUNS.isdisjoint(words)


def test_no_function_in_the_package_has_a_banned_name():
    assert functions_where(PACKAGE, lambda f: is_banned(f.name)) == []


def test_no_module_in_the_package_has_a_banned_name():
    assert [str(path) for path in PACKAGE if is_banned(path.stem)] == []


def test_no_except_clause_is_bare():
    bare = [
        place(path, node)
        for path in SOURCES + TESTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def asserts(test):
    """Whether a test states something: ``assert``, ``assert_...``, ``raises``."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name.startswith(("assert", "check", "raises", "fail")):
                return True
    return False


def test_every_test_asserts_something():
    silent = functions_where(
        TESTS, lambda f: f.name.startswith("test_") and not asserts(f)
    )
    assert silent == []


def test_every_package_says_what_belongs_in_it():
    packages = [path for path in PACKAGE if path.name == "__init__.py"]
    silent = [
        str(path.relative_to(ROOT))
        for path in packages
        if ast.get_docstring(tree_of(path)) is None
    ]
    assert silent == []
