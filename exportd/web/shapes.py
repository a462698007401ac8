"""The types of the API for people: a table of its fields for each, from the schemas of the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "object", "null": "null"}
_RANGES = (("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " of them"))


def section(schemas: Mapping[str, Schema]) -> str:
    """All types, each where the links of `named` lead."""
    return f'<section id="types"><h2>Types</h2>{"".join(_type(*row) for row in sorted(schemas.items()))}</section>'


def named(reference: str) -> str:
    """A link to a type."""
    name = reference.rpartition("/")[2]
    return f'<a href="#{name}"><code>{name}</code></a>'


def _type(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    rows = "".join(_field(field, form, field in required) for field, form in schema["properties"].items())
    about = f"<p>{_prose(schema['description'])}</p>" if "description" in schema else ""
    heads = '<thead><tr><th scope="col">field<th scope="col">value<th scope="col">meaning</thead>'
    return f'<article id="{name}"><h3><code>{name}</code></h3>{about}<table>{heads}<tbody>{rows}</tbody></table></article>\n'


def _field(name: str, schema: Schema, required: bool) -> str:
    said = [schema["description"]] if "description" in schema else []
    said += [inner["description"] for inner in schema.get("anyOf", ()) if "description" in inner]
    if not required:
        said.append(_default(schema.get("default")))
    return f'<tr><th scope="row"><code>{name}</code><td>{_value(schema)}<td>{_prose(" ".join(said))}'


def _prose(text: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def _default(value: object) -> str:
    match value:
        case None | []:
            return "May be left out."
        case bool():
            return f"Left out: {str(value).lower()}."
        case dict():
            return "Left out: the defaults of its fields."
        case _:
            return f"Left out: {value}."


def _value(schema: Schema) -> str:
    """What a field may be, in words."""
    if "$ref" in schema:
        return named(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(_value(inner) for inner in schema["anyOf"])
    if "const" in schema:
        return f"<code>{str(schema['const']).lower()}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list{_range(schema)}: {_value(schema['items'])}"
    if "pattern" in schema:
        return f"text like <code>{escape(schema['examples'][0])}</code>" if "examples" in schema else "text"
    return _WORDS.get(schema.get("type", ""), "number") + _range(schema)


def _range(schema: Schema) -> str:
    for least, most, unit in _RANGES:
        if least in schema and most in schema:
            return f", {schema[least]:,} to {schema[most]:,}{unit}"
    return ""
