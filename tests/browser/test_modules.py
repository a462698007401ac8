"""What the page thinks with, without a page around it: pure functions of its modules, run by the browser."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from browsing import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture
def page(visitor: Visitor) -> Any:
    visit = visitor(user=None)
    page = visit.context.new_page()
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # the browser asks for it when it likes
    page.goto(f"{visit.daemon.url}/healthz")  # a page of this origin where nothing runs
    return page


FORMATTED = [
    ("bytes", [0], "0 bytes"),
    ("bytes", [999], "999 bytes"),
    ("bytes", [999_999], "1.0 MB"),
    ("bytes", [123_456], "123 kB"),
    ("bytes", [5_242_880], "5.2 MB"),
    ("count", [1, "image"], "1 image"),
    ("count", [12000, "image"], "12,000 images"),
    ("duration", [59.6], "1 min"),
    ("duration", [125], "2 min 5 s"),
    ("duration", [1500], "25 min"),
    ("duration", [12_000], "3 h 20 min"),
    ("duration", [86_400], "24 h"),
    ("duration", [30 * 86_400], "30 d"),
    ("rate", [0.25], "0.3"),
    ("rate", [37.6], "38"),
    ("remaining", [1.2], "almost done"),
    ("remaining", [12.4], "about 12 s left"),
]


def test_numbers_are_written_as_people_read_them(page: Any) -> None:
    calls = [[name, arguments] for name, arguments, _ in FORMATTED]
    made = page.evaluate(
        "async (calls) => { const all = await import('/static/format.js'); return calls.map(([f, a]) => all[f](...a)); }",
        calls,
    )
    assert made == [expected for _, _, expected in FORMATTED]


JOB: dict[str, Any] = {
    "id": "j", "projectId": "p", "projectName": "P", "options": {"includeOriginalImages": True}, "warnings": [],
    "createdAt": "2026-01-31T12:00:00.000Z", "expiresAt": None, "stage": None, "stageProgress": None,
}  # fmt: skip
NEWS: list[dict[str, Any]] = [
    {"snapshot": {**JOB, "status": "pending", "progress": 0}},
    {"event": "export:started", "seq": 1},
    {"event": "export:progress", "seq": 2, "data": {"progress": 30}},
    {"snapshot": {**JOB, "status": "processing", "progress": 40}},
    {"event": "export:progress", "seq": 4, "data": {"progress": 60}},
    {"snapshot": {**JOB, "status": "cancelled", "progress": 60}},
    {"event": "export:cancelled", "seq": 5, "data": {"cancelledBy": "user", "cleanupCompleted": True}},
]
READ = """
async ({ all, orders }) => {
  const { advanced, merged } = await import("/static/jobs.js");
  const base = all[0].snapshot;
  const rank = { pending: 0, processing: 1, cancelled: 2 };
  const take = (job, { snapshot, event, seq, data }) => snapshot ? merged(job, snapshot)
    : advanced(job, { event, seq, data: { timestamp: base.createdAt, ...data } }) ?? job;
  return orders.map((news) => {
    const states = [merged(undefined, base)];
    for (const one of news) states.push(take(states.at(-1), all[one]));
    const forward = states.slice(1).every((job, i) => rank[job.status] >= rank[states[i].status]
      && job.progress >= states[i].progress && job.seq >= states[i].seq);
    return [forward, states.at(-1).status, states.at(-1).cleanupCompleted];
  });
}
"""


def test_news_in_any_order_and_twice_lead_forward_to_the_same_end(page: Any) -> None:
    orders = [[*order, *order[:2]] for order in itertools.permutations(range(len(NEWS)))]
    ends = page.evaluate(READ, {"all": NEWS, "orders": orders})
    assert len(ends) == 5040
    assert {tuple(end) for end in ends} == {(True, "cancelled", True)}
