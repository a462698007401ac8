"""Events -> feeds. Publishing and shutting a job's gate are plain `def`: nothing can slip between a state change and its
event, or between a cancel and the silence after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from trio.lowlevel import ParkingLot

from exportd.core import events
from exportd.core.events import Frame, Log, Message, Outbox
from exportd.core.job import Job
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.errors import NotFound
from exportd.jobs.turns import Turns

MAX_REMEMBERED = 5_000
"""Frames of ended jobs that are kept for replays, over all jobs; the oldest job's go first, but for its last event."""

TELLING = 0.03
"""Seconds that an answer waits for readers to be told what it answers."""

TOLD_AT_ONCE = 16
"""Readers that are told something in one round of the event loop. A send takes about 0.03 ms, and with a thousand readers of
one export a cancel of another would wait for all of them at each of its twenty steps."""


class FeedOverrun(Exception):
    """The reader is too slow even for merged progress; its feed is over."""


class Feed:
    """The events of one user's jobs for one reader. Made by `Hub.watch`."""

    def __init__(self, hub: Hub, user: User) -> None:
        self._hub = hub
        self.user = user
        self._outbox = Outbox()
        self._told: trio.Event | None = None
        self._busy = False
        """Whether the reader has something that it did not come back from."""
        self._over = False
        self._jobs: set[str] | None = None
        self._projects: set[str] = set()
        self.sleepers = ParkingLot()
        """Where the reader sleeps when nothing waits. May be another one's, who then wakes it for other things, too."""

    async def receive(self) -> Frame:
        """The next frame. Raises `FeedOverrun`, and `trio.EndOfChannel` at the end of the service.

        A cancel leaves nothing behind: no frame is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            await self.wait_turn()
            if (frame := self.take_nowait()) is not None:
                return frame

    async def wait_turn(self) -> None:
        """Until there is something to take and it is this reader's turn; what is taken before could neither be merged nor
        taken back meanwhile. Also until somebody wakes the sleepers. A cancel leaves nothing behind."""
        if self._waits:
            await self._hub.turns.wait()
        else:
            self._is_told()
            await self._hub.turns.sleep(self.sleepers)

    def take_nowait(self) -> Frame | None:
        """The next frame, None when none waits. Raises as `receive`."""
        if self._outbox.overrun:
            raise FeedOverrun
        if (frame := self._outbox.take()) is None:
            self._is_told()
            if self._over:
                raise trio.EndOfChannel
        else:
            self._busy = True
        return frame

    async def wait_told(self) -> None:
        """Until everything was received that waits now, and who received it has come back for more."""
        if self._waits or self._busy:
            if self._told is None:
                self._told = trio.Event()
            await self._told.wait()

    @property
    def _waits(self) -> bool:
        return bool(len(self._outbox)) or self._outbox.overrun or self._over

    def _is_told(self) -> None:
        self._busy = False
        if self._told is not None:
            self._told.set()
            self._told = None

    def subscribe(self, *, job_id: str | None = None, project_id: str | None = None, since: int | None = None) -> None:
        """Narrows the feed to this job or project, beside those subscribed to before; with neither it is all of them again.

        With `job_id` and `since` the job's later events are told again first. A job that is unknown, or another user's,
        gives nothing.
        """
        if job_id is None and project_id is None:
            self._jobs, self._projects = None, set()
            return
        if self._jobs is None:
            self._jobs = set()
        if job_id is not None:
            self._jobs.add(job_id)
            if since is not None:
                self._replay(self._hub.since(self.user, job_id, since))
        if project_id is not None:
            self._projects.add(project_id)

    @property
    def subscriptions(self) -> int:
        """Jobs and projects that it is narrowed to."""
        return len(self._jobs or ()) + len(self._projects)

    def unsubscribe(self) -> None:
        """Nothing any more, until the next subscription."""
        self._jobs, self._projects = set(), set()

    def resume(self, job_id: str, seq: int) -> None:
        """All of the user's events after that one, told again as far as they are remembered."""
        self._replay(self._hub.after(self.user, job_id, seq))

    def _replay(self, frames: Iterator[Frame]) -> None:
        self._outbox.replay(frames)
        self._tell_news()

    def _offer(self, frame: Frame) -> None:
        if self._jobs is None or frame.job_id in self._jobs or frame.project_id in self._projects:
            self._outbox.put(frame)
            self._tell_news()

    def _tell_news(self) -> None:
        self._hub.turns.call(self.sleepers)

    def _purge(self, job_id: str) -> None:
        self._outbox.purge(job_id)

    def _end(self) -> None:
        self._over = True
        self._tell_news()


