"""GeoJSON read back with shapely 2.2.0 and json; the rules are those of RFC 7946 and of QuPath's reader."""

import json
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from exporting import dataset, export, objects, polygons, square
from hypothesis import given
from shapely.geometry import shape

from exportd.core.dataset import Annotation, Polygon, Polyline
from exportd.formats.geojson import geojson

Feature = dict[str, Any]


def features(body: bytes) -> list[Feature]:
    """The features of a file, after the rules that hold for each of them."""
    document = json.loads(body)
    assert document["type"] == "FeatureCollection"
    found: list[Feature] = document["features"]
    assert len({feature["id"] for feature in found}) == len(found)
    for feature in found:
        UUID(feature["id"])
        assert feature["type"] == "Feature"
        assert None not in feature["properties"].values()
        assert feature["properties"]["objectType"] == "annotation"
        assert all(0 <= part <= 255 for part in feature["properties"]["classification"]["color"])
        follows_the_rules(feature["geometry"])
    return found


def follows_the_rules(geometry: Feature) -> None:
    """Closed rings of at least four positions, outlines with positive sum and holes with negative; valid as a whole."""
    assert shape(geometry).is_valid
    kinds = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"], "LineString": []}
    for part in kinds[geometry["type"]]:
        for place, ring in enumerate(part):
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            assert shapely.is_ccw(shapely.linearrings(ring)) == (place == 0)


def test_holes_are_holes_and_what_belongs_to_an_object_stands_with_it() -> None:
    polygon = Polygon("a", 7, square(5, 5, 20), (square(10, 10, 5),), "core", "cell-1", 0.5, complete=False)
    done = export(geojson, dataset(objects(polygon), Annotation()))
    assert list(done.members) == ["annotations/geojson/0.geojson", "annotations/geojson/1.geojson"]
    assert (done.counted, done.warnings) == (["0.png", "1.png"], [])
    (feature,) = features(done.members["annotations/geojson/0.geojson"])
    assert features(done.members["annotations/geojson/1.geojson"]) == []
    assert shape(feature["geometry"]).area == 375
    assert [len(ring) for ring in feature["geometry"]["coordinates"]] == [5, 5]
    known = feature["properties"]
    assert known["classification"]["name"] == "core"
    assert known["measurements"] == {"confidence": 0.5}
    assert (known["name"], known["number"], known["polygonId"]) == ("7", 7, "a")
    assert (known["instanceId"], known["partClass"], known["complete"]) == ("cell-1", "core", False)


def test_what_crosses_itself_becomes_valid_pieces_of_one_object() -> None:
    bow_tie = np.array([(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)])
    (feature,) = features(export(geojson, dataset(objects(Polygon("a", 1, bow_tie)))).only())
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert shape(feature["geometry"]).area == 50


def test_what_lies_beyond_the_image_stays_and_lines_stay_open() -> None:
    line = Polyline("l", np.array([(0.0, 0.0), (5.0, 5.0), (5.0, 9.0)]), "tail", "s1", "t1", "MT1")
    done = export(geojson, dataset(objects(Polygon("a", 1, square(-5, -5, 10)), lines=(line,)), kind="sperm"))
    beyond, tail = features(done.only())
    assert shape(beyond["geometry"]).bounds == (-5, -5, 5, 5)
    assert tail["geometry"] == {"type": "LineString", "coordinates": [[0, 0], [5, 5], [5, 9]]}
    assert (tail["properties"]["name"], tail["properties"]["classification"]["name"]) == ("MT1", "tail")
    assert done.warnings == []


def test_an_object_of_which_its_holes_leave_nothing_is_told_with_a_count() -> None:
    done = export(geojson, dataset(objects(Polygon("a", 1, square(5, 5, 5), (square(4, 4, 9),)))))
    assert features(done.only()) == []
    assert len(done.warnings) == 1
    assert "1 polygon is left out" in done.warnings[0]


def test_ids_are_the_same_again_and_apart_for_equal_ids_of_the_platform() -> None:
    source = dataset(objects(Polygon("a", 1, square(1, 1, 5)), Polygon("a", 2, square(9, 9, 5))))
    assert export(geojson, source).only() == export(geojson, source).only()
    assert len(features(export(geojson, source).only())) == 2


def test_many_objects_are_written_with_places_to_look_for_a_cancel() -> None:
    source = dataset(objects(*(Polygon(f"{n}", n, square(n % 30, n % 20, 3)) for n in range(1, 2001))))
    done = export(geojson, source)
    assert len(features(done.only())) == 2000
    assert done.looks > 1000


def test_a_stray_half_of_a_surrogate_pair_makes_nothing_fail() -> None:
    odd = Polygon("\ud800", 1, square(1, 1, 5), instance_id="\udfff")
    (feature,) = features(export(geojson, dataset(objects(odd))).only())
    assert feature["properties"]["polygonId"] == "?"


@given(polygons)
def test_whatever_the_polygons_the_file_is_valid_and_none_is_lost_without_a_word(found: tuple[Polygon, ...]) -> None:
    done = export(geojson, dataset(objects(*found)))
    written = features(done.only())
    lost = sum(int(word) for sentence in done.warnings for word in sentence.split() if word.isdigit())
    assert len(written) + lost == len(found)
    by_number = {feature["properties"]["number"]: shape(feature["geometry"]).area for feature in written}
    for polygon in found:
        outline = shapely.Polygon(polygon.points)
        if outline.is_valid and all(shapely.Polygon(hole).is_valid for hole in polygon.holes):
            expected = outline.difference(shapely.union_all([shapely.Polygon(hole) for hole in polygon.holes])).area
            assert abs(by_number.get(polygon.number, 0) - expected) <= 1e-6 * (1 + expected)
