"""An import is all or nothing, keeps what it can, and says what it left out."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exportd.errors import ImportFailed, SettingsError, SourceError
from exportd.settings import Settings
from exportd.store import importing, jsonstream
from exportd.store.catalogue import Catalogue, open_catalogue
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.importers import Imported, import_coco, import_project, sample_project
from exportd.store.jsonstream import walk
from exportd.store.tables import moment

NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "nuclei"
needs_nuclei = pytest.mark.skipif(not NUCLEI.exists(), reason="the development set is not there")

OWNER = "alice@example.org"
PROJECT = "11111111-1111-4111-8111-111111111111"
IMAGE = "22222222-2222-4222-8222-222222222222"
TRIANGLE = [{"x": 1, "y": 1}, {"x": 9, "y": 1}, {"x": 9, "y": 9.5}]
POLYGON = {"id": "a", "type": "external", "points": TRIANGLE}


class Here:
    """A data directory and a folder with files to import."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(data=root / "data")
        self.folder = root / "source"
        self.folder.mkdir()

    @property
    def uploads(self) -> Path:
        return self.settings.uploads_directory

    def draw(self, name: str, size: tuple[int, int] = (30, 20)) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 50).save(path)
        return path

    def write(self, value: object, name: str = "project.json") -> Path:
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    def project(self, *images: object, **about: object) -> Imported:
        return import_project(self.settings, self.write({"images": images} | about), None, OWNER)

    def coco(self, value: dict[str, object], images: Path | None = None) -> Imported:
        return import_coco(self.settings, self.write(value, "instances.json"), images, OWNER)

    def left(self) -> list[str]:
        """What is in the uploads directory, and whether the catalogue has anything."""
        with open_catalogue(None, self.settings.data) as catalogue:
            users = [user.email for user in catalogue.users()]
        return users + ([p.name for p in self.uploads.iterdir()] if self.uploads.exists() else [])

    def polygons(self, done: Imported) -> list[Any]:
        """The polygons of each image in order; None where there is no segmentation."""
        with open_catalogue(None, self.settings.data) as catalogue:
            rows = catalogue.images(done.project_id, None)
            found = catalogue.segmentations([row.id for row in rows])
        return [json.loads(found[row.id].polygons) if row.id in found else None for row in rows]


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture
def catalogue(here: Here) -> Iterator[Catalogue]:
    with open_catalogue(None, here.settings.data) as catalogue:
        yield catalogue


# --- project.json -------------------------------------------------------------------------------------------------


@needs_nuclei
def test_the_development_set_comes_in_whole_and_bit_for_bit(here: Here, catalogue: Catalogue) -> None:
    source = json.loads((NUCLEI / "project.json").read_text())
    done = import_project(here.settings, NUCLEI / "project.json", None, OWNER)
    assert (done.project_id, done.images, done.warnings) == (source["id"], len(source["images"]), ())
    assert here.polygons(done) == [(i["segmentation"] or {}).get("polygons") for i in source["images"]]
    assert done.annotations == sum(len(p or ()) for p in here.polygons(done))
    for row, told in zip(catalogue.images(done.project_id, None), source["images"], strict=True):
        original = (NUCLEI / told["originalPath"]).read_bytes()
        assert (here.uploads / row.original_path).read_bytes() == original
        assert (row.name, row.width, row.height, row.size) == (
            told["name"],
            told["width"],
            told["height"],
            len(original),
        )
        assert (row.id, row.media_type) == (told["id"], told["mimeType"])


def test_what_the_json_does_not_tell_the_file_does(here: Here, catalogue: Catalogue) -> None:
    here.draw("a.png")
    done = here.project({"originalPath": "a.png"})
    (row,) = catalogue.images(done.project_id, None)
    assert (row.name, row.width, row.height, row.media_type) == ("a.png", 30, 20, "image/png")
    assert row.size == (here.folder / "a.png").stat().st_size
    project = catalogue.project(done.project_id)
    assert project is not None
    assert (project.title, project.type) == ("project", "spheroid")
    assert row.created_at is not None


