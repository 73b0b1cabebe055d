"""A version of a collection: the list of its files and what they mean, as frozen data."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from engine.collection.plans import UNSAID, Blend, Cutoff, PlanEntry, Tuning
from engine.encoders.base import Fingerprint
from engine.storage import layout
from engine.storage.kinds import ALL_METADATA, JPEG
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection, InvalidInput, did_you_mean
from indexers.plan import SearchPlan
from indexers.vectors import IdArray

Tombstone = tuple[str, int]
"""Path of an item shard, and a row in it that is no longer there."""


@dataclass(frozen=True)
class Covering:
    """A derived file and the shards it was derived from, consecutive ones.

    Example:
        >>> covering = engine.Collection.open("vectors.nest").space.vectors
        >>> covering.file.rows, covering.file.path
        (1200, 'spaces/main/vectors/....npy')

    Attributes:
        file: the file.
        shards: how many item shards it covers.
        shards_digest: hash over their names in order, so that a stale file cannot pass.
        first: number of the first of them.
    """

    file: FileRef
    shards: int
    shards_digest: str
    first: int = field(default=0, metadata=UNSAID)

    @property
    def span(self) -> range:
        """Numbers of the shards it covers."""
        return range(self.first, self.first + self.shards)


@dataclass(frozen=True)
class Words:
    """Which words of the items can be looked for, and the file that says where each comes.

    Example:
        >>> words = engine.Collection.open("photos.nest").snapshot.manifest.words
        >>> words.columns, words.covering.file.path, words.covering.file.rows
        ((), 'words/....arrow', 33)

    Attributes:
        columns: whose words; none for the usual ones.
        stem: the language whose stems count instead of words; None for the words.
        rules: by which texts were cut.
        covering: the file and the shards in it, the first ones; None before it is built.
    """

    columns: tuple[str, ...] = ()
    stem: str | None = None
    rules: int = 1
    covering: Covering | None = field(default=None, metadata=UNSAID)

    def bare(self) -> Words:
        """Return what is wanted, without the file."""
        return replace(self, covering=None)


@dataclass(frozen=True)
class IndexEntry:
    """A prefix index.

    Example:
        >>> [str(entry.spec) for entry in engine.Collection.open("vectors.nest").space.indexes]
        ['ivf-pq@16:m=8,nlist=30,rotate=1', 'flat@8']

    Attributes:
        covering: its file and the shards in it.
        spec: the resolved spec it was built with.
    """

    covering: Covering
    spec: IndexSpec


@dataclass(frozen=True)
class Part:
    """Consecutive shards of a space, and what is derived from them.

    Example:
        >>> [part] = engine.Collection.open("vectors.nest").space.parts
        >>> part.vectors.file.rows, [str(entry.spec) for entry in part.indexes]
        (1200, ['ivf-pq@16:m=8,nlist=...,rotate=1', 'flat@8'])

    Attributes:
        vectors: the rerank vectors.
        indexes: prefix indexes.
        pruned: the index that makes exact search fast; None where there are few rows.
    """

    vectors: Covering
    indexes: tuple[IndexEntry, ...] = ()
    pruned: Covering | None = field(default=None, metadata=UNSAID)

    def beside(self) -> Part:
        """Return the part without indexes of other rows than those of its vectors: nobody can search by them."""
        span = self.vectors.span
        indexes = tuple(entry for entry in self.indexes if entry.covering.span == span)
        return Part(self.vectors, indexes, self.pruned if self.pruned and self.pruned.span == span else None)


@dataclass(frozen=True)
class Space:
    """The vectors of one encoder over the collection's items.

    Example:
        >>> space = engine.Collection.open("photos.nest").space
        >>> space.encoder, space.dim, space.dtype, space.base
        ('bundled', 384, 'float16', None)

    Attributes:
        encoder: the spec string it was made with; of a derived space its base and its head.
        fingerprint: what further vectors must match.
        canaries: file with a few inputs and their embeddings; None where there is no encoder.
        dim: full dimension D.
        dtype: how vectors are stored, "float16" or "float32".
        embeddings: shards, row for row beside the version's `items`.
        vectors: the rerank vectors of its first part, which begins with the first shard.
        indexes: prefix indexes of that part.
        plans: default plan first.
        base: name of the space it is derived from; None where an encoder made its vectors.
        head: what it is derived with, applied to the base's stored vectors; None like `base`.
        pruned: the index of the first part that makes exact search fast; None where there are few rows.
        tuning: how the default plan was found; None where the build chose it.
        more: further parts, each of which begins where the one before ends.
        chosen: for how many rows a build chose the indexes by itself; 0 where somebody asked for them, or tuned.
        blend: what words count beside its vectors, where that was tuned.
        cutoff: from where on answers are relevant; None where nobody found out.
    """

    encoder: str
    fingerprint: Fingerprint
    canaries: FileRef | None
    dim: int
    dtype: str
    embeddings: tuple[FileRef, ...] = ()
    vectors: Covering | None = None
    indexes: tuple[IndexEntry, ...] = ()
    plans: tuple[PlanEntry, ...] = ()
    base: str | None = field(default=None, metadata=UNSAID)
    head: FileRef | None = field(default=None, metadata=UNSAID)
    pruned: Covering | None = field(default=None, metadata=UNSAID)
    tuning: Tuning | None = field(default=None, metadata=UNSAID)
    more: tuple[Part, ...] = field(default=(), metadata=UNSAID)
    chosen: int = field(default=0, metadata=UNSAID)
    blend: Blend | None = field(default=None, metadata=UNSAID)
    cutoff: Cutoff | None = field(default=None, metadata=UNSAID)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, and of each only what covers the very rows of its vectors; none where there are no vectors."""
        if self.vectors is None:
            return ()
        return tuple(part.beside() for part in (Part(self.vectors, self.indexes, self.pruned), *self.more))

    @property
    def covered(self) -> int:
        """How many shards the parts cover, the first ones."""
        return sum(part.vectors.shards for part in self.parts)

    @property
    def listed(self) -> list[Space | Part]:
        """What lists the derived files of each part: of the first the space itself."""
        return [self, *self.more]

    @property
    def coverings(self) -> list[Covering]:
        """All that is derived from its shards."""
        return [covering for part in self.listed for covering in coverings_of(part)]

    def bare(self) -> Space:
        """Return the space without what is derived from its shards; plans are left as they are."""
        return replace(self, vectors=None, indexes=(), pruned=None, more=())


