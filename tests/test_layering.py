"""Imports go one way, nothing heavy is imported before it is needed, and no file grows too long."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from engine.api import Collection
from tests.helpers import clustered

ROOT = Path(__file__).parents[1]
CODE = sorted(path for folder in ("engine", "indexers") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# From the top down: a module imports only from its own layer and from those below.
LAYERS = (
    ("engine.cli",),
    ("engine.api", "engine.doctor", "engine.tuned"),
    ("engine.jobs", "engine.evaluation"),
    ("engine.planning", "engine.query"),
    ("engine.ingest", "engine.retrieval"),
    ("engine.collection",),
    ("engine.encoders",),
    ("engine.heads", "engine.storage", "engine.progress"),
    ("indexers",),
)
# Two wings: what answers questions knows nothing of what changes a collection. Who never imports whom:
NEVER = (
    (("engine.retrieval", "engine.query"), ("engine.jobs", "engine.ingest", "engine.planning")),
    (("engine.planning", "engine.evaluation"), ("engine.jobs", "engine.ingest")),
    (("engine.ingest",), ("engine.retrieval",)),
)
# Packages that only one folder knows, and what is not there yet.
KEPT_IN = {
    **dict.fromkeys(("ray",), "engine.distributed"),
    **dict.fromkeys(("starlette", "uvicorn", "mcp"), "engine.server"),
    **dict.fromkeys(("obstore", "fsspec"), "engine.storage"),
}
HEAVY = {"torch", "open_clip", "timm", "torchvision", "matplotlib"}
# `import engine` gives the API on request: the one import that goes up, and only when asked.
LAZY = {"engine"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def layer_of(module: str) -> int | None:
    return next((number for number, names in enumerate(LAYERS) if is_in(module, names)), None)


def imports(path: Path, *, top_level: bool) -> Iterator[str]:
    """Yield what a module imports, everywhere or only where the import runs with the module itself."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))


MODULES = {name_of(path) for path in CODE}


def module_in(imported: str) -> str | None:
    """Return the module of ours that an import of this name loads."""
    if imported in MODULES:
        return imported
    parent = imported.rpartition(".")[0]
    return parent if parent in MODULES else None


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    own = name_of(path)
    if own in LAZY:
        return
    layer = layer_of(own)
    assert layer is not None, f"{own} belongs to no layer"
    for imported in imports(path, top_level=False):
        theirs = layer_of(imported)
        assert theirs is None or theirs >= layer, f"{own} imports {imported}, which lies above it"
        assert not imported.startswith(("scripts", "tests")), f"{own} imports {imported}"
        for readers, writers in NEVER:
            assert not (is_in(own, readers) and is_in(imported, writers)), f"{own} imports {imported}"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_packages_stay_in_their_folders(path: Path) -> None:
    for imported in imports(path, top_level=False):
        home = KEPT_IN.get(imported.partition(".")[0])
        assert home is None or is_in(name_of(path), (home,)), f"{path} imports {imported}, which is for {home}"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_what_is_heavy_is_imported_only_where_it_is_used(path: Path) -> None:
    assert not {one.partition(".")[0] for one in imports(path, top_level=True)} & HEAVY


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        name_of(path): {module for one in imports(path, top_level=True) if (module := module_in(one)) is not None}
        for path in CODE
    }
    done: set[str] = set()

    def walk(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above, module))
        if module not in done:
            for other in sorted(graph[module]):
                walk(other, (*above, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=name_of)
def test_no_file_and_no_function_grows_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path in CODE:
        assert text.count("\n") < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_the_tests_mirror_the_code() -> None:
    inside = [path.relative_to(ROOT) for path in CODE]
    packages = {one.parts[1] for one in inside if one.parts[0] == "engine" and len(one.parts) > 2} | {"indexers"}
    below = [path.relative_to(ROOT / "tests").parts for path in TESTS if path.name.startswith("test_")]
    tested = {parts[0] for parts in below if len(parts) > 1}
    extra = {"contract", "property", "format", "faults", "end_to_end", "scripts", "golden"}
    assert tested - packages <= extra
    assert packages - tested == set()


def test_nobody_prints_but_scripts_and_the_command() -> None:
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), path


def test_opening_and_searching_takes_few_modules(tmp_path: Path) -> None:
    """What only writes, encodes, explains or needs a GPU is imported where that is done."""
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as made:
        made.add_vectors(clustered(300, 8))
        made.build(["flat@4", "ivf-pq@8"])
    code = f"""
import sys
from engine.query.reader import Reader
with Reader.open({str(tmp_path / "c.nest")!r}) as reader:
    reader.search([1.0] * 8, 3, plan="ivf-pq@8 | 20@8").items
    reader.similar(3, 3, exact=True).uris
own = [one for one in sys.modules.values() if one.__name__.partition(".")[0] in ("engine", "indexers")]
print(*(one.__name__ for one in own if not hasattr(one, "__path__")))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    compiled = {name for name in found if name.startswith("indexers.kernels.")}
    assert len(found) - len(compiled) <= 57
    assert not [name for name in found if is_in(name, ("engine.jobs", "engine.ingest", "engine.planning"))]
