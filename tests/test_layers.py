"""The house keeps its layers: a module imports its own number or lower, never higher."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "exportd"
LAYERS = {
    0: {"errors", "settings", "logs", "__init__"},
    1: {"core", "tokens"},
    2: {"formats", "store"},
    3: {"jobs"},
    4: {"web", "client"},
    5: {"daemon"},
    6: {"cli", "__main__"},
}
STRANGERS = [("formats", "store"), ("store", "formats"), ("web", "client"), ("client", "web"), ("client", "jobs")]
NOT_IN_CORE = {"trio", "quart", "hypercorn", "sqlite3", "sqlalchemy", "socket", "subprocess", "pathlib", "os", "time", "io"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def layer(room: str) -> int:
    return next(number for number, rooms in LAYERS.items() if room in rooms)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "exportd":
                yield from (f"exportd.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_its_own_layer_or_lower(path: Path) -> None:
    mine = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imports(path):
        if module.startswith("exportd"):
            theirs = room(module)
            assert layer(theirs) <= layer(mine), f"{mine} must not import {module}"
            assert (mine, theirs) not in STRANGERS, f"{mine} must not know {module}"
        elif mine == "core":
            assert module.split(".")[0] not in NOT_IN_CORE, f"the core does no I/O: {module}"