def test_what_the_json_tells_is_kept(here: Here, catalogue: Catalogue) -> None:
    here.draw("a.png")
    made = "2025-05-01T10:00:00.000Z"
    segmentation = {
        "polygons": [POLYGON],
        "model": "hrnet",
        "threshold": 0.4,
        "confidence": 1,
        "imageWidth": 30,
        "imageHeight": 20,
    }
    first = {
        "id": IMAGE,
        "name": "A.png",
        "originalPath": "a.png",
        "createdAt": made,
        "displayOrder": 7,
        "segmentation": segmentation,
    }
    second = {"name": "f", "originalPath": "a.png", "parentVideoId": "v", "frameIndex": 3}
    done = here.project(first, second, id=PROJECT, title="T", type="sperm")
    rows = {row.name: row for row in catalogue.images(done.project_id, None)}
    assert rows["A.png"].id == IMAGE
    assert rows["A.png"].created_at == rows["A.png"].updated_at == moment(made)
    assert (rows["A.png"].display_order, rows["f"].display_order) == (7, None), "the file has an order of its own"
    assert (rows["f"].parent_video_id, rows["f"].frame_index) == ("v", 3)
    found = catalogue.segmentations([IMAGE])[IMAGE]
    assert found[1:] == ("hrnet", 0.4, 1.0, 30, 20)
    project = catalogue.project(PROJECT)
    assert project is not None
    assert (project.title, project.type) == ("T", "sperm")


def test_never_segmented_and_nothing_found_are_two_things(here: Here) -> None:
    here.draw("a.png")
    image = {"originalPath": "a.png"}
    done = here.project(image | {"segmentation": None}, image | {"segmentation": {"polygons": []}}, image)
    assert here.polygons(done) == [None, [], None]


def test_polygons_that_are_corrupt_are_kept_for_the_export_to_tell(here: Here, catalogue: Catalogue) -> None:
    here.draw("a.png")
    texts = ['[{"points":[{"x":1', [None, {"type": "external"}], {"a": 1}, None, 42]
    done = here.project(*({"originalPath": "a.png", "segmentation": {"polygons": t}} for t in texts))
    rows = catalogue.images(done.project_id, None)
    found = catalogue.segmentations([row.id for row in rows])
    assert [found[row.id].polygons for row in rows] == [
        '[{"points":[{"x":1', '[null,{"type":"external"}]', '{"a":1}', "null", "42",
    ]  # fmt: skip
    assert done.images == 5


def test_what_no_row_can_hold_is_left_out_with_a_warning(here: Here) -> None:
    here.draw("a.png")
    image = {"originalPath": "a.png", "name": "a\ud800\0", "segmentation": {"polygons": [10**30]}}
    text = json.dumps({"images": [image]})
    done = import_project(here.settings, here.write(text), None, OWNER)
    assert (done.images, done.annotations) == (1, 0)
    assert done.warnings == ("a?: its polygons hold a value that cannot be stored; they were left out.",)


def test_importing_twice_makes_a_second_project(here: Here, catalogue: Catalogue) -> None:
    here.draw("a.png")
    image = {"id": IMAGE, "originalPath": "a.png"}
    first, second = (here.project(image, image, id=PROJECT) for _ in range(2))
    assert first.project_id == PROJECT != second.project_id
    ids = [row.id for done in (first, second) for row in catalogue.images(done.project_id, None)]
    assert len(set(ids)) == 4
    assert ids[0] == IMAGE


@pytest.mark.parametrize("wrong", [None, "", "p1", 5, PROJECT + "0", "../" + PROJECT[3:]])
def test_ids_that_are_no_uuids_are_replaced(here: Here, catalogue: Catalogue, wrong: object) -> None:
    here.draw("a.png")
    done = here.project({"id": wrong, "originalPath": "a.png"}, id=wrong)
    assert importing.as_uuid(done.project_id) == done.project_id
    (row,) = catalogue.images(done.project_id, None)
    assert importing.as_uuid(row.id) == row.id


def test_the_file_tells_the_order(here: Here, catalogue: Catalogue) -> None:
    for name in "cab":
        here.draw(f"{name}.png")
    done = here.project(*({"originalPath": f"{name}.png"} for name in "cab"))
    assert [row.name for row in catalogue.images(done.project_id, None)] == ["c.png", "a.png", "b.png"]


def test_images_are_looked_up_below_images_then_beside_the_file(here: Here, catalogue: Catalogue) -> None:
    other = here.draw("elsewhere/a.png", (5, 5)).parent
    here.draw("a.png")
    here.draw("b.png")
    path = here.write({"images": [{"originalPath": "a.png"}, {"originalPath": "b.png"}]})
    done = import_project(here.settings, path, other, OWNER, "Given")
    assert [row.width for row in catalogue.images(done.project_id, None)] == [5, 30]
    assert [p.title for p in catalogue.projects(catalogue.users()[0])] == ["Given"]
    with pytest.raises(ImportFailed, match="--images"):
        import_project(here.settings, path, here.folder / "none", OWNER)


