"""A version of a collection: the list of its files and what they mean, as frozen data."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
from blake3 import blake3

from engine.collection.plans import PlanEntry, Tuning
from engine.encoders.base import Fingerprint
from engine.storage import layout
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection
from indexers.plan import SearchPlan
from indexers.vectors import IdArray


@dataclass(frozen=True)
class Covering:
    """A derived file and the shards it was derived from: always the first `shards` of the version.

    Attributes:
        file: the file.
        shards: how many item shards it covers.
        shards_digest: hash over their names in order, so that a stale file cannot pass.
    """

    file: FileRef
    shards: int
    shards_digest: str


@dataclass(frozen=True)
class IndexEntry:
    """A prefix index.

    Attributes:
        covering: its file and the shards in it.
        spec: the resolved spec it was built with.
    """

    covering: Covering
    spec: IndexSpec


@dataclass(frozen=True)
class Space:
    """The vectors of one encoder over the collection's items.

    Attributes:
        encoder: the spec string it was made with; of a derived space its base and its head.
        fingerprint: what further vectors must match.
        canaries: file with a few inputs and their embeddings; None where there is no encoder.
        dim: full dimension D.
        dtype: how vectors are stored, "float16" or "float32".
        embeddings: shards, row for row beside the version's `items`.
        vectors: the rerank vectors.
        indexes: prefix indexes.
        plans: default plan first.
        base: name of the space it is derived from; None where an encoder made its vectors.
        head: what it is derived with, applied to the base's stored vectors; None like `base`.
        pruned: the index that makes exact search fast; None where there are few rows.
        tuning: how the default plan was found; None where the build chose it.
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
    base: str | None = None
    head: FileRef | None = None
    pruned: Covering | None = None
    tuning: Tuning | None = None

    def bare(self) -> Space:
        """Return the space without what is derived from its shards; plans are left as they are."""
        return replace(self, vectors=None, indexes=(), pruned=None)


@dataclass(frozen=True)
class SourceTable:
    """A table that captions and columns of a source's items come from, and what its columns are called.

    Attributes:
        location: absolute path, as a source's; that of the source itself for columns it has of its own.
        name_column: the column of names; None for the first of the usual ones.
        caption_column: the column of captions; likewise.
    """

    location: str
    name_column: str | None = None
    caption_column: str | None = None


@dataclass(frozen=True)
class Source:
    """Where items came from.

    Attributes:
        name: short and unique in the collection; items refer to it.
        kind: "folder", "table" (of pictures) or "vectors".
        location: absolute path on the machine that indexed it, percent-encoded where not UTF-8.
        tables: what its items are joined to, in the order it was named.
    """

    name: str
    kind: str
    location: str
    tables: tuple[SourceTable, ...] = ()

    @property
    def folder(self) -> str | None:
        """What its items' paths are relative to; None where they are names and not paths."""
        if self.kind == "vectors":
            return None
        return posixpath.dirname(self.location) if self.kind == "table" else self.location


@dataclass(frozen=True)
class Manifest:
    """Everything one version is made of. See `layout` for the files; `default` is the space searched by default."""

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
    default: str = layout.DEFAULT_SPACE

    @property
    def rows(self) -> int:
        """Rows in all item shards, deleted ones included."""
        return sum(shard.rows for shard in self.items)

    @property
    def shard_starts(self) -> IdArray:
        """Row number at which each shard begins, and the total: int64 [shards + 1]."""
        return np.cumsum([0, *(ref.rows for ref in self.items)], dtype=np.int64)

    def rows_in(self, shards: int) -> int:
        """Rows in the first `shards` item shards."""
        return sum(shard.rows for shard in self.items[:shards])

    def shards_digest(self, shards: int) -> str:
        """Hash over the names of the first `shards` item shards."""
        return blake3("\n".join(ref.path for ref in self.items[:shards]).encode()).hexdigest(length=16)

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
        found: list[FileRef | None] = [*self.items, self.deletes, self.failures]
        found.append(self.lookup.file if self.lookup else None)
        for space in self.spaces.values():
            found += [space.canaries, *space.embeddings, space.vectors.file if space.vectors else None]
            found += [*(entry.covering.file for entry in space.indexes), space.head]
            found.append(space.pruned.file if space.pruned else None)
        return [ref for ref in found if ref is not None]

    def to_json(self) -> str:
        """Write the version as JSON text, with a hash of itself in front."""
        data = {"format": layout.FORMAT, **json_of(self)}
        # Written only where they say something, so that a collection without heads is what it always was.
        if self.default == layout.DEFAULT_SPACE:
            del data["default"]
        for source in data["sources"]:
            if not source["tables"]:
                del source["tables"]
        for space in data["spaces"].values():
            for optional in [name for name in ("base", "head", "pruned", "tuning") if space[name] is None]:
                del space[optional]
        body = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
        return f'{{"blake3":"{blake3(body.encode()).hexdigest()}","body":{body}}}\n'


def json_of(part: Any) -> Any:
    """Return a part of a version as JSON values, the way versions and `--json` write it."""
    if isinstance(part, IndexSpec | SearchPlan):
        return str(part)
    if isinstance(part, Fingerprint):
        return part.to_json()
    if is_dataclass(part):
        return {one.name: json_of(getattr(part, one.name)) for one in fields(part)}
    if isinstance(part, dict):
        return {name: json_of(value) for name, value in part.items()}
    if isinstance(part, tuple):
        return [json_of(value) for value in part]
    return part
