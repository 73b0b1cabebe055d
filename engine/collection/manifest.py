"""A version of a collection: the list of its files and what they mean, as frozen data."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from blake3 import blake3

from engine.collection.plans import PlanEntry, Tuning, read_plan, read_tuning
from engine.encoders.base import Fingerprint
from engine.storage import layout
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection, UnsupportedFormat
from indexers.store import check_dtype
from indexers.vectors import IdArray

# Bounds on what a version may declare: sums of row numbers stay within 64 bits.
MOST = 1 << 48
MOST_DIMENSIONS = 1 << 20
MOST_ROWS_A_BYTE = 64
TABLE_COLUMNS = ("name_column", "caption_column")


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
        spec: the resolved spec it was built with, written out.
    """

    covering: Covering
    spec: str


@dataclass(frozen=True)
class Space:
    """The vectors of one encoder over the collection's items.

    Attributes:
        encoder: the spec string it was made with; of a derived space its base and its head.
        fingerprint: `Fingerprint.to_json()`, what further vectors must match.
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
    fingerprint: dict[str, Any]
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
        fields = {"format": layout.FORMAT, **asdict(self)}
        # Written only where they say something, so that a collection without heads is what it always was.
        if self.default == layout.DEFAULT_SPACE:
            del fields["default"]
        for source in fields["sources"]:
            if not source["tables"]:
                del source["tables"]
        for space in fields["spaces"].values():
            for optional in [name for name in ("base", "head", "pruned", "tuning") if space[name] is None]:
                del space[optional]
        body = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
        return f'{{"blake3":"{blake3(body.encode()).hexdigest()}","body":{body}}}\n'


def from_json(text: str, *, name: str) -> Manifest:
    """Read and check a version.

    Args:
        text: content of a version file.
        name: what to call it in an error.

    Raises:
        UnsupportedFormat: written by a newer format.
        CorruptCollection: not JSON of the declared shape, or its own hash does not match.
    """
    try:
        data = json.loads(text)
        found = int(data["body"]["format"])
        if found < 1:
            raise ValueError(f"format {found}")
        if found > layout.FORMAT:
            raise UnsupportedFormat(
                f"{name} is of format {found}, and this nestvec reads up to {layout.FORMAT}: upgrade nestvec"
            )
        body = text[text.index('"body":') + len('"body":') : text.rindex("}")]
        if blake3(body.encode()).hexdigest() != data["blake3"]:
            raise CorruptCollection(f"{name} does not match its own hash; see `nestvec verify`")
        return _manifest(data["body"], name)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptCollection(f"{name} is not a nestvec version file: {error!r}") from error


def _manifest(body: Mapping[str, Any], name: str) -> Manifest:
    manifest = Manifest(
        version=int(body["version"]),
        created=str(body["created"]),
        operation=str(body["operation"]),
        writer=str(body["writer"]),
        next_id=int(body["next_id"]),
        sources=tuple(_source(one) for one in body["sources"]),
        items=tuple(_file(ref) for ref in body["items"]),
        deletes=_file(body["deletes"]) if body["deletes"] else None,
        failures=_file(body["failures"]) if body["failures"] else None,
        lookup=_covering(body["lookup"]) if body["lookup"] else None,
        spaces={str(key): _space(value) for key, value in body["spaces"].items()},
        default=str(body.get("default", layout.DEFAULT_SPACE)),
    )
    check(manifest, name)
    return manifest


def _source(data: Mapping[str, Any]) -> Source:
    tables = tuple(
        SourceTable(str(one["location"]), *(None if one[name] is None else str(one[name]) for name in TABLE_COLUMNS))
        for one in data.get("tables", ())
    )
    return Source(str(data["name"]), str(data["kind"]), str(data["location"]), tables)


def _file(data: Mapping[str, Any]) -> FileRef:
    ref = FileRef(str(data["path"]), int(data["size"]), str(data["blake3"]), int(data["rows"]))
    if not layout.is_file_of(ref.path, ref.blake3) or not 0 < ref.size < MOST or not 0 <= ref.rows < MOST:
        raise ValueError(f"not a file of a collection: {ref}")
    return ref


def _covering(data: Mapping[str, Any]) -> Covering:
    return Covering(_file(data["file"]), int(data["shards"]), str(data["shards_digest"]))


def _space(data: Mapping[str, Any]) -> Space:
    check_dtype(str(data["dtype"]))
    Fingerprint.from_json(data["fingerprint"])
    for text in [e["spec"] for e in data["indexes"]]:
        IndexSpec.parse(text)
    return Space(
        encoder=str(data["encoder"]),
        fingerprint=dict(data["fingerprint"]),
        canaries=_file(data["canaries"]) if data["canaries"] else None,
        dim=int(data["dim"]),
        dtype=str(data["dtype"]),
        embeddings=tuple(_file(ref) for ref in data["embeddings"]),
        vectors=_covering(data["vectors"]) if data["vectors"] else None,
        indexes=tuple(IndexEntry(_covering(e["covering"]), str(e["spec"])) for e in data["indexes"]),
        plans=tuple(read_plan(one) for one in data["plans"]),
        base=None if data.get("base") is None else str(data["base"]),
        head=None if data.get("head") is None else _file(data["head"]),
        pruned=None if data.get("pruned") is None else _covering(data["pruned"]),
        tuning=None if data.get("tuning") is None else read_tuning(data["tuning"]),
    )


def check(manifest: Manifest, name: str) -> None:
    """Refuse a version whose parts do not fit together."""
    _check_places(manifest, name)
    if len({ref.path for ref in manifest.items}) < len(manifest.items) or not 0 <= manifest.next_id < MOST:
        raise CorruptCollection(f"{name}: an item shard is listed twice, or the next id is none")
    # Rows decide how much memory is set aside. Each has 8 bytes of key for itself, and none is deleted twice.
    if any(ref.rows > MOST_ROWS_A_BYTE * ref.size for ref in manifest.items):
        raise CorruptCollection(f"{name}: an item shard has more rows than its bytes can hold")
    if manifest.deletes is not None and manifest.deletes.rows > manifest.rows:
        raise CorruptCollection(f"{name}: more rows are deleted than there are")
    if len({source.name for source in manifest.sources}) < len(manifest.sources):
        raise CorruptCollection(f"{name}: two sources have the same name")
    if manifest.default not in (manifest.spaces or (layout.DEFAULT_SPACE,)):
        raise CorruptCollection(f"{name}: the default space {manifest.default!r} is not there")
    coverings = [manifest.lookup] if manifest.lookup else []
    for key, space in manifest.spaces.items():
        if not layout.is_space_name(key):
            raise CorruptCollection(f"{name}: {key!r} is not a name of a space")
        if not 1 <= space.dim <= MOST_DIMENSIONS:
            raise CorruptCollection(f"{name}: space {key!r} has vectors of {space.dim} dimensions")
        rows = [ref.rows for ref in space.embeddings]
        if rows != [ref.rows for ref in manifest.items]:
            raise CorruptCollection(f"{name}: the vectors of space {key!r} do not lie row for row beside the items")
        coverings += [one for one in (space.vectors, space.pruned) if one]
        coverings += [entry.covering for entry in space.indexes]
        _check_base(manifest, key, name)
    for covering in coverings:
        if (
            not 0 <= covering.shards <= len(manifest.items)
            or covering.shards_digest != manifest.shards_digest(covering.shards)
            or covering.file.rows != manifest.rows_in(covering.shards)
        ):
            raise CorruptCollection(f"{name}: {covering.file.path} belongs to other shards")


def _check_places(manifest: Manifest, name: str) -> None:
    """Refuse files that are listed as another kind than their folder's: what they must have is looked up by that."""
    found: list[tuple[str, FileRef | Covering | None]] = [(layout.ITEMS, ref) for ref in manifest.items]
    found += [
        (layout.DELETES, manifest.deletes),
        (layout.FAILURES, manifest.failures),
        (layout.LOOKUP, manifest.lookup),
    ]
    for space in manifest.spaces.values():
        found += [(layout.EMBEDDINGS, ref) for ref in space.embeddings]
        found += [(layout.INDEXES, one) for one in (space.pruned, *(entry.covering for entry in space.indexes))]
        found += [(layout.ENCODER, space.canaries), (layout.VECTORS, space.vectors), (layout.HEADS, space.head)]
    for folder, one in found:
        ref = one.file if isinstance(one, Covering) else one
        if ref is not None and ref.path.split("/")[-2] != folder:
            raise CorruptCollection(f"{name}: {ref.path} is listed where a file of {folder} is expected")


def _check_base(manifest: Manifest, key: str, name: str) -> None:
    """Refuse a space of other dimensions than what makes it, or that is derived from nothing or itself."""
    space = manifest.spaces[key]
    fingerprint = Fingerprint.from_json(space.fingerprint)
    if fingerprint.dim != space.dim:
        raise CorruptCollection(
            f"{name}: space {key!r} has {space.dim} dimensions, and what makes it {fingerprint.dim}"
        )
    if space.base is None and space.head is None:
        return
    if space.base is None or space.head is None or key == layout.DEFAULT_SPACE:
        raise CorruptCollection(f"{name}: space {key!r} has a base or a head where it should not")
    if not layout.is_head_of(space.head.path, key):
        raise CorruptCollection(f"{name}: {space.head.path} is not a head of space {key!r}")
    if not all(1 <= d <= space.dim for d in fingerprint.trained_dims):
        raise CorruptCollection(f"{name}: space {key!r} has {space.dim} dimensions, and its head makes others")
    seen = {key}
    base: str | None = space.base
    while base is not None:
        if base in seen or base not in manifest.spaces:
            raise CorruptCollection(f"{name}: space {key!r} is derived from {base!r}, which is not there or is itself")
        seen.add(base)
        base = manifest.spaces[base].base
