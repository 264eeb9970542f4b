"""state/*.json as the table of `scrubjay status`, losses first. The table itself is shared with the console, so it lives in core."""

from firmware.core.state import ProcessState, as_json, from_json, lines, read_states

__all__ = ["ProcessState", "as_json", "from_json", "lines", "read_states"]
