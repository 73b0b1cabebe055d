"""Containers that are as they were: what is in them is listed from the collection, and they are not opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from engine.collection.notes import Notes, stamp_of
from engine.encoders.formats import tellers
from engine.encoders.pictures import looks_like_picture
from engine.ingest.catalogue import Catalogue
from engine.ingest.entries import Entry
from engine.ingest.failed import KnownFailures
from engine.storage.containers import Named
from engine.storage.names import path_bytes, path_key
from engine.storage.regular import check_regular, mtime_of


@dataclass(frozen=True)
class AsBefore:
    """What earlier runs know of the containers of a source.

    Attributes:
        source: its name.
        notes: of it.
        catalogue: its items.
        failures: what failed.
    """

    source: str
    notes: Notes
    catalogue: Catalogue
    failures: KnownFailures

    def entries(self, path: str, location: bytes, caption: str | None) -> tuple[Sequence[Entry], int] | None:
        """List what is in a container from what is known of it.

        Args:
            path: the container's text in the source.
            location: its name on this machine.
            caption: the column of captions that was asked for.

        Returns:
            its pictures, and how many other files are in it; None where it has changed, or is not known well enough:
            one of its pictures failed for a reason that may pass, or was removed from the collection.

        Raises:
            OSError: it is not there.
        """
        status = check_regular(location)
        stamp, time = self._stamp(status, caption), mtime_of(status)
        count, ignored = (self.notes.find_earlier(key, stamp) for key in self._keys(path))
        if count is None or ignored is None or self.failures.again:
            return None
        failing = self.failures.below(self.source, path)
        # What is tried again is read with all that is said of it.
        if any(one.readers != self.failures.readers for one in failing):
            return None
        stated: list[tuple[str, int | None, int | None, int | None]] = [*self.catalogue.below(self.source, path)]
        stated += [(one.path, one.size, one.mtime_ns, None) for one in failing]
        if len(stated) != count or any(one_time != time for _, _, one_time, _ in stated):
            return None
        if not self.catalogue.are_looked_into(self.source, path, self.notes.wants):
            return None
        return [self._entry(location, path, *one) for one in stated], ignored

    def note(self, path: str, status: os.stat_result, caption: str | None, entries: int, ignored: int) -> None:
        """Note what was listed of a container that could be read to its end."""
        stamp = self._stamp(status, caption)
        for key, says in zip(self._keys(path), (entries, ignored), strict=True):
            self.notes.note(key, stamp, says)

    def forget(self, path: str) -> None:
        """Let a container be read by the next run: what tables say of its pictures now counts for this one alone."""
        for key in self._keys(path):
            self.notes.note(key, 0, 0)

    def _entry(
        self, location: bytes, holder: str, path: str, size: int | None, time: int | None, key: int | None
    ) -> Entry:
        inside = Named(location + path_bytes(path.removeprefix(holder)), looks_like_picture)
        return Entry(self.source, path, size or 0, time or 0, location=location, inside=inside, kept_key=key)

    def _keys(self, path: str) -> list[int]:
        return [path_key(self.source, f"{path}\0{what}") for what in ("inside", "ignored")]

    def _stamp(self, status: os.stat_result, caption: str | None) -> int:
        return stamp_of(status.st_size, mtime_of(status), tellers(), caption, self.notes.wants)
