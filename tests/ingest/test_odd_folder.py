"""Some hundred odd files in one folder: each becomes what it is, and none stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.failures import failures_of
from tests.helpers import index, needs_bundled
from tests.ingest.odd_folder import FAILS, ITEM, PASSED, make

pytestmark = needs_bundled


def test_each_file_becomes_what_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = make(tmp_path / "odd")
    assert len(expected) >= 500
    summary = index(tmp_path / "c.nest", tmp_path / "odd")
    with Collection.open(tmp_path / "c.nest") as opened:
        snapshot = opened.snapshot
        items = {snapshot.item(int(row)).name for row in snapshot.live.numbers}
        failures = {one.path: one.reason for one in failures_of(snapshot.root, snapshot.manifest)}
    found = {name: ITEM if name in items else FAILS if name in failures else PASSED for name in expected}
    wrong = {name: (expected[name], one, failures.get(name)) for name, one in found.items() if one != expected[name]}
    assert wrong == {}
    assert items <= expected.keys()
    assert all(reason.strip() for reason in failures.values())
    assert summary.added == len(items)
    assert capfd.readouterr().err == ""
    again = index(tmp_path / "c.nest", tmp_path / "odd")
    assert (again.added, again.changed, again.removed, again.encoded) == (0, 0, 0, 0)