def test_what_is_missing_or_outside_is_named_and_costs_only_itself(here: Here) -> None:
    here.draw("a.png")
    outside = here.folder.parent / "secret.png"
    outside.write_bytes((here.folder / "a.png").read_bytes())
    (here.folder / "link.png").symlink_to(outside)
    paths = ["a.png", "none.png", "../secret.png", "link.png", str(outside), ""]
    done = here.project(*({"name": p and f"N{n}", "originalPath": p} for n, p in enumerate(paths)), 5)
    assert done.images == 1
    for number, reason in ((1, "missing"), (2, "leads out"), (3, "leads out"), (4, "missing")):
        assert f"N{number} was left out" in done.warnings[number - 1]
        assert reason in done.warnings[number - 1]
    assert len(done.warnings) == 6
    assert not any(str(here.folder.parent) in warning for warning in done.warnings)
    assert len(list((here.uploads / done.project_id).iterdir())) == 1


def test_a_file_that_is_no_image_is_imported_with_a_warning(here: Here, catalogue: Catalogue) -> None:
    (here.folder / "a.png").write_bytes(b"no image")
    here.draw("b.png").write_bytes((here.folder / "b.png").read_bytes()[:-30])
    done = here.project({"originalPath": "a.png"}, {"originalPath": "b.png"})
    assert [w.partition(" ")[0] for w in done.warnings] == ["a.png", "b.png:"]
    row = catalogue.images(done.project_id, None)[0]
    assert (here.uploads / row.original_path).read_bytes() == b"no image"


def test_a_video_is_left_out_with_a_warning(here: Here) -> None:
    here.draw("a.png")
    done = here.project({"name": "film", "isVideoContainer": True}, {"originalPath": "a.png"})
    assert done.images == 1
    assert "film" in done.warnings[0]


def test_the_answer_has_the_names_of_the_contract(here: Here) -> None:
    here.draw("a.png")
    done = here.project({"originalPath": "a.png", "segmentation": {"polygons": [POLYGON]}}, id=PROJECT)
    assert done.as_wire() == {"projectId": PROJECT, "images": 1, "annotations": 1, "warnings": []}


