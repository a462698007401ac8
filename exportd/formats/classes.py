"""The one table of classes. Ids never shift: whatever a project holds, a class keeps its place; new ones go to the end."""

from __future__ import annotations

from typing import NamedTuple

from exportd.core.dataset import Polygon


class ObjectClass(NamedTuple):
    """A class of objects, the class that it is a part or kind of, and the colour that programs show it in."""

    name: str
    supercategory: str
    colour: tuple[int, int, int]
    """Red, green, blue, 0 to 255; those of one kind of project are told apart with any colour vision (Okabe and Ito)."""


CLASSES: tuple[ObjectClass, ...] = (
    ObjectClass("object", "object", (230, 159, 0)),
    ObjectClass("core", "spheroid", (213, 94, 0)),
    ObjectClass("head", "sperm", (0, 114, 178)),
    ObjectClass("midpiece", "sperm", (240, 228, 66)),
    ObjectClass("tail", "sperm", (0, 158, 115)),
    ObjectClass("spheroid", "spheroid", (86, 180, 233)),
    ObjectClass("wound", "wound", (204, 121, 167)),
    ObjectClass("sperm", "sperm", (230, 159, 0)),
    ObjectClass("microcapsule", "microcapsule", (0, 158, 115)),
    ObjectClass("microtubule", "microtubule", (86, 180, 233)),
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
