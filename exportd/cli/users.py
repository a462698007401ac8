"""Users of a data directory: who is meant, and tokens for them. Blocking; short enough for a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exportd.cli.failures import NOT_ALLOWED, USAGE, Failure

if TYPE_CHECKING:
    from exportd.core.users import User
    from exportd.settings import Settings
    from exportd.store.catalogue import Catalogue
    from exportd.store.embedded import EmbeddedCatalogue

DEMO_USER = "demo@example.org"


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue of the settings, a context manager. Raises what `open_catalogue` does."""
    from exportd.store.catalogue import open_catalogue

    return open_catalogue(settings.database_url, settings.data)


def embedded(settings: Settings) -> EmbeddedCatalogue:
    """The catalogue that exportd itself may write, a context manager. Raises `Failure` where another one is in use."""
    if settings.database_url is not None:
        raise Failure("Projects come from EXPORTD_DATABASE_URL, and exportd never writes there.", USAGE)
    from exportd.store.embedded import EmbeddedCatalogue

    return EmbeddedCatalogue(settings.data)


def sample(settings: Settings, images: int) -> tuple[str, User]:
    """A sample project with that many images, its id and its owner; that of an earlier demo, if there is one."""
    from exportd.store.importers import sample_project
    from exportd.store.sample import TITLE

    with embedded(settings) as writable:
        owner = writable.add_user(DEMO_USER)
        with catalogue(settings) as known:
            for project in known.projects(owner):
                if (project.title, project.images) == (TITLE, images):
                    return project.id, owner
        return sample_project(writable, settings.uploads_directory, owner.email, images).project_id, owner


def choose(settings: Settings, email: str | None, project_id: str | None, job_id: str | None) -> User:
    """The user of that address; else the project's owner, the job's user or the only user.

    Raises `Failure` when there is none, or more than one and nothing tells which.
    """
    with catalogue(settings) as known:
        if email is not None:
            return _by_email(known, email)
        if project_id is not None:
            return _owner(known, project_id)
        if job_id is not None and (user := _submitter(settings, known, job_id)) is not None:
            return user
        users = known.users()
    match users:
        case [only]:
            return only
        case []:
            raise Failure("There are no users yet; `exportd user add EMAIL` or an import makes one.")
        case _:
            raise Failure(f"There are {len(users)} users; say with --user EMAIL who you are.", USAGE)


def _by_email(known: Catalogue, email: str) -> User:
    user = known.user(email=email)
    if user is None:
        raise Failure(f"There is no user {email}; `exportd user add {email}` makes one.")
    return user


def _owner(known: Catalogue, project_id: str) -> User:
    project = known.project(project_id)
    owner = None if project is None else known.user(id=project.owner_id)
    if owner is None:
        raise Failure(
            f"There is no project {project_id} in this catalogue; `exportd projects` lists yours.", NOT_ALLOWED
        )
    return owner


def _submitter(settings: Settings, known: Catalogue, job_id: str) -> User | None:
    """The first row of a job's audit trail names whose it is."""
    from exportd.errors import DataDirectoryUnusable
    from exportd.store.journal import read_audit

    try:
        rows = read_audit(settings.data, job_id)
    except DataDirectoryUnusable:
        return None
    return known.user(id=rows[0].actor) if rows else None


def has_secret(settings: Settings) -> bool:
    """Whether tokens can be made here without making a new secret that no daemon knows."""
    from exportd.tokens import SECRET_NAME

    return settings.jwt_secret is not None or (settings.data / SECRET_NAME).exists()


def token(settings: Settings, user: User, seconds: float) -> str:
    """A bearer token; makes the data directory's secret if there is none."""
    from exportd.tokens import load_secret, make_token

    return make_token(load_secret(settings), settings, user, seconds)