def coverings_of(part: Space | Part) -> list[Covering]:
    """Return what is derived of one part."""
    found = [part.vectors, *(entry.covering for entry in part.indexes), part.pruned]
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class SourceTable:
    """A table that captions and columns of a source's items come from, and what its columns are called.

    Example:
        >>> engine.Collection.open("photos.nest").snapshot.manifest.sources[0].tables
        (SourceTable(location='.../captions.csv', name_column=None, caption_column=None, ...),)

    Attributes:
        location: absolute path, as a source's; that of the source itself for columns it has of its own.
        name_column: the column of names; None for the first of the usual ones.
        caption_column: the column of captions; likewise.
        vectors: the column of vectors, or a pattern for numbered ones; None for the first of the usual ones.
        keyed: whether the column of names holds keys, which are kept among the columns as they are.
        spaces: names of further spaces, in order, and the column of vectors of each.
    """

    location: str
    name_column: str | None = None
    caption_column: str | None = None
    vectors: str | None = field(default=None, metadata=UNSAID)
    keyed: bool = field(default=False, metadata=UNSAID)
    spaces: tuple[tuple[str, str], ...] = field(default=(), metadata=UNSAID)


@dataclass(frozen=True)
class Source:
    """Where items came from.

    Example:
        >>> [(one.name, one.kind) for one in engine.Collection.open("photos.nest").snapshot.manifest.sources]
        [('PHOTOS', 'folder')]

    Attributes:
        name: short and unique in the collection; items refer to it.
        kind: "folder", "containers" (a folder of files that hold pictures), "container" (one), "table" (of pictures) or
            "vectors".
        location: absolute path on the machine that indexed it, percent-encoded where not UTF-8.
        tables: what its items are joined to, in the order it was named.
        patterns: lines as in a `.gitignore`, of what in its folder is passed over, or with a `!` is not.
        pairs: which is wanted of the raw file and the developed picture of one shot: "jpeg", "raw" or "both".
        min_size: pixels of the shorter side below which a picture of its folder is passed over.
    """

    name: str
    kind: str
    location: str
    tables: tuple[SourceTable, ...] = field(default=(), metadata=UNSAID)
    patterns: tuple[str, ...] = field(default=(), metadata=UNSAID)
    pairs: str = field(default=JPEG, metadata=UNSAID)
    min_size: int = field(default=0, metadata=UNSAID)

    @property
    def folder(self) -> str | None:
        """What its items' paths are relative to; None where they are names and not paths."""
        if self.kind == "vectors":
            return None
        return posixpath.dirname(self.location) if self.kind in ("table", "container") else self.location


