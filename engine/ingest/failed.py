"""What failed in earlier runs: what would fail again is not tried again, and is no news."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property

from engine.collection.failures import Failure, failures_of
from engine.collection.snapshot import Snapshot
from engine.ingest.entries import Entry
from engine.storage.kinds import MOST_FILE_BYTES


@dataclass(frozen=True)
class KnownFailures:
    """The failures of the version a run starts from.

    Attributes:
        failures: by source and path; of a name that is there twice, all of them.
        readers: what reads pictures now.
        again: whether everything is tried again.
    """

    failures: dict[tuple[str, str], list[Failure]] = field(default_factory=dict)
    readers: str = ""
    again: bool = False

    @classmethod
    def of(cls, snapshot: Snapshot, readers: str, *, again: bool) -> KnownFailures:
        """Read those of a version."""
        found: dict[tuple[str, str], list[Failure]] = {}
        if snapshot.manifest.failures is not None:
            snapshot.ensure([snapshot.manifest.failures])
            for failure in failures_of(snapshot.root, snapshot.manifest):
                found.setdefault((failure.source, failure.path), []).append(failure)
        return cls(found, readers, again)

    def failing(self, entry: Entry) -> Failure | None:
        """Return why a picture cannot be indexed, where that is known without opening it."""
        problem = entry.problem
        if problem is None and entry.size > MOST_FILE_BYTES:
            problem = f"of {entry.size} bytes is larger than any picture; at most {MOST_FILE_BYTES} are read"
        if problem is not None and entry.inside is not None:  # it will be so for as long as its container is as it is
            return Failure(entry.source, entry.path, problem, entry.size, entry.mtime_ns, self.readers)
        if problem is not None:
            return Failure(entry.source, entry.path, problem)
        stamp = (entry.size, entry.mtime_ns, self.readers)
        known = [] if self.again else self.failures.get((entry.source, entry.path), [])
        return next((one for one in known if (one.size, one.mtime_ns, one.readers) == stamp), None)

    def of_source(self, source: str) -> list[Failure]:
        """Return those of a source."""
        return self._sorted.get(source, [])

    @cached_property
    def _sorted(self) -> dict[str, list[Failure]]:
        """Those of each source, in the order of their paths."""
        found: dict[str, list[Failure]] = {}
        for (source, _), known in sorted(self.failures.items(), key=lambda one: one[0]):
            found.setdefault(source, []).extend(known)
        return found

    def below(self, source: str, path: str) -> list[Failure]:
        """Return those below a path of a source."""
        own = self.of_source(source)
        first, last = (bisect_left(own, text, key=lambda one: one.path) for text in (f"{path}/", f"{path}0"))
        return own[first:last]

    def failed(self, entry: Entry, reason: str, *, passing: bool) -> Failure:
        """Return a failure of a picture that was tried.

        Args:
            entry: the picture.
            reason: why.
            passing: whether that may pass by itself, so that it must be tried again.
        """
        if passing:
            return Failure(entry.source, entry.path, reason)
        return Failure(entry.source, entry.path, reason, entry.size, entry.mtime_ns, self.readers)

    def is_known(self, failure: Failure) -> bool:
        """Whether an item failed before for the same reason."""
        return any(one.reason == failure.reason for one in self.failures.get((failure.source, failure.path), []))
