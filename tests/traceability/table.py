"""Feature numbers and the tests that show them: written by `python tests/traceability/table.py`, kept true by test_table.py.

A test claims a number by naming it in its docstring, `(S2-046)` or `(S2-046, S2-047)`. A number nobody claims is not done.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "table.tsv"
_NUMBER = re.compile(r"\bS[0-4]-\d{2,3}\b")


def claims() -> dict[str, list[str]]:
    """Feature number to the tests whose docstring names it, both in order."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.parent.rglob("test_*.py")):
        for name, docstring in _tests(ast.parse(path.read_text())):
            for number in _NUMBER.findall(docstring):
                found.setdefault(number, []).append(f"{path.relative_to(HERE.parent)}::{name}")
    return {number: found[number] for number in sorted(found, key=_order)}


def text() -> str:
    """The table as it is stored: number, tab, test."""
    return "".join(f"{number}\t{test}\n" for number, tests in claims().items() for test in tests)


def _tests(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or ""


def _order(number: str) -> tuple[str, int]:
    seed, _, rest = number.partition("-")
    return seed, int(rest)


if __name__ == "__main__":
    TABLE.write_text(text())
