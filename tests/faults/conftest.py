"""Attacks on the file of tombstones need one: a version that holds them itself has none before there are many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def tombstones_in_a_file() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.collection.tombstones.MOST_DEAD", 0)
        yield
