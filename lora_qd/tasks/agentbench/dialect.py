"""MySQL's statements for SQLite, on tables whose columns are all text.

Not covered: dates are texts, and accents count in ``LIKE``.
"""

import functools
import re
from typing import TYPE_CHECKING, Any

from lora_qd.errors import MissingExtraError

if TYPE_CHECKING:
    from sqlglot import exp

MOST_CHARACTERS = 10_000
"""Of a statement; parsing a longer one is not worth it."""
_TABLES = re.compile(r"\s*SHOW\s+(?:FULL\s+)?TABLES\b.*", re.I | re.S)
_COLUMNS = re.compile(
    r"\s*(?:DESC(?:RIBE)?|SHOW\s+(?:FULL\s+)?COLUMNS\s+FROM)\s+[`\"]?([^`\";]+)"
    r"[`\"]?[\s;]*$",
    re.I,
)


@functools.lru_cache(maxsize=16_384)
def to_sqlite(statement: str) -> str:
    """Return ``statement`` for SQLite; as it is where it cannot be parsed.

    Raises:
        MissingExtraError: the library that translates is not installed.
    """
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise MissingExtraError("the skill agentbench-db", "sql") from error
    if _TABLES.fullmatch(statement):
        return "SELECT name FROM sqlite_master WHERE type = 'table'"
    described = _COLUMNS.match(statement)
    if described:
        name = described[1].strip().replace("'", "''")
        return (
            "SELECT name, 'text', 'YES', '', NULL, '' "
            f"FROM pragma_table_info('{name}') ORDER BY cid"
        )
    if len(statement) > MOST_CHARACTERS:
        return statement
    try:
        trees = sqlglot.parse(statement, read="mysql")
        if len(trees) != 1 or trees[0] is None:
            return statement
        return trees[0].transform(_as_mysql_means).sql(dialect="sqlite")
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError):
        return statement


def _as_mysql_means(node: Any) -> "exp.Expression":  # noqa: ANN401 - sqlglot's own
    """Compare a column with a number as numbers, which MySQL does with texts."""
    from sqlglot import exp

    pairs = exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE
    is_assignment = (
        isinstance(node.parent, exp.Update) and node.arg_key == "expressions"
    )
    if isinstance(node, pairs) and not is_assignment:
        left, right = node.this, node.expression
        if _is_number(right) and isinstance(left, exp.Column):
            node.set("this", _as_number(left))
        elif _is_number(left) and isinstance(right, exp.Column):
            node.set("expression", _as_number(right))
    elif isinstance(node, exp.Between | exp.In) and isinstance(node.this, exp.Column):
        bounds = [node.args.get("low"), node.args.get("high"), *node.expressions]
        if any(map(_is_number, bounds)):
            node.set("this", _as_number(node.this))
    return node  # type: ignore[no-any-return]


def _is_number(node: Any) -> bool:  # noqa: ANN401 - sqlglot's own
    from sqlglot import exp

    inner = node.this if isinstance(node, exp.Neg) else node
    return isinstance(inner, exp.Literal) and not inner.is_string


def _as_number(column: Any) -> "exp.Expression":  # noqa: ANN401 - sqlglot's own
    from sqlglot import exp

    return exp.cast(column.copy(), "REAL")