# --- nothing is left of what failed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1, column 1"),
        ("[]", "object"),
        ("{}", "no list of images"),
        ('{"images": {}}', "no list of images"),
        ('{"images": [\n{"originalPath": "a.png"},\n{"x": oops}]}', "line 3, column "),
        ('{"images": [{"originalPath": "a.png"}', "line 1"),
        ('{"images": [{"originalPath": "none.png"}]}', "None of the 1 images"),
        ('{"images": [] , }', "key in double quotes"),
        ('{"images": []} x', "end of the file"),
        ('{"images": [' + "[" * 100_000, "too deep"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_leaves_nothing(here: Here, text: str, place: str) -> None:
    here.draw("a.png")
    with pytest.raises(ImportFailed, match=place):
        import_project(here.settings, here.write(text), None, OWNER)
    assert here.left() == []


def test_a_file_that_is_no_text_is_refused(here: Here) -> None:
    (here.folder / "project.json").write_bytes(b'{"title": "\xff"}')
    with pytest.raises(ImportFailed, match="UTF-8"):
        import_project(here.settings, here.folder / "project.json", None, OWNER)
    with pytest.raises(ImportFailed, match="cannot be read"):
        import_project(here.settings, here.folder / "none.json", None, OWNER)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_import_that_is_broken_off_leaves_nothing(
    here: Here, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    here.draw("a.png")
    copy, copied = importing._copy, []

    def fail_later(source: int, target: Path) -> int:
        copied.append(target)
        if len(copied) == 3:
            raise error
        return copy(source, target)

    monkeypatch.setattr(importing, "_copy", fail_later)
    with pytest.raises((ImportFailed, KeyboardInterrupt)):
        here.project(*({"originalPath": "a.png"} for _ in range(5)))
    assert here.left() == []


def test_a_catalogue_that_refuses_leaves_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.draw("a.png")
    here.project({"id": IMAGE, "originalPath": "a.png"})
    before = here.left()
    monkeypatch.setattr(EmbeddedCatalogue, "has_image", lambda *_: False)
    with pytest.raises(ImportFailed):
        here.project({"id": IMAGE, "originalPath": "a.png"})
    assert here.left() == before


def test_a_bad_owner_and_a_foreign_database_are_refused_before_anything(here: Here) -> None:
    here.draw("a.png")
    path = here.write({"images": [{"originalPath": "a.png"}]})
    with pytest.raises(SettingsError, match="e-mail"):
        import_project(here.settings, path, None, "alice")
    foreign = here.settings.model_copy(update={"database_url": "postgresql://host/db"})
    with pytest.raises(SettingsError, match="never written"):
        import_project(foreign, path, None, OWNER)
    assert here.left() == []


# --- COCO ---------------------------------------------------------------------------------------------------------


@needs_nuclei
def test_coco_and_project_json_bring_the_same_rings(here: Here) -> None:
    ours = import_project(here.settings, NUCLEI / "project.json", None, OWNER)
    done = import_coco(here.settings, NUCLEI / "annotations.coco.json", NUCLEI / "images", OWNER)
    assert (done.images, done.annotations, done.warnings) == (ours.images, ours.annotations, ())
    as_set = [
        {(p["type"], json.dumps(p["points"])) for p in image or ()}
        for coll in (ours, done)
        for image in sorted(here.polygons(coll), key=str)
    ]
    count = len(as_set) // 2
    assert sorted(map(sorted, as_set[:count])) == sorted(map(sorted, as_set[count:]))


def test_coco_rings_holes_and_classes(here: Here) -> None:
    here.draw("sub/a.png")
    here.draw("b.png")
    ring = [0, 0, 8, 0, 8, 8.5]
    done = here.coco(
        {
            "annotations": [
                {"id": 4, "image_id": 1, "category_id": 2, "segmentation": [ring, ring], "holes": [ring], "score": 0.5},
                {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [ring]},
            ],
            "images": [{"id": 1, "file_name": "sub/a.png"}, {"id": 2, "file_name": "b.png", "width": 30, "height": 20}],
            "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "Head"}],
        }
    )
    points = [{"x": 0.0, "y": 0.0}, {"x": 8.0, "y": 0.0}, {"x": 8.0, "y": 8.5}]
    head = {"partClass": "head", "points": points, "confidence": 0.5}
    assert here.polygons(done) == [
        [
            head | {"id": "a4-e0", "type": "external"},
            head | {"id": "a4-e1", "type": "external"},
            head | {"id": "a4-i0", "type": "internal"},
            {"id": "a5-e0", "type": "external", "points": points},
        ],
        [],
    ]
    assert (done.images, done.annotations, done.warnings) == (2, 4, ())


def test_coco_says_what_cannot_be_taken_over(here: Here) -> None:
    here.draw("a.png")
    ring = [0, 0, 8, 0, 8, 8]
    mask = {"size": [20, 30], "counts": "abc"}
    done = here.coco(
        {
            "images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "a.png"}, {"file_name": "a.png"}, 7],
            "annotations": [
                {"id": 1, "image_id": 1, "segmentation": mask, "iscrowd": 1},
                {"id": 2, "image_id": 1, "segmentation": mask},
                {"id": 3, "image_id": 1, "segmentation": [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], ["x"] * 6, None]},
                {"id": 4, "image_id": 9, "segmentation": [ring]},
                {"id": 5, "image_id": 1, "segmentation": []},
                {"id": 6, "image_id": 1, "segmentation": [ring]},
                None,
            ],
        }
    )
    assert done.annotations == 1
    assert sorted(done.warnings) == [
        "Left out: 1 annotations without an outline.",
        "Left out: 1 entries of annotations that are no JSON objects.",
        "Left out: 1 entries of images that are no JSON objects.",
        "Left out: 1 outlines of images that are not in the file.",
        "Left out: 2 annotations that are masks (RLE), not polygons: convert them to polygons.",
        "Left out: 2 images without an id of their own.",
        "Left out: 4 outlines that are no list of at least three points.",
    ]


def test_coco_counts_outlines_that_are_no_lists(here: Here) -> None:
    here.draw("a.png")
    ring = [1, 1, 9, 1, 9, 9]
    done = here.coco(
        {
            "images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [
                {"id": 1, "image_id": 1, "segmentation": "1,1,9,1"},
                {"id": 2, "image_id": 1, "segmentation": [ring], "holes": {"counts": [3], "size": [9, 9]}},
            ],
        }
    )
    assert done.annotations == 1
    assert done.warnings == (
        "Left out: 1 external outlines that are no list of rings.",
        "Left out: 1 internal outlines that are no list of rings.",
    )


