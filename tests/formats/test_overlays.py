"""Overlays as Pillow 12.3.0 and opencv 4.14.0 read them: colours at known places, numbers where they belong."""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage

from exportd.core.dataset import Annotation, Image, MemoryDataset, Pixels, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions, PolygonColors, VisualizationOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.badges import Badge, Paper, place_numbers
from exportd.formats.drawing import colour_of, font_of, typeface, width_of, writable
from exportd.formats.layers import CORE, INCOMPLETE, OTHER_LINES, PARTS
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.overlays import overlay_png, overlays

SHARED = Path(__file__).resolve().parents[3] / "shared"
CASES = sorted((SHARED / "data" / "edge_cases").glob("*.json"))
GREY = np.full((100, 120), 100, np.uint8)
PLAIN = VisualizationOptions(show_numbers=False)
OPTIONS = ExportOptions(include_visualizations=True)


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def crescent(x: float, y: float, radius: float) -> Points:
    """Open to the right; its centre of mass lies outside."""
    angle = np.linspace(0.5, 2 * np.pi - 0.5, 60)
    outer = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    inner = np.stack([x + radius * (0.3 + 0.8 * np.cos(angle)), y + 0.8 * radius * np.sin(angle)], axis=1)
    return np.concatenate([outer, inner[::-1]])


def polygons(*rings: Points, **fields: Any) -> Annotation:
    return Annotation(
        tuple(Polygon(str(n), n, ring, **fields) for n, ring in enumerate(rings, start=1)), segmented=True
    )


def drawn(
    annotation: Annotation,
    look: VisualizationOptions = PLAIN,
    pixels: Pixels = GREY,
    project_type: str = "spheroid",
    band: int = 1 << 20,
) -> NDArray[np.uint8]:
    body = b"".join(overlay_png(pixels, annotation, look, project_type, band))
    with PillowImage.open(io.BytesIO(body)) as image:
        image.load()
        assert image.mode == "RGB"
        return np.asarray(image)


def numbers(annotation: Annotation, width: int = 120, height: int = 100, font_size: float = 24) -> list[Badge]:
    steps = place_numbers(annotation.polygons, 0.58, font_size, Paper(width, height))
    while True:
        try:
            assert next(steps) == b""
        except StopIteration as end:
            found: list[Badge] = end.value
            return found


# --- colours --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transparency", "inside"), [(0.0, (255, 0, 0)), (0.5, (178, 50, 50)), (1.0, (100, 100, 100)), (0.9, (116, 90, 90))]
)
def test_the_fill_is_as_transparent_as_asked(transparency: float, inside: tuple[int, int, int]) -> None:
    look = VisualizationOptions(show_numbers=False, transparency=transparency)
    picture = drawn(polygons(square(20, 20, 40)), look)
    assert np.abs(picture[40, 40].astype(int) - inside).max() <= 1
    assert picture[10, 10].tolist() == [100] * 3


def test_pixel_corners_are_at_whole_numbers() -> None:
    look = VisualizationOptions(show_numbers=False, stroke_width=2)
    picture = drawn(polygons(square(20, 20, 40)), look)
    red = (picture == (255, 0, 0)).all(axis=2)
    assert red[40].nonzero()[0].tolist() == [19, 20, 59, 60]
    assert red[:, 40].nonzero()[0].tolist() == [19, 20, 59, 60]


def test_colours_are_those_that_were_chosen() -> None:
    colours = PolygonColors(external="#0f0", internal="#112233")
    look = VisualizationOptions(show_numbers=False, polygon_colors=colours, transparency=1)
    picture = drawn(polygons(square(20, 20, 40), holes=(square(30, 30, 20),)), look)
    assert picture[20, 40].tolist() == [0, 255, 0]
    assert picture[30, 40].tolist() == [0x11, 0x22, 0x33]


def test_a_hole_is_not_painted() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0, stroke_width=1)
    picture = drawn(polygons(square(20, 20, 60), holes=(square(30, 30, 20), square(40, 40, 20))), look)
    assert picture[25, 25].tolist() == [255, 0, 0]
    for y, x in ((35, 35), (45, 45), (55, 55)):  # also where two holes overlap
        assert picture[y, x].tolist() == [100] * 3


