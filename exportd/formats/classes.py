"""The one table of classes. Ids never shift: whatever a project holds, a class keeps its place; new ones go to the end."""

from __future__ import annotations

from typing import NamedTuple

from exportd.core.dataset import Polygon


class ObjectClass(NamedTuple):
    """A class of objects and the class that it is a part or kind of."""

    name: str
    supercategory: str


CLASSES: tuple[ObjectClass, ...] = (
    ObjectClass("object", "object"),
    ObjectClass("core", "spheroid"),
    ObjectClass("head", "sperm"),
    ObjectClass("midpiece", "sperm"),
    ObjectClass("tail", "sperm"),
    ObjectClass("spheroid", "spheroid"),
    ObjectClass("wound", "wound"),
    ObjectClass("sperm", "sperm"),
    ObjectClass("microcapsule", "microcapsule"),
    ObjectClass("microtubule", "microtubule"),
)

_INDEX = {row.name: index for index, row in enumerate(CLASSES)}

_OF_PROJECT = {
    "spheroid": "spheroid",
    "spheroid_invasive": "spheroid",
    "wound": "wound",
    "sperm": "sperm",
    "microcapsule": "microcapsule",
    "microtubules": "microtubule",
}
"""What the polygons of a project are that are no part of something; `object` in projects of other types."""


def class_name(project_type: str, part_class: str | None) -> str:
    """The class of an object in a project of this type."""
    return part_class if part_class in _INDEX else _OF_PROJECT.get(project_type, "object")


def class_index(project_type: str, polygon: Polygon) -> int:
    """Place in `CLASSES`, from 0."""
    return _INDEX[class_name(project_type, polygon.part_class)]
