"""What is exported, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import engine
from tests.query.export.made import pictures, rich


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    with rich(tmp_path_factory.mktemp("exported")) as made:
        yield made


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    with engine.Collection.create(tmp_path_factory.mktemp("empty") / "e.nest", encoder="precomputed", dim=4) as made:
        yield made


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    with engine.Collection.open(pictures(tmp_path_factory.mktemp("pictures")), device="cpu") as made:
        yield made
