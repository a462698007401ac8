"""What a user asks for: the request types that validate, that OpenAPI describes and that a job carries. Frozen.

Validation is strict (a number is no boolean, a string is no number), unknown keys are refused, and every fault is
reported at once with its path. The names of the formats are those of `FormatId` and `MetricsId`; `formats.FORMATS` has
a row for each that can be produced.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from exportd.errors import MAX_PROBLEMS, InvalidRequest, Problem

FormatId = Literal["coco", "yolo", "json", "labels", "imagej", "geojson", "cvat", "labelme"]
MetricsId = Literal["excel", "csv", "json", "parquet"]
FORMAT_IDS: tuple[FormatId, ...] = get_args(FormatId)
METRICS_IDS: tuple[MetricsId, ...] = get_args(MetricsId)

Colour = Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", examples=["#ff0000"])]

MAX_SELECTED = 100_000
"""Images that one request may name; the limit of the body comes first."""

_CHOSEN = "Images as `GET …/images` names them; left out or null: all."

MAX_ENTRIES = 100
"""Of any other list: there are not that many formats, and to find fault with each of half a million takes seconds."""


def _enabled(value: object) -> object:
    return bool(value.get("enabled")) if isinstance(value, dict) else value


def _given(value: object) -> object:
    return isinstance(value, dict) or value


# Existing clients send an object of details. Only kymographs are switched off in it; line metrics are wanted by being there.
Kymographs = Annotated[bool, BeforeValidator(_enabled, json_schema_input_type=bool | dict[str, Any])]
LineMetrics = Annotated[bool, BeforeValidator(_given, json_schema_input_type=bool | dict[str, Any])]


class Wire(BaseModel):
    """A frozen, strict value with camelCase names on the wire."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


class PolygonColors(Wire):
    """Colours of the overlay."""

    external: Colour = "#ff0000"
    internal: Colour = "#0000ff"


class VisualizationOptions(Wire):
    """How overlays are drawn."""

    show_numbers: bool = True
    polygon_colors: PolygonColors = PolygonColors()
    stroke_width: Annotated[float, Field(ge=0.5, le=50, description="Outline in pixels of the image.")] = 2.0
    font_size: Annotated[float, Field(ge=4, le=400, description="Height of the numbers in pixels of the image.")] = 24.0
    transparency: Annotated[float, Field(ge=0, le=1, description="Of the fill: 0 is opaque, 1 is no fill.")] = 0.7


class ExportOptions(Wire):
    """What goes into the archive. With nothing chosen the request is refused."""

    include_original_images: bool = False
    include_visualizations: bool = False
    visualization_options: VisualizationOptions = VisualizationOptions()
    annotation_formats: tuple[FormatId, ...] = ()
    metrics_formats: tuple[MetricsId, ...] = ()
    intensity_metrics: Annotated[bool, Field(description="With metrics: intensities from the raw pixels.")] = False
    include_documentation: bool = False
    selected_image_ids: (
        Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_SELECTED, fail_fast=True, description=_CHOSEN)]
        | None
    ) = None
    pixel_to_micrometer_scale: Annotated[float, Field(ge=0.001, le=1000, description="µm per pixel.")] | None = None
    mt_metrics: Annotated[LineMetrics, Field(description="Accepted from existing clients, as an object too.")] = False
    mt_kymographs: Annotated[Kymographs, Field(description="Accepted from existing clients, as an object too.")] = False

    @model_validator(mode="after")
    def _something_is_chosen(self) -> ExportOptions:
        if not (
            self.include_original_images
            or self.include_visualizations
            or self.annotation_formats
            or self.metrics_formats
            or self.include_documentation
        ):
            raise ValueError(
                "nothing is chosen: ask for originals, visualizations, an annotation format, metrics or documentation"
            )
        return self


class StartRequest(Wire):
    """The body of a start and of an estimate."""

    options: ExportOptions
    project_name: Annotated[str, Field(min_length=1, max_length=500)] | None = None


def parse_start(body: bytes) -> StartRequest:
    """The request in a JSON body.

    Raises `InvalidRequest` with every fault and its path; broken JSON has the path `body`.
    """
    try:
        _refuse_long(orjson.loads(body))  # stricter than pydantic's own parser: no NaN, bounded depth, UTF-8 only
        return StartRequest.model_validate_json(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest([Problem("body", f"this is not JSON: {error}")]) from None
    except ValidationError as error:
        raise InvalidRequest(problems(error)) from None


def _refuse_long(value: object) -> None:
    options = value.get("options") if isinstance(value, dict) else None
    lists = (
        {name: value for name, value in options.items() if isinstance(value, list)} if isinstance(options, dict) else {}
    )
    most = {name: MAX_SELECTED if name == "selectedImageIds" else MAX_ENTRIES for name in lists}
    faults = [
        Problem(f"options.{name}", f"it has at most {most[name]} entries")
        for name, entries in lists.items()
        if len(entries) > most[name]
    ]
    if faults:
        raise InvalidRequest(faults)


def problems(error: ValidationError) -> list[Problem]:
    """Faults of a pydantic validation under the names that the wire uses: `options.annotationFormats[0]`."""
    if error.error_count() > MAX_PROBLEMS:
        return [Problem("body", f"it has {error.error_count()} faults, too many to tell each")]
    return [Problem(_path(fault["loc"]), _sentence(fault["msg"])) for fault in error.errors(include_url=False)]


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
