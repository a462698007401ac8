"""Who is next: one place after another for each user in turn, so that nobody's many jobs hold up another's one."""

from __future__ import annotations

from collections import OrderedDict, deque


class FairQueue:
    """Job ids, waiting. Users take turns; a user's own jobs keep their order."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[str]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, user_id: str, job_id: str) -> None:
        self._waiting.setdefault(user_id, deque()).append(job_id)

    def take(self) -> str | None:
        """The next job, or None."""
        if not self._waiting:
            return None
        user_id, jobs = self._waiting.popitem(last=False)
        job_id = jobs.popleft()
        if jobs:
            self._waiting[user_id] = jobs  # at the end: the others come first now
        return job_id

    def discard(self, user_id: str, job_id: str) -> None:
        """Takes a job out, if it is in."""
        jobs = self._waiting.get(user_id)
        if jobs is not None and job_id in jobs:
            jobs.remove(job_id)
            if not jobs:
                del self._waiting[user_id]

    def position(self, user_id: str, job_id: str) -> int | None:
        """1 for the job that is next, None for one that does not wait."""
        mine = self._waiting.get(user_id)
        if mine is None or job_id not in mine:
            return None
        round_ = mine.index(job_id)
        users = list(self._waiting)
        place = users.index(user_id)
        before = sum(
            min(len(jobs), round_ + 1) if other < place else min(len(jobs), round_)
            for other, jobs in enumerate(self._waiting.values())
            if other != place
        )
        return before + round_ + 1
