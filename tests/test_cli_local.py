"""Commands on a data directory that no daemon serves: imports, and the export inside the process."""

import json
import zipfile
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from exportd import logs
from exportd.cli import cli
from exportd.store.artifacts import DataLock
from exportd.store.sample import draw_project
from exportd.verifying.archive import verify

UNKNOWN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EXPORTD_URL", "EXPORTD_TOKEN", "EXPORTD_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXPORTD_PORT", "9")
    monkeypatch.setenv("EXPORTD_DISK_RESERVE", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers would keep the standard error of the first command for all that follow in this process."""

    def drop(*_: object) -> dict[str, object]:
        raise structlog.DropEvent

    monkeypatch.setattr(logs, "configure", lambda _settings: None)
    structlog.configure(processors=[drop], cache_logger_on_first_use=False)


@pytest.fixture
def project(tmp_path: Path) -> str:
    """A project of three images in ./data, by its id."""
    (tmp_path / "drawn").mkdir()
    file = draw_project(tmp_path / "drawn", 3)
    return run("import", "project", file, "--owner", "alice@example.org").stdout.strip()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*(str(a) for a in arguments), "--data", "data"])


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


# --- import --------------------------------------------------------------------------------------------------------


def test_an_import_prints_the_project_id_alone_and_warnings_aside(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    file = draw_project(tmp_path / "drawn", 3)
    next((tmp_path / "drawn").glob("*_001.png")).unlink()
    done = run("import", "project", file, "--owner", "alice@example.org", "--title", "Mine")
    assert done.exit_code == 0
    assert len(done.stdout) == 36 + 1
    assert "warning: nuclei_001.png was left out" in done.stderr
    answer = json.loads(run("import", "project", file, "--owner", "alice@example.org", "--json").stdout)
    assert set(answer) == {"projectId", "images", "annotations", "warnings"}
    assert (answer["images"], len(answer["warnings"])) == (2, 1)
    assert answer["projectId"] != done.stdout.strip()


def test_coco_is_imported_with_its_images_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    draw_project(tmp_path / "photos", 1)
    ring = [1, 1, 9, 1, 9, 9]
    coco = {
        "images": [{"id": 1, "file_name": "nuclei_001.png", "width": 512, "height": 512}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [ring]}],
        "categories": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    missing = run("import", "coco", "coco.json", "--owner", "alice@example.org")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "--images" in missing.stderr
    done = run("import", "coco", "coco.json", "--images", "photos", "--owner", "alice@example.org", "--json")
    assert json.loads(done.stdout) | {"projectId": ""} == {
        "projectId": "",
        "images": 1,
        "annotations": 1,
        "warnings": [],
    }


# --- export in this process ----------------------------------------------------------------------------------------


def test_an_export_without_a_daemon_runs_here(project: str, tmp_path: Path) -> None:
    done = run("export", project, "-o", "out.zip", "--format", "coco")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "out.zip\n"
    assert "100 %" in done.stderr
    assert "verified" in done.stderr
    verdict = verify(tmp_path / "out.zip")
    assert (verdict.whole, verdict.members) == (True, 3 + 1 + 3)
    assert "annotations/coco/annotations.json" in names(tmp_path / "out.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "drawn", "out.zip"]


def test_with_nothing_named_there_are_originals_and_every_format(project: str, tmp_path: Path) -> None:
    done = run("export", project, "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "completed"
    assert answer["warnings"] == [], "what cannot be produced was not asked for"
    assert {"coco", "yolo", "json"} <= set(answer["options"]["annotationFormats"])
    assert answer["options"]["includeOriginalImages"] is True
    assert (tmp_path / answer["file"]).stat().st_size == answer["fileSize"]
    audit = json.loads(run("audit", answer["id"], "--json").stdout)
    assert [row["to"] for row in audit] == ["pending", "processing", "completed"]


def test_options_reach_the_job(project: str) -> None:
    done = run("export", project, "--no-originals", "--documentation", "--scale", "0.5", "--name", "Mine", "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["options"]["includeOriginalImages"] is False
    assert answer["options"]["includeDocumentation"] is True
    assert answer["options"]["annotationFormats"] == []
    assert answer["options"]["pixelToMicrometerScale"] == 0.5
    assert (answer["projectName"], answer["file"]) == ("Mine", "Mine.zip")


def test_images_are_chosen_by_name_pattern_or_id(project: str, tmp_path: Path) -> None:
    order = ["export", project, "--format", "coco", "--quiet", "-o", "some.zip"]
    assert run(*order, "--image", "nuclei_003.png", "--image", "*_001*").exit_code == 0
    chosen = {name for name in names(tmp_path / "some.zip") if name.startswith("images/")}
    assert chosen == {"images/nuclei_001.png", "images/nuclei_003.png"}
    done = run(*order, "--image", "wound*")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "No image of the project has a name like 'wound*'" in done.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--no-originals", "--format", "coco", "--image", UNKNOWN], 2),
        (["--user", "nobody@example.org"], 1),
        (["--user", "eve@example.org"], 5),
    ],
    ids=["unknown image", "unknown user", "no access"],
)
def test_an_export_that_is_refused(project: str, tmp_path: Path, options: list[str], code: int) -> None:
    run("user", "add", "eve@example.org")
    done = run("export", project, *options)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert not list(tmp_path.glob("*.zip*"))


def test_an_export_of_no_project_is_not_allowed(project: str) -> None:
    assert project != UNKNOWN
    assert run("export", UNKNOWN).exit_code == 5


def test_a_data_directory_that_is_in_use_means_its_daemon(project: str, tmp_path: Path) -> None:
    with DataLock(tmp_path / "data"):
        done = run("export", project)
    assert done.exit_code == 4, "no second process works on it; its daemon is asked, and does not answer here"


def test_a_note_of_a_daemon_that_was_killed_does_not_matter(project: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "daemon.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1}')
    assert run("export", project, "-o", "out.zip", "--format", "coco").exit_code == 0
