"""From what is asked with to vectors: texts, pictures and stored rows, made ready for a search."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder, require_modality
from engine.query.ask import Query
from engine.query.terms import Term
from engine.retrieval.searcher import Searcher
from engine.storage.layout import FileRef
from indexers import checks
from indexers.errors import InvalidInput, ItemNotFound, PictureError
from indexers.threads import new_lock
from indexers.vectors import FloatArray, as_matrix, normalize

# Python refuses to read longer numbers.
MOST_DIGITS = 4000


class Encoders:
    """The encoder of a collection and the heads behind it, each loaded when something has to be encoded.

    Args:
        root: the collection.
        spec: of its encoder, where the user named it.
        device: where queries are encoded.
        loaded: the encoder, if it is loaded already.
    """

    def __init__(self, root: Path, *, spec: str | None, device: str, loaded: Encoder | None) -> None:
        self.spec = spec
        self._root, self._device, self._loaded = root, device, loaded
        self._headed: tuple[FileRef, Encoder] | None = None
        self._lock = new_lock()

    def of(self, snapshot: Snapshot, space: str) -> Encoder:
        """Return the collection's encoder, behind it the heads that lead to a space of a version."""
        if not snapshot.manifest.is_encoded(space):
            return self._of_others(snapshot, space)
        head = snapshot.manifest.space(space).head
        if head is None:
            return self.main(snapshot)
        kept = self._headed
        if kept is None or kept[0] != head:
            from engine.collection.encoder import encoder_for

            kept = self._headed = head, encoder_for(self._root, snapshot.manifest, space, self.main(snapshot))
        return kept[1]

    def _of_others(self, snapshot: Snapshot, space: str) -> Encoder:
        """Return what stands for the encoder of vectors that were handed in, with the heads that lead from there."""
        from engine.collection.encoder import encoder_for, encoder_of

        manifest = snapshot.manifest
        encoder = encoder_of(manifest.space(manifest.root_of(space)), wanted=None, pool=None, device="cpu")
        return encoder_for(self._root, manifest, space, encoder)

    def main(self, snapshot: Snapshot) -> Encoder:
        """Return what encodes pictures that are added."""
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    from engine.collection.encoder import encoder_of

                    space = snapshot.manifest.space()
                    self._loaded = encoder_of(space, wanted=self.spec, pool=None, device=self._device)
        return self._loaded


class Asked(NamedTuple):
    """Queries as a search takes them.

    Attributes:
        xq: real [nq, D], of the space that is searched.
        names: what answers call each.
        own: the rows that each is made of, and that must not answer it; none where it is of no item.
        notes: what is to be said of each; none where nothing is to be said of any.
    """

    xq: FloatArray
    names: Sequence[str | int | None]
    own: Sequence[tuple[int, ...]]
    notes: Sequence[tuple[str, ...]] = ()


def encoded(queries: Sequence[Query], snapshot: Snapshot, searcher: Searcher, encoder: Callable[[], Encoder]) -> Asked:
    """Turn the terms of queries into a vector each: all texts go through the encoder at once.

    Args:
        queries: with at least one term each; or none in any of them, where words are looked for.
        snapshot: the version that is searched.
        searcher: over a space of it.
        encoder: returns what encodes into that space; called only if something has to be encoded.

    Raises:
        ItemNotFound: a term is neither an item nor a file.
        PictureError: a file, or what was given instead of one, is not a picture.
        ModalityError: a text or a picture, and the encoder has no tower for it.
        InvalidInput: a query has no terms, or a text is empty.
        InvalidVectors: a vector of another dimension, or terms that cancel each other out.
    """
    if queries and all(query.words is not None and not query.terms for query in queries):
        return Asked(np.empty((0, searcher.dim), np.float32), [query.name for query in queries], ())
    if bare := [number for number, query in enumerate(queries) if not query.terms]:
        raise InvalidInput(f"query {bare[0]} has no terms: there is nothing to look for")
    terms = [term for query in queries for term in query.terms]
    limits = [query.max_pixels for query in queries for _ in query.terms]
    vectors, rows = _of_terms(terms, limits, snapshot, searcher, encoder)
    names, ends = [query.name for query in queries], np.cumsum([len(query.terms) for query in queries])
    own = [
        tuple(row for row in rows[end - len(q.terms) : end] if row >= 0) for q, end in zip(queries, ends, strict=True)
    ]
    notes = _notes(queries, encoder)
    if all(term.weight == 1 for term in terms) and len(terms) == len(queries):
        return Asked(vectors, names, own, notes)
    weighted = normalize(vectors, name="terms") * np.array([[term.weight] for term in terms], np.float32)
    return Asked(np.add.reduceat(weighted, ends - [len(query.terms) for query in queries]), names, own, notes)


def _notes(queries: Sequence[Query], encoder: Callable[[], Encoder]) -> list[tuple[str, ...]]:
    """Return what is to be said of each query; nothing at all where none has a text."""
    texts = [[str(term.value) for term in query.terms if term.kind == "text"] for query in queries]
    if not any(texts):
        return []
    from engine.query.language import notes_on

    return [tuple(notes_on(some, encoder())) for some in texts]


