"""The table of feature numbers is complete, true, and names only features that exist."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("traceability_table", HERE / "table.py")
assert _spec is not None and _spec.loader is not None
table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)


def test_table_is_what_the_tests_say():
    """The stored table equals what the tests' docstrings claim; `python tests/traceability/table.py` writes it anew."""
    assert table.text() == table.TABLE.read_text()


def test_numbers_exist():
    """Nobody claims a feature that FEATURES.md does not number."""
    shared = Path(os.environ.get("SCRUBJAY_SHARED", HERE.parents[2] / "shared"))
    if not (shared / "FEATURES.md").exists():
        pytest.skip("FEATURES.md is not beside the project: the numbers were not compared")
    known = set(re.findall(r"^- (S\d-\d+)", (shared / "FEATURES.md").read_text(), re.MULTILINE))

    assert set() == set(table.claims()) - known


def test_main_job_is_claimed():
    """The features the main job cannot do without each have at least one test."""
    main_job = {
        "S2-004", "S2-006", "S2-008", "S2-014", "S2-020", "S2-023", "S2-024", "S2-025", "S2-026", "S2-029", "S2-042", "S2-043",
        "S2-045", "S2-046", "S2-047", "S2-049", "S2-052", "S2-060", "S2-061", "S2-062", "S2-080", "S2-081", "S2-082", "S2-084",
        "S2-085", "S2-086", "S2-088", "S2-089", "S2-090", "S2-091", "S2-092", "S2-094", "S2-095", "S2-107", "S2-108", "S2-109",
        "S2-120", "S2-121",
    }  # fmt: skip

    assert set() == main_job - set(table.claims())
