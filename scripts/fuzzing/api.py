"""Every call of the API by its own description, by schemathesis: valid requests and spoilt ones, with a token and without.

Whatever is sent, the answer is one of those that the description has: a status that it names, with a body of its shape, and
never a 5xx that it does not name. The ids of a project, of a completed and of a cancelled export are among those drawn, so
that calls get further than "there is no such project".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import requests
import schemathesis
from conftest import make_world
from daemons import serving
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from exportd.store.embedded import EmbeddedCatalogue
from exportd.tokens import load_secret, make_token

STREAM = "/api/exports/events"
"""Its answer has no end; tests of its own read it."""

LEFT_OUT = [positive_data_acceptance, negative_data_rejection]
"""Whether a request is taken depends on more than its shape here: on what the project holds, on the export's state, and on the
ids that were put into it."""


@dataclass
class Swept:
    """What was asked and what was wrong with the answers."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    """By call, the first of each."""

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} × {status}" for status, count in sorted(self.statuses.items()))
        return f"{self.statuses.total():,} requests ({told}), {len(self.faults)} faults"


def sweep(url: str, headers: Mapping[str, str], ids: Mapping[str, list[str]], examples: int) -> Swept:
    """So many requests of each kind for each call. `ids` are taken for parameters of these names, half of the time."""
    swept = Swept()
    with requests.Session() as session:
        session.trust_env = False
        for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            call = cast("Any", found).ok()
            if call.path == STREAM:
                continue
            for mode in GenerationMode:

                @settings(
                    max_examples=examples,
                    database=None,
                    derandomize=True,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(call.as_strategy(generation_mode=mode), st.data())
                def ask(case: Any, data: st.DataObject) -> None:
                    for name in case.path_parameters or ():
                        if name in ids and data.draw(st.booleans()):
                            case.path_parameters[name] = data.draw(st.sampled_from(ids[name]))
                    answer = case.call(headers=headers, session=session, timeout=60)
                    swept.statuses[answer.status_code] += 1
                    try:
                        case.validate_response(answer, headers=headers, excluded_checks=LEFT_OUT)
                    except (Exception, BaseExceptionGroup) as fault:  # noqa: BLE001 - collected: one run tells all
                        swept.faults.setdefault(f"{case.operation.label} -> {answer.status_code}", str(fault))

                try:
                    ask()
                except Unsatisfiable:  # nothing about this call can be spoilt
                    continue
    return swept


def sweep_daemon(folder: Path, examples: int) -> Swept:
    """A daemon in this folder, asked by the project's owner, by a stranger and by nobody."""
    folder.joinpath("data").mkdir()
    world = make_world(folder / "data", 2, "spheroid")
    with EmbeddedCatalogue(world.settings.data) as catalogue:
        stranger = catalogue.add_user("eve@example.org")
    swept = Swept()
    with serving(world) as daemon:
        done, cancelled = daemon.start(), daemon.start()
        daemon.http.post(f"{daemon.base}/{cancelled}/cancel")
        daemon.wait_ended(done)
        ids = {"projectId": [world.project_id], "jobId": [done, cancelled]}
        eve = make_token(load_secret(world.settings), world.settings, stranger, 3600)
        for token in (daemon.token, eve, None):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            found = sweep(daemon.url, headers, ids, examples)
            swept.statuses += found.statuses
            swept.faults |= found.faults
        assert "request_failed" not in daemon.log.read_text(), daemon.log.read_text()
    return swept