def test_a_hole_that_reaches_out_of_its_outline_paints_nothing_there() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0, stroke_width=1)
    picture = drawn(polygons(square(20, 20, 40), holes=(square(50, 30, 20),)), look)
    assert picture[40, 65].tolist() == [100] * 3


def test_cores_are_green_and_incomplete_objects_grey() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0)
    assert tuple(drawn(polygons(square(20, 20, 40), part_class="core"), look)[40, 40].tolist()) == CORE
    assert tuple(drawn(polygons(square(20, 20, 40), complete=False), look)[40, 40].tolist()) == INCOMPLETE
    both = polygons(square(20, 20, 40), part_class="core", complete=False)
    assert tuple(drawn(both, look)[40, 40].tolist()) == INCOMPLETE


def test_a_small_object_lies_on_the_large_one_whatever_their_order() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0)
    core = Polygon("c", 1, square(40, 40, 20), part_class="core")
    picture = drawn(Annotation((core, Polygon("s", 2, square(10, 10, 80)))), look)
    assert tuple(picture[50, 50].tolist()) == CORE


def test_edges_are_smooth() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0, stroke_width=0.5)
    picture = drawn(polygons(np.array([(10.0, 10), (110, 30), (40, 90)])), look)
    assert len(np.unique(picture[..., 0])) > 20


def test_a_figure_of_eight_is_filled_by_the_even_odd_rule() -> None:
    look = VisualizationOptions(show_numbers=False, transparency=0, stroke_width=0.5)
    twice = np.concatenate([square(10, 10, 80), square(30, 30, 40)])
    picture = drawn(polygons(twice), look)
    assert picture[85, 20].tolist() == [255, 0, 0]
    assert picture[60, 60].tolist() == [100] * 3


@pytest.mark.parametrize("part", ["head", "midpiece", "tail", None])
def test_lines_have_the_colour_of_their_part_and_dots_at_their_ends(part: str | None) -> None:
    line = Polyline("l", np.array([(20.0, 50.0), (60, 50), (100, 50)]), part_class=part)
    picture = drawn(Annotation(polylines=(line,)), VisualizationOptions(show_numbers=False, stroke_width=4))
    colour = (picture == PARTS.get(part, OTHER_LINES)).all(axis=2)
    assert colour[48:52, 60].all()
    assert not colour[46, 60]
    assert colour[46:54, 20].all()
    assert colour[46:54, 100].all()


def test_parts_have_different_colours() -> None:
    assert len({*PARTS.values(), OTHER_LINES}) == 4


# --- numbers --------------------------------------------------------------------------------------------------------------


def is_in(badge: Badge, ring: Points) -> bool:
    return bool(shapely.contains(shapely.Polygon(ring), shapely.box(*badge.box)))


def test_the_number_of_a_crescent_is_in_the_crescent() -> None:
    ring = crescent(60, 50, 45)
    assert not shapely.intersects(shapely.Polygon(ring), shapely.centroid(shapely.Polygon(ring)))
    (badge,) = numbers(polygons(ring))
    assert is_in(badge, ring)


def test_a_number_is_not_in_a_hole_nor_on_an_island_in_it() -> None:
    outer, hole, island = square(5, 5, 90), square(25, 25, 50), square(40, 40, 20)
    ring, inside = numbers(Annotation((Polygon("a", 1, outer, (hole,)), Polygon("b", 2, island))))
    assert is_in(inside, island)
    assert is_in(ring, outer)
    assert not shapely.intersects(shapely.Polygon(hole), shapely.box(*ring.box))


def test_the_number_of_a_spheroid_is_not_on_its_core() -> None:
    outer, core = square(5, 5, 90), square(30, 30, 40)
    spheroid, inside = numbers(Annotation((Polygon("a", 1, outer), Polygon("b", 2, core, part_class="core"))))
    assert is_in(inside, core)
    assert is_in(spheroid, outer)
    assert not shapely.intersects(shapely.Polygon(core), shapely.box(*spheroid.box))


