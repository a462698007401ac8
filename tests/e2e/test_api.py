"""The API answers as it is described, whatever is sent. `scripts/fuzz` sends more."""

from __future__ import annotations

import os
from pathlib import Path

from fuzzing.api import sweep_daemon

EXAMPLES = int(os.environ.get("EXPORTD_FUZZ_EXAMPLES", "2"))
"""Of each kind, for each call and each of the three who ask."""


def test_no_request_gets_an_answer_that_is_not_described(tmp_path: Path) -> None:
    swept = sweep_daemon(tmp_path, EXAMPLES)
    assert not swept.faults, "\n\n".join(swept.faults.values())
    assert {200, 400, 401, 403, 404} <= set(swept.statuses), f"it did not get far: {swept}"
    print(swept)
