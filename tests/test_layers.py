"""The house keeps its layers (a module imports its own number or lower, never higher), its core does no I/O, and few may
open a nursery."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "exportd"
LAYERS = {
    0: {"errors", "settings", "logs", "masking", "memory", "__init__"},
    1: {"core", "tokens"},
    2: {"formats", "store", "verifying"},
    3: {"jobs"},
    4: {"web", "client"},
    5: {"daemon", "library"},
    6: {"cli", "__main__"},
}
STRANGERS = [
    ("formats", "store"),
    ("store", "formats"),
    ("verifying", "formats"),
    ("formats", "verifying"),
    ("web", "client"),
    ("client", "web"),
    ("client", "jobs"),
]
NOT_IN_CORE = {
    "trio", "quart", "quart_trio", "hypercorn", "httpx", "sqlite3", "sqlalchemy", "socket", "subprocess", "pathlib",
    "os", "shutil", "tempfile", "time", "io",
}  # fmt: skip
MAY_OPEN_NURSERIES = ("jobs/", "daemon.py", "web/server.py", "client.py", "cli/", "web/feed.py", "web/socketio/")
"""Whoever else opens one has tasks that nobody answers for. The feed's lives in one connection, those of
Socket.IO in one and in the daemon; no job is ever in them."""
NURSERIES = {"open_nursery", "add_background_task", "spawn_system_task"}
MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


def layer(room: str) -> int:
    """The number of a room; a room that is not in the table has no place in the house."""
    return next(number for number, rooms in LAYERS.items() if room in rooms)


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it the statement stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":  # the front door names what is inside for type checkers, and loads none of it
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, or this test does not see them"
            yield node.module or ""
            if node.module == "exportd":
                yield from (f"exportd.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@each_module
def test_a_module_imports_its_own_layer_or_lower(path: Path) -> None:
    mine = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imports(path):
        package, *rest = module.split(".")
        if package == "exportd":
            theirs = rest[0] if rest else "__init__"
            assert layer(theirs) <= layer(mine), f"{mine} must not import {module}"
            assert (mine, theirs) not in STRANGERS, f"{mine} must not know {module}"
        elif mine == "core":
            assert package not in NOT_IN_CORE, f"the core does no I/O: {module}"


@each_module
def test_only_owners_of_tasks_open_nurseries(path: Path) -> None:
    if not path.relative_to(PACKAGE).as_posix().startswith(MAY_OPEN_NURSERIES):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        named |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert not named & NURSERIES, "tasks belong to the supervisor and the daemon (STYLE §4)"


def test_the_house_is_not_empty() -> None:
    assert len(MODULES) > 20  # else the tests above hold of nothing
