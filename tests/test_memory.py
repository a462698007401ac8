"""What the daemon's process loads and keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_arrow_does_not_load_what_nobody_here_uses() -> None:
    pytest.importorskip("pandas")
    code = (
        "import sys, pyarrow as pa\n"
        "from exportd.memory import frugal\n"
        "frugal()\n"
        "pa.array(['a']), pa.array([1.0]).to_numpy()\n"
        "assert 'pandas' not in sys.modules\n"
        "import pandas\n"
        "assert pandas.Series(pa.array([1]).to_pylist()).sum() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