def test_numbers_shrink_to_fit_and_grow_no_larger_than_asked() -> None:
    large, small = square(2, 2, 60), square(80, 60, 16)
    first, second = numbers(polygons(large, small))
    assert first.size == 24
    assert second.size < 24
    assert is_in(second, small)


def test_the_number_of_a_tiny_object_stands_beside_it() -> None:
    tiny = square(60, 50, 4)
    (badge,) = numbers(polygons(tiny))
    assert badge.size >= 9
    assert not shapely.intersects(shapely.Polygon(tiny), shapely.box(*badge.box))
    assert shapely.distance(shapely.Polygon(tiny), shapely.box(*badge.box)) < 6


def test_numbers_beside_tiny_objects_cover_neither_objects_nor_each_other() -> None:
    rings = [square(20 + 30 * (n % 3), 20 + 25 * (n // 3), 4) for n in range(9)]
    boxes = [shapely.box(*badge.box) for badge in numbers(polygons(*rings))]
    shapes = [shapely.Polygon(ring) for ring in rings]
    assert shapely.area(shapely.intersection(shapely.union_all(boxes), shapely.union_all(shapes))) == 0
    assert shapely.area(shapely.union_all(boxes)) == pytest.approx(sum(shapely.area(boxes)))


corners = [square(-3, -3, 6), square(117, -3, 6), square(-3, 97, 6), square(117, 97, 6), square(-40, -40, 45)]


@pytest.mark.parametrize("ring", corners)
def test_no_number_is_cut_by_the_edge(ring: Points) -> None:
    (badge,) = numbers(polygons(ring))
    left, top, right, bottom = badge.box
    assert left >= 0
    assert top >= 0
    assert right <= 120
    assert bottom <= 100


@given(
    st.lists(st.tuples(st.floats(-60, 140), st.floats(-60, 140), st.floats(1, 120)), max_size=6), st.integers(1, 130)
)
def test_every_number_is_wholly_in_the_picture(squares: list[tuple[float, float, float]], width: int) -> None:
    annotation = polygons(*(square(*place) for place in squares))
    for badge in numbers(annotation, width, 40):
        left, top, right, bottom = badge.box
        assert min(left, top) >= -1e-6
        assert right <= width + 1e-6
        assert bottom <= 40 + 1e-6


def test_a_tiny_picture_has_a_tiny_number() -> None:
    (badge,) = numbers(polygons(square(0, 0, 5)), 5, 5)
    left, top, right, bottom = badge.box
    assert left >= -1e-9
    assert right <= 5 + 1e-9
    assert bottom - top <= 5


def test_what_is_outside_of_the_picture_has_no_number() -> None:
    assert numbers(polygons(square(200, 200, 30), square(-50, 10, 20))) == []


def test_numbers_are_drawn_only_when_asked() -> None:
    objects = Annotation((Polygon("a", 88, square(20, 20, 60)),))
    assert (drawn(objects, PLAIN) == 255).all(axis=2).sum() == 0
    assert (drawn(objects, VisualizationOptions()) == 255).all(axis=2).sum() > 20


def test_a_number_is_drawn_over_objects_that_come_later() -> None:
    look = VisualizationOptions(transparency=0)
    ring = square(20, 20, 60)
    objects = Annotation((Polygon("a", 88, ring), Polygon("b", 89, square(40, 40, 40))))
    white = drawn(objects, look).min(axis=2) > 150
    assert white[20:40].sum() + white[40:, 20:40].sum() > 20
    assert white[40:80, 40:80].sum() > 20


def test_digits_and_letters_are_drawn_without_any_font_on_the_machine() -> None:
    face = typeface()
    font = font_of(face, 40)
    shapes = [font.getPath(glyph) for glyph in font.textToGlyphs("0123456789MTabc")]
    assert all(path.countPoints() > 3 and path.getBounds().height() > 15 for path in shapes)
    assert width_of("12", face) == pytest.approx(2 * width_of("0", face))
    assert writable("MT1 漢", face) == "MT1 ?"


def test_colours_are_read_in_both_forms() -> None:
    assert colour_of("#f80") == colour_of("#FF8800") == (255, 136, 0)


@pytest.mark.parametrize("project_type", ["microtubules", "sperm"])
def test_an_instance_has_one_label_beside_its_line(project_type: str) -> None:
    lines = (
        Polyline("a", np.array([(10.0, 50.0), (110, 50)]), instance_id="i"),
        Polyline("b", np.array([(10.0, 90.0), (110, 90)]), instance_id="i"),
    )
    plain = drawn(Annotation(polylines=lines), PLAIN)
    picture = drawn(Annotation(polylines=lines), VisualizationOptions(), project_type=project_type)
    changed = (plain != picture).any(axis=2)
    assert changed[10:75].any()
    assert not changed[48:52].any()
    assert not changed[80:].any()


# --- bands, bytes, exporter -----------------------------------------------------------------------------------------------

coordinate = st.one_of(st.floats(-60, 180, width=32), st.integers(-10, 130).map(float), st.just(1e6))
ring = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9).map(lambda p: np.array(p, np.float64))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(ring, st.lists(ring, max_size=2)), max_size=4), st.lists(ring, max_size=2), st.integers(1, 40)
)
def test_bands_of_any_height_make_one_picture(
    rings: list[tuple[Points, list[Points]]], lines: list[Points], rows: int
) -> None:
    annotation = Annotation(
        tuple(Polygon(str(n), n, outer, tuple(holes)) for n, (outer, holes) in enumerate(rings, start=1)),
        tuple(Polyline(str(n), points, instance_id=str(n)) for n, points in enumerate(lines)),
    )
    look = VisualizationOptions(transparency=0.3, stroke_width=3)
    whole = drawn(annotation, look)
    assert whole.shape == (100, 120, 3)
    parts = drawn(annotation, look, band=120 * rows)
    assert np.abs(whole.astype(int) - parts).mean() < 1