class Hub:
    """The logs of all jobs and the feeds of all readers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._logs: dict[str, Log] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._remembered = 0
        self._feeds: dict[str, set[Feed]] = {}
        self._order = 0
        self._over = False
        self.turns = Turns(TOLD_AT_ONCE)
        """Of all readers, whatever carries what they are told."""

    @property
    def watchers(self) -> int:
        return sum(map(len, self._feeds.values()))

    @contextmanager
    def watch(self, user: User) -> Iterator[Feed]:
        """A feed of all events of the user's jobs, open within the block."""
        feed = Feed(self, user)
        self._feeds.setdefault(user.id, set()).add(feed)
        if self._over:
            feed._end()
        try:
            yield feed
        finally:
            feed._is_told()
            feeds = self._feeds[user.id]
            feeds.discard(feed)
            if not feeds:
                del self._feeds[user.id]

    def publish(self, message: Message, job: Job) -> None:
        """Sends an event to every feed of the job's user. After `shut` only the cancelled event passes."""
        log = self._logs.setdefault(job.id, Log(job.user.id))
        self._order += 1
        if (frame := log.add(message, job, self._order)) is None:
            return
        for feed in self._feeds.get(job.user.id, ()):
            feed._offer(frame)
        if log.ended:
            self._remember(job.id, len(log))

    def shut(self, job: Job) -> None:
        """A cancel was decided: nothing but the cancelled event can leave from now on, nor what waits in a feed."""
        self._logs.setdefault(job.id, Log(job.user.id)).close_by_cancel()
        for feed in self._feeds.get(job.user.id, ()):
            feed._purge(job.id)

    async def wait_told(self, user_id: str) -> None:
        """Until all of the user's readers have received what waits for them, as `Feed.wait_told`; for `TELLING` at most,
        so that who does not read holds up nobody."""
        with trio.move_on_after(TELLING):
            for feed in tuple(self._feeds.get(user_id, ())):
                await feed.wait_told()

    def next_seq(self, job_id: str) -> int:
        """The number that the job's next event will have."""
        log = self._logs.get(job_id)
        return 1 if log is None else log.last_seq + 1

    def forget(self, job_id: str) -> None:
        """The job was removed."""
        self._logs.pop(job_id, None)
        self._remembered -= self._ended.pop(job_id, 0)

    def end(self) -> None:
        """Ends all feeds, once they have told what waits in them."""
        self._over = True
        for feeds in self._feeds.values():
            for feed in feeds:
                feed._end()

    def since(self, user: User, job_id: str, seq: int) -> Iterator[Frame]:
        """The events of the user's own job after `seq`; of a job whose log is gone, its terminal event."""
        if (log := self._log(user, job_id)) is not None:
            return log.since(seq)
        return iter(f for f in self._last(user, job_id) if f.seq > seq)

    def after(self, user: User, job_id: str, seq: int) -> Iterator[Frame]:
        """All the user's events after that event of that job; just the job's own when the place is forgotten."""
        log = self._log(user, job_id)
        anchor = None if log is None else next((f for f in log.since(seq - 1) if f.seq == seq), None)
        if anchor is None:
            return self.since(user, job_id, seq)
        later = [
            f
            for other in self._logs.values()
            if other.user_id == user.id
            for f in other.since(0)
            if f.order > anchor.order
        ]
        return iter(sorted(later, key=lambda f: f.order))

    def _log(self, user: User, job_id: str) -> Log | None:
        """The log of the user's own job. Into somebody else's nobody looks, so that no time tells that there is one."""
        log = self._logs.get(job_id)
        return log if log is not None and log.user_id == user.id else None

    def _last(self, user: User, job_id: str) -> list[Frame]:
        try:
            job = self._registry.get(job_id)
        except NotFound:
            return []
        if job.user.id != user.id or not job.is_final or job.terminal_seq is None:
            return []
        return [events.frame(events.terminal(job), job, job.terminal_seq, 0)]

    def _remember(self, job_id: str, frames: int) -> None:
        self._ended[job_id] = frames
        self._remembered += frames
        while self._remembered > MAX_REMEMBERED:
            oldest, count = self._ended.popitem(last=False)
            self._remembered -= count
            del self._logs[oldest]
