"""Inputs that reached something once, or broke it: readers of strangers' bytes hold against all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_was_kept_breaks_nothing(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())


def test_every_target_has_a_corpus_and_none_is_left_over() -> None:
    assert {path.parent.name for path in KEPT} == set(TARGETS)


def test_what_is_kept_is_small() -> None:
    assert all(path.stat().st_size <= 4096 for path in KEPT)
    assert sum(path.stat().st_size for path in KEPT) < 1 << 20
