"""exportd: annotated image projects become archives, in background jobs whose cancel is final.

As a library (each name is loaded when it is first used):

    import exportd
    exportd.export("project.json", "nuclei.zip", formats=["coco"])      one call, for scripts and notebooks

    async with exportd.open_service(settings) as service:               in a trio program, beside other tasks
        await exportd.run_export(service, user, project_id, options, target)

    async with exportd.Client(url, token) as client: ...                a daemon that runs elsewhere

The house, by layer; a module imports its own number or lower, never higher:

0  errors, settings       the error tree; one table of settings
1  core                   states, registry, events, dataset, geometry: no I/O, no clock, no trio, no web
2  formats, store         pure generators of archive members; blocking disk and database work
3  jobs                   the only layer that starts job tasks: supervisor, runner, hub, retention, service
4  web, client            HTTP, WebSocket and SSE on top of the service; a client of a running daemon
5  daemon, library        composition roots: service, server, signals; exports from one's own program
6  cli                    commands and exit codes
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exportd.client import Client
    from exportd.core.options import ExportOptions, PolygonColors, VisualizationOptions
    from exportd.core.users import User
    from exportd.errors import ExportdError
    from exportd.jobs.service import Service, open_service
    from exportd.library import Exported, export, run_export
    from exportd.settings import Settings
    from exportd.store.importers import Imported, import_coco, import_project
    from exportd.verifying.archive import Verdict, verify

__version__ = "0.1.0"

__all__ = [
    "Client", "ExportOptions", "ExportdError", "Exported", "Imported", "PolygonColors", "Service", "Settings", "User",
    "Verdict", "VisualizationOptions", "export", "import_coco", "import_project", "open_service", "run_export", "verify",
]  # fmt: skip

_HOMES = {
    "client": ("Client",),
    "core.options": ("ExportOptions", "PolygonColors", "VisualizationOptions"),
    "core.users": ("User",),
    "errors": ("ExportdError",),
    "jobs.service": ("Service", "open_service"),
    "library": ("Exported", "export", "run_export"),
    "settings": ("Settings",),
    "store.importers": ("Imported", "import_coco", "import_project"),
    "verifying.archive": ("Verdict", "verify"),
}
_HOME = {name: f"exportd.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, from where it lives: `import exportd` alone loads nothing of it."""
    if name not in _HOME:
        raise AttributeError(f"module 'exportd' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