def test_the_boundary_of_two_bands_cannot_be_seen() -> None:
    """Skia cuts lines where its canvas ends and rounds what is left: a few pixels of an edge differ by a few levels."""
    random = np.random.default_rng(5)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rings = []
    for size in (140, 90, *[20] * 20, *[5] * 30):
        radius = size * (1 + 0.15 * np.cos(2 * angle + random.uniform(0, 6)) + 0.08 * np.cos(5 * angle))
        rings.append(random.uniform(0, 400, 2) + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    pixels = np.full((400, 400), 100, np.uint8)
    whole = drawn(polygons(*rings), VisualizationOptions(), pixels)
    parts = drawn(polygons(*rings), VisualizationOptions(), pixels, band=400 * 100)
    difference = np.abs(whole.astype(int) - parts)
    assert difference.max() <= 32
    assert (difference > 4).mean() < 0.0005


def many(count: int, size: int = 400) -> Annotation:
    random = np.random.default_rng(7)
    return polygons(*(square(x, y, side) for x, y, side in random.uniform((0, 0, 2), (size, size, 30), (count, 3))))


def test_the_same_input_gives_the_same_bytes() -> None:
    pixels = np.random.default_rng(1).integers(0, 60_000, (400, 400)).astype(np.uint16)
    first, second = (list(overlay_png(pixels, many(200), VisualizationOptions(), "spheroid", 9999)) for _ in range(2))
    assert first == second


def test_threads_do_not_disturb_each_other() -> None:
    def draw(_: int) -> bytes:
        return b"".join(overlay_png(GREY, many(300, 120), VisualizationOptions(), "spheroid"))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(12)))) == 1


def test_there_are_places_for_a_cancel_between_objects_and_between_bands() -> None:
    pauses = [chunk for chunk in overlay_png(GREY, many(5000), VisualizationOptions(), "spheroid") if not chunk]
    assert len(pauses) > 20
    bands = list(overlay_png(np.zeros((2000, 1000), np.uint8), Annotation(), PLAIN, "spheroid", 100_000))
    assert len(bands) >= 20