@dataclass(frozen=True)
class Manifest:
    """Everything one version is made of. See `layout` for the files; `default` is the space searched by default.

    `metadata` is what of pictures' EXIF, XMP and IPTC becomes columns, one of `kinds.METADATA`.
    `dead` are the newest tombstones, ascending, before they are many enough for the file `deletes`.

    Example:
        >>> manifest = engine.Collection.open("photos.nest").snapshot.manifest
        >>> manifest.version, manifest.operation, manifest.rows, list(manifest.spaces)
        (5, 'build', 33, ['main'])
    """

    version: int = 0
    created: str = ""
    operation: str = ""
    writer: str = ""
    next_id: int = 0
    sources: tuple[Source, ...] = ()
    items: tuple[FileRef, ...] = ()
    deletes: FileRef | None = None
    failures: FileRef | None = None
    lookup: Covering | None = None
    spaces: dict[str, Space] = field(default_factory=dict)
    default: str = field(default=layout.DEFAULT_SPACE, metadata=UNSAID)
    dead: tuple[Tombstone, ...] = field(default=(), metadata=UNSAID)
    metadata: str = field(default=ALL_METADATA, metadata=UNSAID)
    notes: FileRef | None = field(default=None, metadata=UNSAID)
    words: Words = field(default=Words(), metadata=UNSAID)

    @property
    def dead_rows(self) -> int:
        """How many rows have a tombstone."""
        return (self.deletes.rows if self.deletes else 0) + len(self.dead)

    @property
    def rows(self) -> int:
        """Rows in all item shards, deleted ones included."""
        return sum(shard.rows for shard in self.items)

    @property
    def shard_starts(self) -> IdArray:
        """Row number at which each shard begins, and the total: int64 [shards + 1]."""
        return np.cumsum([0, *(ref.rows for ref in self.items)], dtype=np.int64)

    def rows_in(self, shards: range) -> int:
        """Rows in consecutive item shards, by their numbers."""
        return sum(ref.rows for ref in self.items[shards.start : shards.stop])

    def shards_digest(self, shards: range) -> str:
        """Hash over the names of consecutive item shards, by their numbers."""
        names = "\n".join(ref.path for ref in self.items[shards.start : shards.stop])
        return blake3(names.encode()).hexdigest(length=16)

    @property
    def roots(self) -> list[str]:
        """The spaces that are derived from no other, the main one first: an item has a vector of its own in each."""
        others = (name for name, space in self.spaces.items() if space.base is None and name != layout.DEFAULT_SPACE)
        return [layout.DEFAULT_SPACE, *sorted(others)]

    @property
    def dims(self) -> dict[str, int]:
        """The dimension of each of the `roots`, in their order: what an item's vectors lie one behind the other in."""
        return {name: self.space(name).dim for name in self.roots}

    def root_of(self, name: str) -> str:
        """Return the space that one is derived from in the end; a root is its own."""
        while (base := self.space(name).base) is not None:
            name = base
        return name

    def is_encoded(self, name: str) -> bool:
        """Whether a space is the main one, or derived from it in the end: then what the encoder makes leads there."""
        return self.root_of(name) == layout.DEFAULT_SPACE

    def named_space(self, name: str, root: Path) -> Space:
        """Return a space that somebody named; `root` is the collection, for the error.

        Raises:
            InvalidInput: there is none of that name.
        """
        if name not in self.spaces:
            raise InvalidInput(
                f"{root} has no space {name!r}; it has {', '.join(self.spaces)}{did_you_mean(name, self.spaces)}"
            )
        return self.space(name)

    def space(self, name: str = layout.DEFAULT_SPACE) -> Space:
        """Return a space by name.

        Raises:
            CorruptCollection: there is none.
        """
        if name not in self.spaces:
            raise CorruptCollection(f"version {self.version} has no space {name!r}; found {sorted(self.spaces)}")
        return self.spaces[name]

    def files(self) -> list[FileRef]:
        """Every file the version lists."""
        found: list[FileRef | None] = [*self.items, self.deletes, self.failures, self.notes]
        found += [one.file for one in (self.lookup, self.words.covering) if one]
        for space in self.spaces.values():
            found += [space.canaries, *space.embeddings, space.head, *(one.file for one in space.coverings)]
        return [ref for ref in found if ref is not None]

    def to_json(self) -> str:
        """Write the version as JSON text, with a hash of itself in front."""
        # A reader that did not know of such tombstones would answer with what was removed.
        data = {"format": layout.FORMAT if self.dead else layout.FIRST_FORMAT, **json_of(self)}
        body = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
        return f'{{"blake3":"{blake3(body.encode()).hexdigest()}","body":{body}}}\n'


def json_of(part: Any) -> Any:
    """Return a part of a version as JSON values, the way versions and `--json` write it."""
    if isinstance(part, IndexSpec | SearchPlan):
        return str(part)
    if isinstance(part, Fingerprint):
        return part.to_json()
    if type(part) is FileRef:
        return vars(part)  # as below, and there are thousands of them
    if is_dataclass(part):
        told = [(one, getattr(part, one.name)) for one in fields(part)]
        told = [(one, value) for one, value in told if one.metadata != UNSAID or value != one.default]
        return {one.name: json_of(value) for one, value in told}
    if isinstance(part, dict):
        return {name: json_of(value) for name, value in part.items()}
    if isinstance(part, tuple):
        return [json_of(value) for value in part]
    return part
