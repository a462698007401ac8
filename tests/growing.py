"""How the time of a piece of work grows with its size: what grows with the square stops everything, given enough of it."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMES = 8
"""How much larger the large one is. Its work takes about so many times as long; the square would be 64 times."""

SQUARE = 24.0
"""Between the two, with room for what disturbs on either side."""


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times as long work of `TIMES` the size takes, of CPU; of several tries each the best one."""
    return _least(work, TIMES * size) / _least(work, size)


def _least(work: Callable[[int], object], size: int) -> float:
    taken = []
    for _ in range(5):
        begin = time.thread_time()
        work(size)
        taken.append(time.thread_time() - begin)
    return max(min(taken), 1e-5)
