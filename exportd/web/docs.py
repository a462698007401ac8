"""The OpenAPI document for people: one page of this host alone, which needs no script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from typing import Any

import orjson

from exportd.web import shapes
from exportd.web.openapi import document

TITLES = {
    "api/projects/export": "Exports of a project",
    "api/projects/images": "Images of a project",
    "api": "Across projects",
    "": "The daemon itself",
}
"""Groups of calls by how their addresses begin, without ids; the first that fits."""

ERRORS = (
    'Every error is <code>{"success": false, "error": …, "code": …}</code>: a sentence for people and a code for '
    "programs. Where there is an export, its <code>jobId</code>, <code>status</code> and the time that matters come with "
    "it; a request that is not understood has <code>errors</code>, each with its path. Whatever cannot be answered for "
    "reasons of the daemon's own is 500 <code>INTERNAL_ERROR</code>."
)

IDENTITY = (
    "A JSON Web Token, as <code>Authorization: Bearer</code> or in the cookie <code>access_token</code>; "
    "<code>exportd token --user EMAIL</code> prints one. What you may not see answers as what does not exist."
)

EVENTS = (
    "<code>/ws</code> is a WebSocket with the same identity; <code>/api/exports/events</code> gives the same as "
    "Server-Sent Events. Each event is a JSON object with its name, its number <code>seq</code> within the export, and "
    "<code>data</code>. On connect come the events of all your exports, whichever session started them. "
    'Send <code>{"action": "subscribe", "jobId": …, "since": seq}</code> to be told again what came after '
    "<code>seq</code>, and only that export's events; with <code>projectId</code> those of a project; with neither all of "
    'them again. <code>{"action": "unsubscribe"}</code> stops them, <code>{"action": "ping"}</code> is answered with '
    '<code>{"event": "pong"}</code> once everything before it is told. '
    "The order for an export is <em>started</em>, then <em>progress</em> and <em>phase-changed</em>, then exactly one of "
    "<em>completed</em>, <em>failed</em> and <em>cancelled</em>, then nothing. "
    "Clients of Socket.IO get the same events at <code>/socket.io/</code>."
)


@cache
def page() -> str:
    """The page."""
    calls = [
        (method.upper(), path, operation)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    ]
    groups = {title: [call for call in calls if _group(call[1]) == title] for title in TITLES.values()}
    info = document()["info"]
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>exportd API</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="/static/icon.svg">\n<script src="/static/theme.js"></script>\n'
        '<link rel="stylesheet" href="/static/base.css"><link rel="stylesheet" href="/static/docs.css">\n'
        '<body class="docs"><a class="skip" href="#top">Skip to the calls</a>\n'
        '<nav aria-label="Calls"><a class="brand" href="/"><img src="/static/icon.svg" alt="" width="24" height="24">'
        f"exportd</a>{''.join(_links(groups))}</nav>\n"
        f'<main id="top"><h1>exportd API</h1>\n<p class="lead">{escape(info["description"])} Version '
        f'{escape(info["version"])}, also as <a href="/openapi.json">openapi.json</a>.</p>\n'
        f"<h2>Who you are</h2><p>{IDENTITY}</p>\n<h2>Errors</h2><p>{ERRORS}</p>\n"
        f"{''.join(_section(title, calls) for title, calls in groups.items())}\n{_events()}\n"
        f"{shapes.section(document()['components']['schemas'])}</main></body></html>\n"
    )


_Call = tuple[str, str, dict[str, Any]]


def _group(path: str) -> str:
    bare = re.sub(r"/{\w+}", "", path).strip("/")
    return next(title for prefix, title in TITLES.items() if not prefix or f"{bare}/".startswith(f"{prefix}/"))


def _links(groups: dict[str, list[_Call]]) -> Iterator[str]:
    for title, calls in groups.items():
        links = "".join(
            f'<li><a href="#{operation["operationId"]}">{escape(operation["summary"])}</a>' for _, _, operation in calls
        )
        yield f'<h2><a href="#{_name(title)}">{escape(title)}</a></h2><ul>{links}</ul>'
    events = "".join(f'<li><a href="#{_anchor(e["event"])}">{escape(e["event"])}</a>' for e in document()["x-events"])
    yield f'<h2><a href="#events">Events</a></h2><ul>{events}</ul>'
    names = sorted(document()["components"]["schemas"])
    types = "".join(f'<li><a href="#{name}">{name}</a>' for name in names)
    yield f'<h2><a href="#types">Types</a></h2><ul>{types}</ul>'


def _section(title: str, calls: Iterable[_Call]) -> str:
    return f'<section id="{_name(title)}"><h2>{escape(title)}</h2>{"".join(_call(*call) for call in calls)}</section>'


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    good = {s: r for s, r in operation["responses"].items() if s < "400"}
    bad = {s: r for s, r in operation["responses"].items() if s >= "400"}
    open_to_all = "" if operation["security"] else ' <span class="tag">needs no identity</span>'
    return (
        f'<article id="{operation["operationId"]}"><h3>{escape(operation["summary"])}{open_to_all}</h3>\n'
        f'<p class="address"><code><b class="{method.lower()}">{method}</b> {escape(path)}</code></p>\n'
        f"<p>{escape(operation['description'])}</p>{_parameters(operation['parameters'])}{_body(operation)}"
        f"{''.join(_answer(status, response) for status, response in good.items())}{_errors(bad)}</article>\n"
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(p["name"])}</code><td>{p["in"]}<td>{escape(p["description"])}'
        for p in parameters
    )
    return _table("Parameters", ("name", "in", "meaning"), rows) if rows else ""


def _body(operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    content = operation["requestBody"]["content"]["application/json"]
    return f"<h4>Body: {_type(content['schema'])}</h4>{_json(content['example'])}"


def _answer(status: str, response: dict[str, Any]) -> str:
    for media, content in response.get("content", {}).items():
        kind = _type(content["schema"]) if "schema" in content else f"<code>{escape(media)}</code>"
        example = _json(content["example"]) if "example" in content else ""
        return f'<h4><b class="good">{status}</b> {escape(response["description"])}: {kind}</h4>{example}'
    return f'<h4><b class="good">{status}</b> {escape(response["description"])}</h4>'


def _errors(responses: dict[str, Any]) -> str:
    rows = ""
    for status, response in responses.items():
        for code, example in response["content"]["application/json"]["examples"].items():
            rows += (
                f'<tr><th scope="row"><b class="bad">{status}</b> <code>{code}</code><td>{escape(example["value"]["error"])}'
                f"<details><summary>Example</summary>{_json(example['value'])}</details>"
            )
    return _table("Errors", ("code", "for example"), rows) if rows else ""


def _events() -> str:
    found = "".join(
        f'<article id="{_anchor(e["event"])}"><h3><code>{escape(e["event"])}</code></h3>'
        f"<p>{escape(e['description'])}</p>{_json(e['example'])}</article>\n"
        for e in document()["x-events"]
    )
    return f'<section id="events"><h2>Events</h2><p>{EVENTS}</p>{found}</section>'


def _name(title: str) -> str:
    return title.lower().replace(" ", "-")


def _anchor(event: str) -> str:
    return event.replace(":", "-")


def _table(title: str, heads: Iterable[str], rows: str) -> str:
    columns = "".join(f'<th scope="col">{head}' for head in heads)
    return f"<h4>{title}</h4><table><thead><tr>{columns}</thead><tbody>{rows}</tbody></table>"


def _json(value: object) -> str:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return f'<pre tabindex="0"><code>{escape(text, quote=False)}</code></pre>'


def _type(schema: dict[str, Any]) -> str:
    """What a body is, in a word."""
    name = schema.get("$ref") or schema["items"]["$ref"]
    return f"{shapes.named(name)}{' list' if 'items' in schema else ''}"