def dataset(*images: Image, pictures: dict[str, Pixels], **annotations: Annotation) -> MemoryDataset:
    return MemoryDataset(Project("p", "T", "spheroid", "u"), images, annotations, pictures=pictures)


def image(name: str, width: int | None = 120, height: int | None = 100) -> Image:
    return Image(name.partition(".")[0], name, f"original {name}", width, height, "image/png", 1)


def export(source: MemoryDataset) -> tuple[dict[str, bytes], list[Member], list[str], list[str]]:
    files: dict[str, bytes] = {}
    members, counted, warnings = [], [], []
    for value in overlays(source, OPTIONS):
        if isinstance(value, Member):
            chunks = list(value.chunks)
            assert all(isinstance(chunk, bytes) for chunk in chunks)
            files[value.path] = b"".join(chunk for chunk in chunks if isinstance(chunk, bytes))
            members.append(value)
        elif isinstance(value, Tick):
            counted.append(value.item)
        else:
            assert isinstance(value, Warn)
            warnings.append(value.sentence)
    return files, members, counted, warnings


def test_each_image_is_a_member_and_is_counted() -> None:
    source = dataset(image("a.tif"), image("b.x.png"), pictures={"a": GREY, "b": GREY}, a=polygons(square(5, 5, 30)))
    files, members, counted, warnings = export(source)
    assert list(files) == ["visualizations/a_viz.png", "visualizations/b.x_viz.png"]
    assert {(m.media_type, m.compress) for m in members} == {("image/png", False)}
    assert [(m.source_image_id, m.original_name) for m in members] == [
        ("a", "original a.tif"),
        ("b", "original b.x.png"),
    ]
    assert (counted, warnings) == (["a.tif", "b.x.png"], [])
    for body in files.values():
        other = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert other is not None
        assert other.shape == (100, 120, 3)


def test_images_without_pixels_are_counted_and_named() -> None:
    source = dataset(
        image("a.png"), image("b.png"), image("c.png"), pictures={"b": GREY, "c": np.zeros((0, 5), np.uint8)}
    )
    files, _, counted, warnings = export(source)
    assert list(files) == ["visualizations/b_viz.png"]
    assert counted == ["a.png", "b.png", "c.png"]
    assert warnings == ["Visualizations: 2 images have none, as their pixels cannot be read: a.png, c.png."]


def test_the_pixels_decide_on_the_size() -> None:
    source = dataset(
        image("a.png", 7, 7), image("b.png", None, None), pictures={"a": GREY, "b": GREY}, b=polygons(square(5, 5, 9))
    )
    for body in export(source)[0].values():
        with PillowImage.open(io.BytesIO(body)) as found:
            assert found.size == (120, 100)


def parsed(images: Sequence[dict[str, Any]]) -> tuple[list[Image], dict[str, Annotation], dict[str, Pixels]]:
    rows, annotations, pictures = [], {}, dict[str, Pixels]()
    for number, row in enumerate(images):
        width, height = row.get("width") or 300, row.get("height") or 200
        found = image(f"{number}.png", row.get("width"), row.get("height"))
        rows.append(found)
        annotations[found.id] = parse_annotation(row.get("polygons"), row.get("width"), row.get("height"))
        pictures[found.id] = np.full((height, width), 90, np.uint8)
    return rows, annotations, pictures


@pytest.mark.skipif(not CASES, reason="the edge cases are not here")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_edge_cases_are_drawn(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    rows, annotations, pictures = parsed(case["images"])
    source = MemoryDataset(Project("p", "T", case["projectType"], "u"), tuple(rows), annotations, pictures=pictures)
    files, _, _, warnings = export(source)
    assert warnings == []
    for row, body in zip(rows, files.values(), strict=True):
        with PillowImage.open(io.BytesIO(body)) as found:
            picture = np.asarray(found)
        assert picture.shape[:2] == pictures[row.id].shape
        annotation = annotations[row.id]
        assert (picture != 90).any() == bool(annotation.polygons or annotation.polylines)
