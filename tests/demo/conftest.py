"""The lab: tests that need network namespaces say why they are skipped where they cannot be made."""

import pytest

from simulator.namespaces import what_is_missing


@pytest.fixture(autouse=True)
def lab(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("lab") is None:
        return
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(f"no lab here: {missing}")
