"""The registry: one decision, caps that cannot be passed, nothing changed by what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from exportd.core.job import Job, Progress
from exportd.core.options import ExportOptions
from exportd.core.registry import RETRY_ACTIVE, Key, Registry
from exportd.core.states import Event, State
from exportd.core.users import User
from exportd.errors import (
    ExportActive,
    IdempotencyMismatch,
    IllegalTransition,
    InsufficientSpace,
    NotFound,
    QueueFull,
    TooManyActive,
)

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
_ids = count()


def make_job(user: str = "alice", project: str = "p1") -> Job:
    options = ExportOptions(include_documentation=True)
    return Job(f"job-{next(_ids)}", project, "Title", User(user, f"{user}@example.org"), options, T0)


def make_registry(per_user: int = 1, active: int = 100) -> Registry:
    return Registry(max_active_per_user=per_user, max_active=active)


def finish(registry: Registry, job: Job) -> None:
    for event in (Event.START, Event.COMMIT, Event.COMMITTED):
        registry.apply(job.id, event)


def test_a_second_active_job_of_a_user_is_refused_until_the_first_has_ended() -> None:
    registry = make_registry()
    first, _ = registry.admit(make_job())
    with pytest.raises(TooManyActive) as caught:
        registry.admit(make_job())
    assert caught.value.retry_after >= 1
    registry.admit(make_job("bob"))
    registry.apply(first.id, Event.CANCEL)
    with pytest.raises(TooManyActive):  # decided is not over
        registry.admit(make_job())
    registry.apply(first.id, Event.CANCEL_DONE)
    registry.admit(make_job())


def test_a_job_that_could_not_be_written_down_is_withdrawn_unless_its_end_was_decided() -> None:
    registry = make_registry()
    key = Key("alice", "k", "digest", T0)
    job, _ = registry.admit(make_job(), key)
    assert registry.withdraw(job.id)
    assert registry.all() == registry.of_user("alice", 9) == []
    assert registry.retry(key) is None
    cancelled, fresh = registry.admit(make_job(), key)
    assert fresh
    registry.apply(cancelled.id, Event.CANCEL)
    assert not registry.withdraw(cancelled.id)
    assert registry.get(cancelled.id).state is State.CANCELLING


def test_only_what_has_ended_may_be_forgotten() -> None:
    registry = make_registry()
    job, _ = registry.admit(make_job())
    with pytest.raises(ExportActive):
        registry.check_ended(job.id)
    finish(registry, job)
    registry.check_ended(job.id)
    registry.remove(job.id)
    with pytest.raises(NotFound):
        registry.check_ended(job.id)


def test_the_queue_has_an_end() -> None:
    registry = make_registry(active=2)
    registry.admit(make_job("a"))
    registry.admit(make_job("b"))
    with pytest.raises(QueueFull):
        registry.admit(make_job("c"))


def refused(registry: Registry, user: str = "alice") -> int:
    """Seconds after which a start that is refused for a cap may come again."""
    with pytest.raises((TooManyActive, QueueFull)) as caught:
        registry.admit(make_job(user))
    return caught.value.retry_after


def test_who_is_refused_is_told_when_the_first_place_is_likely_to_be_free() -> None:
    registry = make_registry(per_user=2, active=4)
    jobs = [registry.admit(make_job())[0] for _ in range(2)]
    other = registry.admit(make_job("bob"))[0]
    assert refused(registry) == RETRY_ACTIVE, "nobody knows yet"
    for job, remaining in ((jobs[0], 71.2), (other, 12.5)):
        registry.apply(job.id, Event.START)
        registry.progress(job.id, Progress(10, remaining=remaining))
    assert refused(registry) == 72, "the user's own first"
    registry.admit(make_job("bob"))
    assert refused(registry, "carol") == 13, "anybody's first, when all places are taken"
    registry.apply(jobs[0].id, Event.CANCEL)
    assert refused(registry) == 1, "what is decided only tidies up"


def test_who_only_waits_is_told_when_the_first_of_the_others_makes_room() -> None:
    registry = make_registry()
    other = registry.admit(make_job("bob"))[0]
    registry.apply(other.id, Event.START)
    registry.progress(other.id, Progress(10, remaining=40.0))
    registry.admit(make_job())
    assert refused(registry) == 40


def test_room_that_was_promised_is_not_promised_again() -> None:
    registry = make_registry(per_user=9)
    first, _ = registry.admit(replace(make_job(), estimate=60), room=100)
    with pytest.raises(InsufficientSpace):
        registry.admit(replace(make_job(), estimate=60), room=100)
    with pytest.raises(InsufficientSpace):
        registry.check_room(41, 100)
    registry.check_room(40, 100)
    assert registry.all() == [first]
    finish(registry, first)
    registry.admit(replace(make_job(), estimate=60), room=100)


def test_a_key_gives_the_same_job_even_after_its_end_and_refuses_another_request() -> None:
    registry = make_registry()
    key = Key("alice", "k", "digest", T0)
    job, fresh = registry.admit(make_job(), key)
    assert fresh
    assert registry.admit(make_job(), key) == (job, False)
    with pytest.raises(IdempotencyMismatch):
        registry.admit(make_job(), replace(key, digest="other"))
    finish(registry, job)
    assert registry.retry(key) == registry.get(job.id)
    assert registry.retry(replace(key, user_id="bob")) is None
    registry.forget_keys(T0 + timedelta(seconds=1))
    assert registry.retry(key) is None


def test_whoever_comes_first_wins_and_the_other_changes_nothing() -> None:
    registry = make_registry(per_user=2)
    a, b = (registry.admit(make_job())[0] for _ in range(2))
    for job in (a, b):
        registry.apply(job.id, Event.START)
    registry.apply(a.id, Event.CANCEL, cancelled_at=T0)
    before = registry.get(a.id)
    with pytest.raises(IllegalTransition):
        registry.apply(a.id, Event.COMMIT, sha256="x")
    assert registry.get(a.id) is before
    registry.apply(b.id, Event.COMMIT)
    assert registry.offer(b.id, Event.CANCEL, cancelled_at=T0) == (registry.get(b.id), False)
    assert registry.get(b.id).cancelled_at is None


def test_a_decision_does_not_show_before_its_outcome() -> None:
    registry = make_registry()
    job, _ = registry.admit(make_job())
    assert registry.apply(job.id, Event.CANCEL, cancelled_at=T0).status == "pending"
    assert registry.get(job.id).as_wire()["cancelledAt"] is None
    assert registry.apply(job.id, Event.CANCEL_DONE).as_wire()["cancelledAt"] == "2026-01-31T12:00:00.000Z"


def test_progress_never_goes_down_and_stops_with_the_decision() -> None:
    registry = make_registry()
    job, _ = registry.admit(make_job())
    assert registry.progress(job.id, Progress(5)) is None
    registry.apply(job.id, Event.START)
    assert (seen := registry.progress(job.id, Progress(50))) is not None
    assert seen.progress.percent == 50
    assert (seen := registry.progress(job.id, Progress(20, stage="images"))) is not None
    assert (seen.progress.percent, seen.progress.stage) == (50, "images")
    registry.apply(job.id, Event.CANCEL)
    assert registry.progress(job.id, Progress(60)) is None


def test_only_what_has_ended_can_be_removed() -> None:
    registry = make_registry()
    job, _ = registry.admit(make_job(), Key("alice", "k", "d", T0))
    with pytest.raises(ExportActive):
        registry.remove(job.id)
    finish(registry, job)
    registry.remove(job.id)
    for call in (registry.get, registry.remove):
        with pytest.raises(NotFound):
            call(job.id)
    assert registry.of_project("p1", 10) == registry.of_user("alice", 10) == registry.all() == []
    assert registry.retry(Key("alice", "k", "other", T0)) is None


def test_expiry_happens_once_and_only_to_completed_jobs() -> None:
    registry = make_registry()
    job, _ = registry.admit(make_job())
    assert registry.expire(job.id, T0) is None
    finish(registry, job)
    assert (expired := registry.expire(job.id, T0)) is not None
    assert expired.status == "completed"
    assert registry.expire(job.id, T0) is None


def test_lists_are_newest_first_and_limited() -> None:
    registry = make_registry(per_user=9)
    ids = [registry.admit(make_job())[0].id for _ in range(5)]
    assert [j.id for j in registry.of_project("p1", 3)] == ids[::-1][:3]
    assert [j.id for j in registry.of_user("alice", 99)] == ids[::-1]


def test_a_record_gives_the_same_job_back() -> None:
    job = replace(make_job(), state=State.COMPLETED, completed_at=T0, warnings=("w",), progress=Progress(7, item="x"))
    assert Job.from_record(job.as_record()) == job


def test_restored_jobs_share_what_is_equal() -> None:
    """Ten thousand of them are in memory."""
    one, two = (Job.from_record(make_job().as_record()) for _ in range(2))
    assert one.options is two.options
    assert one.user is two.user
    other = Job.from_record(replace(make_job("bob"), options=ExportOptions(annotation_formats=("coco",))).as_record())
    assert other.user == User("bob", "bob@example.org")
    assert other.options.annotation_formats == ("coco",)
    assert not other.options.include_documentation