def test_half_surrogate_pairs_are_no_obstacle(here: Here, catalogue: Catalogue) -> None:
    here.draw("a.png")
    value = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": "\ud800", "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}],
    }
    done = import_coco(here.settings, here.write(value, "instances.json"), None, OWNER, "cells \udcff")
    assert here.polygons(done)[0][0]["id"] == "a?-e0"
    project = catalogue.project(done.project_id)
    assert project is not None
    assert project.title == "cells ?"
    with pytest.raises(SettingsError, match="no e-mail address"):
        import_coco(here.settings, here.folder / "instances.json", None, "a\udcff@example.org")


def test_a_catalogue_that_is_locked_for_too_long_is_told_and_nothing_is_left(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.draw("a.png")
    here.coco({"images": [], "annotations": []})
    before = here.left()
    monkeypatch.setattr("exportd.store.engines.BUSY_TIMEOUT", 0.05)
    with closing(sqlite3.connect(here.settings.data / "catalogue.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceError, match="locked"):
            here.coco({"images": [{"id": 1, "file_name": "a.png"}], "annotations": []})
        with EmbeddedCatalogue(here.settings.data) as writable, pytest.raises(SourceError, match="locked"):
            writable.add_user("late@example.org")
    assert here.left() == before


def test_what_is_no_coco_file_is_refused(here: Here) -> None:
    with pytest.raises(ImportFailed, match="COCO"):
        here.coco({"images": []})
    assert here.left() == []


# --- the sample ---------------------------------------------------------------------------------------------------


def test_the_sample_is_the_same_every_time_and_has_holes(tmp_path: Path) -> None:
    digests = []
    for run in "ab":
        with EmbeddedCatalogue(tmp_path / run) as embedded:
            done = sample_project(embedded, tmp_path / run / "uploads", OWNER, 3)
        folder = tmp_path / run / "uploads" / done.project_id
        files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        assert (done.images, done.warnings) == (3, ())
        digests.append((done, files))
    assert digests[0] == digests[1]
    with open_catalogue(None, tmp_path / "a") as catalogue:
        rows = catalogue.images(done.project_id, None)
        found = catalogue.segmentations([row.id for row in rows])
    kinds = {p["type"] for row in rows for p in json.loads(found[row.id].polygons)}
    assert kinds == {"external", "internal"}
    for row in rows:
        with Image.open(tmp_path / "a/uploads" / row.original_path) as image:
            assert (image.size, image.mode) == ((512, 512), "L")
        for polygon in json.loads(found[row.id].polygons):
            assert all(0 <= p["x"] <= 512 and 0 <= p["y"] <= 512 for p in polygon["points"])


def test_a_second_sample_is_a_second_project(tmp_path: Path) -> None:
    with EmbeddedCatalogue(tmp_path) as embedded:
        first, second = (sample_project(embedded, tmp_path / "uploads", OWNER, 1) for _ in range(2))
    assert first.project_id != second.project_id


# --- reading JSON in pieces ---------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=3), VALUES, max_size=4),
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_any_object_is_read_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    about: dict[str, Any],
    items: list[Any],
    indent: int | None,
    ascii_only: bool,
) -> None:
    about.pop("items", None)
    path = tmp_path_factory.mktemp("walk") / "x.json"
    text = (
        json.dumps(about | {"items": items}, indent=indent, ensure_ascii=ascii_only).encode(errors="replace").decode()
    )
    path.write_text(text)
    wanted = json.loads(text)
    for chunk in (1, 7, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jsonstream, "CHUNK", chunk)
            found: set[str] = set()
            got = list(walk(path, {"items"}, found))
        assert found == {"items"}
        assert [value for key, value in got if key == "items"] == wanted["items"]
        assert {key: value for key, value in got if key != "items"} == {k: v for k, v in wanted.items() if k != "items"}


def test_what_other_programs_write_for_no_number_is_null(here: Here) -> None:
    path = here.write('\ufeff{"a": [NaN, -Infinity, 1e999]}')
    assert list(walk(path, set(), set())) == [("a", [None, None, float("inf")])]


def test_the_place_of_a_fault_counts_what_was_read_before(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here.write('{"items": [1,\n2,\n\n  3, 4 5]}')
    for chunk in (1, 5, 1000):
        monkeypatch.setattr(jsonstream, "CHUNK", chunk)
        with pytest.raises(ImportFailed, match="line 4, column 8"):
            list(walk(path, {"items"}, set()))
