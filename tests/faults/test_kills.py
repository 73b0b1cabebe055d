"""Every command is stopped before every step that flushes, names or deletes a file, and leaves a whole version.

Killed, and with the power cut: then nothing has happened that was not flushed. See `shim`. Afterwards the same
command finishes the work, and garbage collection finds what was left behind. Where a step fails with an error
instead, the command says so and fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from engine.collection.commit import exists
from engine.collection.garbage import collect
from indexers.errors import CorruptCollection
from tests.faults.shim import EIO, ENOSPC, KILL, POWER
from tests.faults.states import State, assert_sound, history_of, state_of, strangers
from tests.faults.stories import NAME, STORIES, copied
from tests.faults.zygote import Outcome, Zygote, zygote

KILLED = -9


class Told:
    """A story that was told once without a fault."""

    def __init__(self, name: str, folder: Path, started: Zygote) -> None:
        self.story = STORIES[name]
        self.folder, self._zygote = folder, started
        # Always told in the same place: a source elsewhere would be another source.
        self.place = folder / "place"
        self.place.mkdir()
        self.story.prepare(self.place)
        self.start = state_or_damage(self.place)
        copied(self.place, folder / "start")
        outcome = started.run(self.place / NAME, *self.story.arguments(self.place))
        assert outcome.status == 0, outcome.said
        self.steps = outcome.steps
        self.end = state_of(self.place / NAME)
        self.allowed = [self.start, *(state for state in history_of(self.place / NAME) if state is not None)]

    def failing(self, at: int, how: str) -> tuple[Path, Outcome]:
        """Tell it again, with a fault; return where, and how it ended."""
        folder = copied(self.folder / "start", self.place)
        return folder, self._zygote.run(folder / NAME, *self.story.arguments(folder), at=at, how=how)

    def finish(self, folder: Path) -> None:
        """Run what finishes it, and check that it did."""
        for argv in self.story.repeated(folder):
            self._zygote.run(folder / NAME, *argv)
        assert state_of(folder / NAME) == self.end
        assert_sound(folder / NAME, older=self.story is not STORIES["repair"])
        collect(folder / NAME, older_than=timedelta(0))
        assert strangers(folder / NAME) == set()
        assert state_of(folder / NAME) == self.end

    def check(self, folder: Path) -> None:
        """Check that what a fault left behind is one of the versions there would have been, and whole."""
        found = state_or_damage(folder)
        assert found in self.allowed
        if found is not None:
            assert_sound(folder / NAME, older=self.story is not STORIES["repair"])


def state_or_damage(folder: Path) -> State | None:
    """Return a state; None where there is no collection, or it is damaged as it was before a repair."""
    try:
        return state_of(folder / NAME)
    except CorruptCollection:
        return None


@pytest.fixture(scope="module")
def started() -> Iterator[Zygote]:
    with zygote() as one:
        yield one


@pytest.fixture(scope="module", params=STORIES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, started: Zygote) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp(request.param)
    yield Told(request.param, folder, started)
    shutil.rmtree(folder)


@pytest.mark.parametrize("how", [KILL, POWER])
def test_stopped_at_any_step_it_leaves_a_whole_version_and_goes_on(told: Told, how: str) -> None:
    assert told.steps >= 4  # a version alone: flush it, name it, drop its other name, flush the folder
    for at in range(told.steps):
        folder, outcome = told.failing(at, how)
        assert outcome.status == KILLED, (at, outcome.said)
        told.check(folder)
        if how == KILL:  # what is left after a power cut is checked in the same way, and is no more than that
            told.finish(folder)


def test_a_step_that_fails_is_said_and_leaves_a_whole_version(told: Told) -> None:
    for at in range(told.steps):
        how = (EIO, ENOSPC)[at % 2]
        folder, outcome = told.failing(at, how)
        assert outcome.status in (0, 1), (at, outcome.said)
        if outcome.status:
            text = "no space left on device" if how == ENOSPC else "input/output error"
            assert text in outcome.said.lower(), (at, outcome.said)
            assert "Traceback" not in outcome.said, (at, outcome.said)
        told.check(folder)
        if exists(folder / NAME) and outcome.status == 0:
            assert state_of(folder / NAME) == told.end
