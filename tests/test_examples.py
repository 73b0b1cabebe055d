"""Every public name has an example in its documentation, and what it shows is what happens."""

from __future__ import annotations

import doctest
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from indexers import probing, pruned
from tests.examples import furnish
from tests.helpers import needs_bundled

# Those that show what is compiled, and not on every machine.
COMPILED: dict[str, Callable[[], bool]] = {
    **dict.fromkeys(("Probed", "ProbedIndex"), probing.is_available),
    **dict.fromkeys(("Found", "PrunedIndex"), pruned.is_available),
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make what examples name; return where they run, and a copy of it to begin from again."""
    folder = tmp_path_factory.mktemp("examples")
    work, kept = folder / "work", folder / "kept"
    work.mkdir()
    with _inside(work):
        furnish()
    shutil.copytree(work, kept)
    return work, kept


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with an environment and modules that are put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        variables, modules = dict(os.environ), dict(sys.modules)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(variables)
            sys.modules.update(modules)
            for hidden in [one for one in sys.modules if sys.modules[one] is None and one not in modules]:
                del sys.modules[hidden]


@pytest.mark.parametrize("name", engine.__all__)
def test_it_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(engine, name).__doc__ or "")


@needs_bundled
@pytest.mark.parametrize("name", engine.__all__)
def test_what_it_shows_happens(name: str, made: tuple[Path, Path]) -> None:
    if name in COMPILED and not COMPILED[name]():
        pytest.skip("the compiled searches are not here")
    work, kept = made
    shutil.rmtree(work)
    shutil.copytree(kept, work)
    said: list[str] = []
    with _inside(work):
        for test in doctest.DocTestFinder().find(getattr(engine, name), name, globs={"engine": engine, "np": np}):
            _run(test, said)
    assert not said, "\n".join(said)


def _run(test: doctest.DocTest, said: list[str]) -> None:
    """Run one example, and let go of the collections it opened."""
    names: dict[str, Any] = test.globs
    try:
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
    finally:
        for one in names.values():
            if isinstance(one, engine.Collection | engine.Snapshot):
                one.close()