def _of_terms(
    terms: Sequence[Term],
    limits: Sequence[int],
    snapshot: Snapshot,
    searcher: Searcher,
    encoder: Callable[[], Encoder],
) -> tuple[FloatArray, list[int]]:
    """Return the vector of each term, float32 [n, D], and the row it is of, or −1; `limits` says how many pixels."""
    vectors, rows = np.empty((len(terms), searcher.dim), np.float32), [-1] * len(terms)
    texts = [at for at, term in enumerate(terms) if term.kind == "text"]
    if texts:
        vectors[texts] = text_queries(encoder(), [str(terms[at].value) for at in texts])
    for at, term in enumerate(terms):
        if term.kind == "vector":
            vectors[at] = as_matrix(term.value, name="queries", dim=searcher.dim)
        elif term.kind == "item":
            found = find(snapshot, term.value)  # type: ignore[arg-type]  # it was checked when the term was made
            if found is not None:
                rows[at] = found
                continue
            with _named(str(term.value), at, len(terms)):
                vectors[at] = picture_query(encoder(), str(term.value), max_pixels=limits[at])
        elif term.kind == "picture":
            with _named(None, at, len(terms)):
                vectors[at] = _of_picture(encoder(), term.value, limits[at])  # type: ignore[arg-type]
    stored = [at for at, row in enumerate(rows) if row >= 0]
    vectors[stored] = searcher.vectors([rows[at] for at in stored])
    return vectors, rows


@contextlib.contextmanager
def _named(path: str | None, at: int, terms: int) -> Iterator[None]:
    """Let an error say which of several inputs is no picture: by its path, or else by its number from 1 on."""
    try:
        yield
    except PictureError as error:
        name = f"input {at + 1} of {terms}" if path is None else path
        if terms == 1 or name in str(error):
            raise
        raise PictureError(f"{name}: {error}") from error


def find(snapshot: Snapshot, item: str | int) -> int | None:
    """Return the row number of a stored item by id or path, or None if it is a file to be encoded.

    Raises:
        ItemNotFound: neither an item nor a file.
    """
    if isinstance(item, int):
        return snapshot.find_id(item)
    with contextlib.suppress(ItemNotFound):
        return snapshot.find_path(item, as_written=True)
    with contextlib.suppress(OSError, ValueError):  # too long for a file name, or with a null in it
        from engine.storage.containers import holder_of

        if Path(item).is_file() or holder_of(os.fsencode(item)) is not None:
            return None
    try:
        return snapshot.find_path(item)
    except ItemNotFound as error:
        if item.isdecimal() and len(item) < MOST_DIGITS:
            return snapshot.find_id(int(item))
        is_folder = False
        with contextlib.suppress(OSError, ValueError):
            is_folder = Path(item).is_dir()
        if is_folder:
            raise ItemNotFound(f"{item} is a folder; name a picture in it") from error
        from engine.collection.absent import near_path

        near = near_path(Path(item))
        meant = "a text is looked for by search" if near is None else f"did you mean {near}?"
        raise ItemNotFound(f"{error}, and no such file is there; {meant}") from error


def text_queries(encoder: Encoder, texts: str | Sequence[str]) -> FloatArray:
    """Encode query texts, or one, unit float32 [n, D].

    Raises:
        ModalityError: the encoder has no text tower.
        InvalidInput: a text is empty, or is none.
    """
    texts = checks.one_or_several("texts", texts, lambda _, one: checks.instance("a query", one, str))
    if blank := [number for number, text in enumerate(texts) if not text.strip()]:
        raise InvalidInput(f"query {blank[0]} is empty: there is nothing to look for")
    if wrong := [text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text)]:
        raise InvalidInput(f"query {wrong[0]!r} is not valid Unicode; give it as UTF-8")
    require_modality(encoder, "text")
    return encoder.encode_texts(list(texts))


def picture_query(encoder: Encoder, path: str | os.PathLike[str], *, max_pixels: int) -> FloatArray:
    """Encode one picture, a file or what lies in one that holds pictures, unit float32 [D].

    Raises:
        ModalityError: the encoder takes no pictures.
        PictureError: it cannot be read or decoded.
        InvalidInput: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"a picture is given by the path of its file, one at a time; found {type(path).__name__}")
    from engine.encoders.pictures import looks_like_picture
    from engine.storage.containers import read_original

    require_modality(encoder, "image")
    path, max_pixels = checks.path("path", path), checks.whole("max_pixels", max_pixels, high=checks.MOST_BYTES)
    try:
        data = read_original(os.fsencode(path), looks_like_picture)
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _of_picture(encoder, data, max_pixels)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def _of_picture(encoder: Encoder, data: bytes, max_pixels: int) -> FloatArray:
    """Encode the bytes of a picture file, unit float32 [D]."""
    from engine.encoders.pictures import decode_picture

    require_modality(encoder, "image")
    picture = decode_picture(data, max_pixels=max_pixels, min_side=encoder.image_size)
    vector: FloatArray = encoder.encode_images(encoder.prepare(picture)[None])[0]
    return vector
