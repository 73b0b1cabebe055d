"""One version of a collection, held open: what is read, searched and encoded with, and how it moves on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from engine.collection.changes import require_space
from engine.collection.commit import current_version
from engine.collection.manifest import Space
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import encoder_for, encoder_of
from engine.encoders.base import Encoder
from engine.encoders.pictures import DEFAULT_MAX_PIXELS
from engine.query.answers import find
from engine.query.encode import picture_query, text_queries
from engine.retrieval.searcher import Searcher
from engine.storage.layout import FileRef
from indexers import checks
from indexers.errors import NestvecError
from indexers.threads import new_lock
from indexers.vectors import FloatArray

SEARCH_DEVICES = ("cpu", "cuda")


class Opened:
    """The newest version of a collection and the space of it that is searched; `api.Collection` does things with it.

    Args:
        root: the collection.
        device: where queries are encoded.
        space: the space to search; the version's default if None.
        encoder: the collection's, if it is loaded already; or its spec, where the user names it.
        search_device: where to search, "cpu" or "cuda".
        gpu_memory: bytes of a GPU that searching may use; most of what is free if None.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        device: str = "auto",
        space: str | None = None,
        encoder: Encoder | str | None = None,
        search_device: str = "cpu",
        gpu_memory: int | None = None,
    ) -> None:
        self.root = checks.path("path", root)
        self._search_device = checks.one_of("search_device", search_device, SEARCH_DEVICES)
        self._gpu_memory = checks.optional("gpu_memory", gpu_memory, checks.room)
        self._device = checks.one_of("device", device, checks.DEVICES)
        self._wanted = checks.optional("space", space, checks.text)
        self._encoder = encoder if isinstance(encoder, Encoder) else None
        self._spec = None if self._encoder is not None else checks.optional("encoder", encoder, checks.text)
        self._headed: tuple[FileRef, Encoder] | None = None
        self._lock = new_lock()
        self._state: tuple[Snapshot, Searcher | None] = (self._newest(), None)

    def close(self) -> None:
        """Let the version go."""
        self._state[0].close()

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
        return self._encoder_for(self.snapshot, self.space_name)

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

    def _resolve(self, item: str | Path | int, snapshot: Snapshot, searcher: Searcher) -> tuple[int | None, FloatArray]:
        """Return the row number of a stored item, or None, and its vector."""
        position = find(snapshot, item)
        if position is not None:
            return position, searcher.vectors(np.array([position]))[0]
        encoder = self._encoder_for(snapshot, searcher.space)
        return None, picture_query(encoder, str(item), max_pixels=DEFAULT_MAX_PIXELS)

    def _name(self, snapshot: Snapshot) -> str:
        return self._wanted or snapshot.manifest.default

    def _encoder_for(self, snapshot: Snapshot, space: str) -> Encoder:
        """Return the collection's encoder, behind it the heads that lead to a space of a version."""
        head = snapshot.manifest.space(space).head
        if head is None:
            return self._main()
        kept = self._headed
        if kept is None or kept[0] != head:
            kept = self._headed = head, encoder_for(self.root, snapshot.manifest, space, self._main())
        return kept[1]

    def _main(self) -> Encoder:
        """Return what encodes pictures that are added, loaded the first time."""
        if self._encoder is None:
            with self._lock:
                if self._encoder is None:
                    main = self.snapshot.manifest.space()
                    self._encoder = encoder_of(main, wanted=self._spec, pool=None, device=self._device)
        return self._encoder

    @property
    def searcher(self) -> Searcher:
        """Search by row numbers, below ids and items."""
        return self._pair()[1]

    def _pair(self) -> tuple[Snapshot, Searcher]:
        """Return the open version and its searcher, which always belong together."""
        snapshot, searcher = self._state
        if searcher is None:
            with self._lock:
                snapshot, searcher = self._state
                if searcher is None:
                    searcher = self._searcher_of(snapshot)
                    self._state = (snapshot, searcher)
        return snapshot, searcher

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
            newest = self._newest()
            self._state = (newest, None if searcher is None else self._ready(newest))
        return True

    def _ready(self, snapshot: Snapshot) -> Searcher | None:
        """Open what a search by the default plan needs, so that none has to wait for it; None to leave it to the first.

        What is held on a GPU may not fit there twice. What is damaged is told to whoever searches, and not to
        somebody who only removes an item.
        """
        if self._search_device != "cpu":
            return None
        try:
            searcher = self._searcher_of(snapshot)
            usual = searcher.routes.usual.index
            for segment in searcher.segments:
                if usual in segment.specs:
                    segment.coarse(usual)
        except NestvecError:
            return None
        return searcher

    def _searcher_of(self, snapshot: Snapshot) -> Searcher:
        return Searcher(snapshot, self._name(snapshot), device=self._search_device, gpu_memory=self._gpu_memory)

    def _newest(self) -> Snapshot:
        snapshot = Snapshot.open(self.root)
        try:
            require_space(self.root, snapshot.manifest, self._name(snapshot))
        except NestvecError:
            snapshot.close()
            raise
        return snapshot
