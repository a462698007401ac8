"""The catalogue that exportd itself writes: users, shares, projects, and what happens when several write at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from catalogues import OTHER, PROJECT, image, three

from exportd.core.users import Access, User
from exportd.errors import DataDirectoryUnusable, ImportFailed, NotFound, SettingsError
from exportd.store.catalogue import Catalogue, open_catalogue
from exportd.store.embedded import EmbeddedCatalogue, NewImage, ShareStatus
from exportd.store.engines import FILE_NAME


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedCatalogue]:
    with EmbeddedCatalogue(tmp_path) as embedded:
        yield embedded


@pytest.fixture
def owner(embedded: EmbeddedCatalogue) -> User:
    return embedded.insert(PROJECT, "Title", "spheroid", "owner@example.org", three())


@pytest.fixture
def catalogue(tmp_path: Path, owner: User) -> Iterator[Catalogue]:
    with open_catalogue(None, tmp_path) as catalogue:
        yield catalogue


def test_a_share_that_makes_no_sense_is_refused(embedded: EmbeddedCatalogue, owner: User) -> None:
    with pytest.raises(NotFound):
        embedded.share(OTHER, "friend@example.org", ShareStatus.ACCEPTED)
    with pytest.raises(NotFound):
        embedded.share(PROJECT, "friend@example.org", ShareStatus.REVOKED)
    with pytest.raises(SettingsError, match="owns"):
        embedded.share(PROJECT, "owner@example.org", ShareStatus.ACCEPTED)


def test_a_refused_share_makes_no_user(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    with pytest.raises(NotFound):
        embedded.share(PROJECT, "friend@example.org", ShareStatus.REVOKED)
    assert catalogue.users() == [owner]


def test_a_user_is_added_once_whatever_the_case(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    alice = embedded.add_user(" Ålice@example.org ")
    assert embedded.add_user("åLICE@EXAMPLE.ORG") == alice
    assert alice.email == "Ålice@example.org"
    assert catalogue.users() == [owner, alice]
    assert catalogue.user(email="ÅLICE@example.org") == catalogue.user(id=alice.id) == alice
    assert catalogue.user(id=alice.id, email=owner.email) is None
    with pytest.raises(TypeError):
        catalogue.user()


@pytest.mark.parametrize("email", ["", "alice", "@", "a@", "@b", "a b@c.d", "a@b@c", "a\n@b.c", "a" * 250 + "@b.cz"])
def test_what_cannot_be_an_address_is_refused(embedded: EmbeddedCatalogue, email: str) -> None:
    with pytest.raises(SettingsError, match="e-mail"):
        embedded.add_user(email)


def test_simultaneous_additions_give_one_user(embedded: EmbeddedCatalogue) -> None:
    start = threading.Barrier(8)

    def add(_: int) -> User:
        start.wait()
        return embedded.add_user("alice@example.org")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(add, range(8)))) == 1


def test_reading_goes_on_while_something_is_written(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    def slowly() -> Iterator[NewImage]:
        yield image(10)
        assert catalogue.project(OTHER) is None, "nothing shows before all of it is there"
        assert catalogue.access(owner, PROJECT) is Access.OWNER

    embedded.insert(OTHER, "T", "x", owner.email, slowly())
    assert catalogue.project(OTHER) is not None


def test_it_can_be_opened_while_an_import_holds_the_lock(
    tmp_path: Path, embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    def slowly() -> Iterator[NewImage]:
        with open_catalogue(None, tmp_path) as another:
            assert another.users() == [owner]
        yield image(10)

    embedded.insert(OTHER, "T", "x", owner.email, slowly())


def test_many_that_open_a_new_one_at_once_all_can(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def add(number: int) -> str:
        start.wait()
        with EmbeddedCatalogue(tmp_path / "new") as embedded:
            return embedded.add_user(f"{number}@example.org").id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(add, range(8)))) == 8


def test_an_insertion_is_all_or_nothing(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    with pytest.raises(ImportFailed):
        embedded.insert(OTHER, "T", "x", "new@example.org", [image(10), image(0)])
    assert catalogue.project(OTHER) is None
    assert not embedded.has_image("i10")
    assert catalogue.users() == [owner]


def test_a_broken_embedded_catalogue_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(DataDirectoryUnusable, match="restore it"):
        open_catalogue(None, tmp_path)
