"""The fair queue: users take turns."""

from hypothesis import given
from hypothesis import strategies as st

from exportd.jobs.queue import FairQueue


def test_one_users_many_jobs_do_not_hold_up_anothers_one() -> None:
    queue = FairQueue()
    for i in range(3):
        queue.put("a", f"a{i}")
    queue.put("b", "b0")
    assert [queue.take() for _ in range(5)] == ["a0", "b0", "a1", "a2", None]


@given(st.lists(st.sampled_from("abcd"), max_size=20), st.sets(st.integers(0, 19)))
def test_the_position_is_the_place_in_which_jobs_are_taken(users: list[str], gone: set[int]) -> None:
    queue = FairQueue()
    owner = {}
    for i, user in enumerate(users):
        owner[f"{user}{i}"] = user
        queue.put(user, f"{user}{i}")
    for i, job in enumerate(list(owner)):
        if i in gone:
            queue.discard(owner.pop(job), job)
    told = {job: queue.position(user, job) for job, user in owner.items()}
    taken = [queue.take() for _ in range(len(owner))]
    assert [told[job] for job in taken if job] == list(range(1, len(owner) + 1))
    assert queue.take() is None
    assert len(queue) == 0
