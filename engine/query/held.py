"""One version of a collection, held open, and how it moves on to the next."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from engine.collection.commit import current_version
from engine.collection.manifest import Space
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.query.encode import Encoders, picture_query, text_queries
from engine.retrieval.searcher import Searcher
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import printable
from indexers import checks
from indexers.errors import CollectionError, InvalidInput, NestvecError
from indexers.mask import Mask
from indexers.threads import new_lock
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from engine.query.feedback import Spread
    from engine.query.keywords import Keywords
    from engine.query.where.kept import Filters
    from engine.query.where.tree import Filter

SEARCH_DEVICES = ("cpu", "cuda")


class Held:
    """A version that is open, with what searches it and what encodes for it; the arguments are those of `Reader`."""

    def __init__(
        self,
        root: str | Path,
        *,
        device: str = "auto",
        space: str | None = None,
        encoder: Encoder | str | None = None,
        search_device: str = "cpu",
        gpu_memory: int | None = None,
        version: int | None = None,
    ) -> None:
        self.root = checks.path("path", root)
        self._search_device = checks.one_of("search_device", search_device, SEARCH_DEVICES)
        self._gpu_memory = checks.optional("gpu_memory", gpu_memory, checks.room)
        self._device = checks.one_of("device", device, checks.DEVICES)
        self._wanted = checks.optional("space", space, checks.text)
        spec = None if isinstance(encoder, Encoder) else checks.optional("encoder", encoder, checks.text)
        loaded = encoder if isinstance(encoder, Encoder) else None
        self._encoders = Encoders(self.root, spec=spec, device=self._device, loaded=loaded)
        self._lock = new_lock()
        self._filters: Filters | None = None
        self._keywords: Keywords | None = None
        self._older: Any = None
        self._spread: tuple[int, str, Spread] | None = None
        self._state: tuple[Snapshot, Searcher | None] = (self._opened(version), None)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        space: str | None = None,
        search_device: str = "cpu",
        gpu_memory: int | None = None,
        encoder: str | None = None,
        version: int | None = None,
    ) -> Self:
        """Open a version of the collection in a directory: the arguments are those of the class.

        An encoder with files of yours has to be named once on a machine: what a collection says of them is not enough.

        Raises:
            NotACollection: there is none there.
            CorruptCollection: the version is damaged, or not there.
            InvalidInput: it has no such space, or there is no such device.
        """
        how: dict[str, Any] = {"search_device": search_device, "gpu_memory": gpu_memory}
        return cls(path, device=device, space=space, encoder=encoder, version=version, **how)

    def __reduce__(self) -> Any:
        how = {
            **{"device": self._device, "space": self._wanted, "search_device": self._search_device},
            **{"gpu_memory": self._gpu_memory, "encoder": self._encoders.spec, "version": self.version},
        }
        return _opened_again, (type(self), os.path.abspath(self.root), how)

    def __repr__(self) -> str:
        space, plans = self.space, self.space.plans
        try:
            items = f"{len(self):,} items"
        except NestvecError:  # whoever looks at it wants no error
            items = "damaged"
        told = f"{items}, version {self.version}, space {self.space_name!r} of {space.dim} dimensions"
        by = space.encoder if space.base is None else f"a head on {space.base!r}"
        plan = f", {plans[0].plan}" if plans else ""
        return printable(f"<{type(self).__name__} {str(self.root)!r}: {told} by {by}{plan}>")

    def close(self) -> None:
        """Let the version go, and that of pages it has opened beside."""
        self._state[0].close()
        if self._older is not None:
            self._older.close()

    def _opened_beside(self, version: int) -> Self:
        """Open another version, with the encoder of this one."""
        other = type(self)(
            self.root,
            device=self._device,
            space=self._wanted or self.space_name,
            search_device=self._search_device,
            gpu_memory=self._gpu_memory,
            version=version,
        )
        other._encoders = self._encoders
        return other

    def _of_cursor(self, after: str, snapshot: Snapshot) -> Self | None:
        """Return a reader of the version that a page is of, kept for the next; None where that is a snapshot's.

        Raises:
            InvalidInput: it is no cursor, or its version is gone.
        """
        from engine.collection.history import numbers
        from engine.query.cursor import Cursor

        version = Cursor.parse(after).version
        if version == snapshot.manifest.version:
            return None
        with self._lock:
            if self._older is None or self._older.version != version:
                if version not in numbers(self.root):
                    raise InvalidInput(f"the pages are of version {version} of {self.root}, which is gone: begin again")
                self._older = self._opened_beside(version)
            older: Self = self._older
            return older

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.snapshot.live_rows

    @property
    def snapshot(self) -> Snapshot:
        """The version that is open."""
        return self._state[0]

    @property
    def version(self) -> int:
        """Its number."""
        return self.snapshot.manifest.version

    @property
    def space_name(self) -> str:
        """The space that is searched."""
        return self._name(self.snapshot)

    @property
    def space(self) -> Space:
        """Encoder, dimension, indexes and plans of the vectors that are searched."""
        return self.snapshot.manifest.space(self.space_name)

    @property
    def encoder(self) -> Encoder:
        """What encodes queries into the space that is searched, loaded the first time."""
        return self._encoders.of(self.snapshot, self.space_name)

    def encode_texts(self, texts: str | Sequence[str]) -> FloatArray:
        """Encode query texts, or one, into the space that is searched, unit float32 [n, D].

        Raises:
            ModalityError: the encoder has no text tower.
            InvalidInput: a text is empty, or is none.
        """
        return text_queries(self.encoder, texts)

    def encode_picture(self, path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FloatArray:
        """Encode one picture file into the space that is searched, unit float32 [D].

        Raises:
            ModalityError: the encoder takes no pictures.
            PictureError: it cannot be read or decoded.
            InvalidInput: it is no path.
        """
        return picture_query(self.encoder, path, max_pixels=max_pixels)

    def _name(self, snapshot: Snapshot) -> str:
        return self._wanted or snapshot.manifest.default

    @property
    def searcher(self) -> Searcher:
        """Search by row numbers, below ids and items."""
        return self._pair()[1]

    def _pair(self) -> tuple[Snapshot, Searcher]:
        """Return the open version and its searcher, which always belong together."""
        snapshot, searcher = self._state
        if snapshot.is_closed:
            raise CollectionError(f"this reader of {self.root} is closed: open the collection again")
        if searcher is None:
            with self._lock:
                snapshot, searcher = self._state
                if searcher is None:
                    searcher = self._searcher_of(snapshot)
                    self._state = (snapshot, searcher)
        return snapshot, searcher

    def _mask(self, snapshot: Snapshot, where: Filter | None) -> Mask | None:
        """Return which rows a filter lets through; None where there is none."""
        return None if where is None else self._filters_of(snapshot).mask(where)

    def _words_of(self, snapshot: Snapshot) -> Keywords:
        """Return what is known of the words of a version."""
        from engine.query.keywords import Keywords

        keywords = self._keywords
        if keywords is None or keywords.version != snapshot.manifest.version:
            keywords = self._keywords = Keywords(snapshot, keywords)
        return keywords

    def _filters_of(self, snapshot: Snapshot) -> Filters:
        """Return what is known of filters and columns of a version."""
        from engine.query.where.kept import Filters

        filters = self._filters
        if filters is None or filters.version != snapshot.manifest.version:
            filters = self._filters = Filters(snapshot)
        return filters

    def _spread_of(self, snapshot: Snapshot, searcher: Searcher) -> Spread:
        """Return how the vectors of a version's space differ, kept for the next time."""
        from engine.query.feedback import spread_of

        number, kept = snapshot.manifest.version, self._spread
        if kept is None or kept[:2] != (number, searcher.space):
            kept = self._spread = number, searcher.space, spread_of(searcher, snapshot.root)
        return kept[2]

    def refresh(self) -> bool:
        """Move to the newest version; answers already given keep theirs.

        Other threads go on searching the older version until the newer one is ready, and keep it for as long as a
        search of theirs takes. Where several refresh at once, one of them does it.

        Returns:
            whether it has moved; not if another thread has done so meanwhile.

        Raises:
            InvalidInput: it has no longer the space this was opened with; the older one stays open.
        """
        if current_version(self.root) == self.version:
            return False
        with self._lock:
            before, searcher = self._state
            if current_version(self.root) == before.manifest.version:
                return False
            newest = self._opened()
            self._state = (newest, None if searcher is None else self._ready(newest))
        return True

    def _ready(self, snapshot: Snapshot) -> Searcher | None:
        """Open what a search by the default plan needs, so that none has to wait for it; None to leave it to the first.

        What is held on a GPU may not fit there twice. What is damaged is told to whoever searches, and not to
        somebody who only removes an item.
        """
        if self._search_device != "cpu":
            return None
        with contextlib.suppress(NestvecError):
            searcher = self._searcher_of(snapshot)
            searcher.warm()
            return searcher
        return None

    def _searcher_of(self, snapshot: Snapshot) -> Searcher:
        return Searcher(snapshot, self._name(snapshot), device=self._search_device, gpu_memory=self._gpu_memory)

    def _opened(self, version: int | None = None) -> Snapshot:
        snapshot = Snapshot.open(self.root, version)
        try:
            snapshot.manifest.named_space(self._name(snapshot), self.root)
        except NestvecError:
            snapshot.close()
            raise
        return snapshot


def _opened_again(kind: type[Held], root: str, how: dict[str, Any]) -> Held:
    """Open what was copied or pickled."""
    return kind(root, **how)
