"""A version as it is read: what is no version is refused, and one whose parts do not fit together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from engine.collection.manifest import (
    Covering,
    IndexEntry,
    Manifest,
    Part,
    Source,
    SourceTable,
    Space,
    Words,
    coverings_of,
)
from engine.collection.plans import read_blend, read_cutoff, read_plan, read_tuning
from engine.encoders.base import Fingerprint
from engine.storage import layout
from engine.storage.kept import Kept
from engine.storage.kinds import ALL_METADATA, JPEG, METADATA, MOST_SIDE, PAIRS
from engine.storage.layout import FileRef
from engine.storage.regular import check_regular, read_regular
from indexers import checks
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection, UnsupportedFormat
from indexers.store import check_dtype

# Bounds on what a version may declare: sums of row numbers stay within 64 bits.
MOST = 1 << 48
MOST_DIMENSIONS = 1 << 20
MOST_ROWS_A_BYTE = 64
TABLE_COLUMNS = ("name_column", "caption_column")

MOST_VERSION_BYTES = 64 << 20
"""Of a version file: 170,000 shards with a space beside them, which hold 700 million pictures or 11 TB of vectors.

Read, one takes up many times its size.
"""

# Who adds one row reads the newest version a few times. One takes some four times as many bytes as its text.
_versions: Kept[tuple[Manifest, int]] = Kept(most=32 << 20, largest=8 << 20, weigh=lambda read: 4 * read[1])


def read_version(root: Path, number: int) -> Manifest:
    """Read one version.

    Raises:
        CorruptCollection: it is missing or damaged, or no file of its own.
    """
    path = root / layout.version_file(number)
    try:
        found = _versions.get(check_regular(path, own=True), lambda: _read(root, number))[0]
    except OSError as error:
        raise unreadable(root, number, error) from error
    if found.version != number:
        raise CorruptCollection(f"{path} says it is version {found.version}")
    return found


def _read(root: Path, number: int) -> tuple[Manifest, int]:
    """Read a version file, and return also how long it is."""
    path = root / layout.version_file(number)
    try:
        text = read_regular(path, most=MOST_VERSION_BYTES, own=True).decode("ascii")
    except UnicodeDecodeError as error:
        raise CorruptCollection(f"version {number} of {root} cannot be read: {error}") from error
    return from_json(text, name=str(path)), len(text)


def unreadable(root: Path, number: int, error: OSError) -> CorruptCollection:
    """Return the error of a version file that cannot be opened."""
    path = root / layout.version_file(number)
    return CorruptCollection(f"version {number} of {root} cannot be read: {path}: {error.strerror}")


def exists(root: Path) -> bool:
    """Whether there is a collection at a path."""
    folder = root / layout.VERSIONS
    return folder.is_dir() and layout.is_collection(os.listdir(folder))


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
        dead=tuple((str(shard), int(row)) for shard, row in body.get("dead", ())),
        metadata=METADATA[METADATA.index(body.get("metadata", ALL_METADATA))],
        notes=None if body.get("notes") is None else _file(body["notes"]),
        words=_words(body.get("words", {})),
    )
    check(manifest, name)
    return manifest


def _words(data: Mapping[str, Any]) -> Words:
    columns, stem = tuple(str(one) for one in data.get("columns", ())), data.get("stem")
    covering = None if data.get("covering") is None else _covering(data["covering"])
    return Words(columns, None if stem is None else str(stem), int(data.get("rules", 1)), covering)


def _source(data: Mapping[str, Any]) -> Source:
    return Source(
        name=str(data["name"]),
        kind=str(data["kind"]),
        location=str(data["location"]),
        tables=tuple(_source_table(one) for one in data.get("tables", ())),
        patterns=tuple(str(one) for one in data.get("patterns", ())),
        pairs=checks.one_of("pairs", data.get("pairs", JPEG), PAIRS),
        min_size=checks.whole("min_size", data.get("min_size", 0), 0, MOST_SIDE),
    )


def _source_table(data: Mapping[str, Any]) -> SourceTable:
    columns = {name: None if data[name] is None else str(data[name]) for name in TABLE_COLUMNS}
    vectors = None if data.get("vectors") is None else str(data["vectors"])
    spaces = tuple((str(name), str(column)) for name, column in data.get("spaces", ()))
    keyed = bool(data.get("keyed", False))
    return SourceTable(str(data["location"]), **columns, vectors=vectors, keyed=keyed, spaces=spaces)


def _file(data: Mapping[str, Any]) -> FileRef:
    ref = FileRef(str(data["path"]), int(data["size"]), str(data["blake3"]), int(data["rows"]))
    if not layout.is_file_of(ref.path, ref.blake3) or not 0 < ref.size < MOST or not 0 <= ref.rows < MOST:
        raise ValueError(f"not a file of a collection: {ref}")
    return ref


def _covering(data: Mapping[str, Any]) -> Covering:
    return Covering(_file(data["file"]), int(data["shards"]), str(data["shards_digest"]), int(data.get("first", 0)))


def _indexes(data: Iterable[Mapping[str, Any]]) -> tuple[IndexEntry, ...]:
    return tuple(IndexEntry(_covering(one["covering"]), IndexSpec.parse(one["spec"])) for one in data)


def _part(data: Mapping[str, Any]) -> Part:
    pruned = None if data.get("pruned") is None else _covering(data["pruned"])
    return Part(_covering(data["vectors"]), _indexes(data["indexes"]), pruned)


def _space(data: Mapping[str, Any]) -> Space:
    check_dtype(str(data["dtype"]))
    return Space(
        encoder=str(data["encoder"]),
        fingerprint=Fingerprint.from_json(data["fingerprint"]),
        canaries=_file(data["canaries"]) if data["canaries"] else None,
        dim=int(data["dim"]),
        dtype=str(data["dtype"]),
        embeddings=tuple(_file(ref) for ref in data["embeddings"]),
        vectors=_covering(data["vectors"]) if data["vectors"] else None,
        indexes=_indexes(data["indexes"]),
        plans=tuple(read_plan(one) for one in data["plans"]),
        base=None if data.get("base") is None else str(data["base"]),
        head=None if data.get("head") is None else _file(data["head"]),
        pruned=None if data.get("pruned") is None else _covering(data["pruned"]),
        tuning=None if data.get("tuning") is None else read_tuning(data["tuning"]),
        more=tuple(_part(one) for one in data.get("more", ())),
        chosen=int(data.get("chosen", 0)),
        blend=None if data.get("blend") is None else read_blend(data["blend"]),
        cutoff=None if data.get("cutoff") is None else read_cutoff(data["cutoff"]),
    )


def check(manifest: Manifest, name: str) -> None:
    """Refuse a version whose parts do not fit together."""
    _check_places(manifest, name)
    if len({ref.path for ref in manifest.items}) < len(manifest.items) or not 0 <= manifest.next_id < MOST:
        raise CorruptCollection(f"{name}: an item shard is listed twice, or the next id is none")
    # Rows decide how much memory is set aside. Each has 8 bytes of key for itself, and none is deleted twice.
    if any(ref.rows > MOST_ROWS_A_BYTE * ref.size for ref in manifest.items):
        raise CorruptCollection(f"{name}: an item shard has more rows than its bytes can hold")
    if manifest.dead_rows > manifest.rows:
        raise CorruptCollection(f"{name}: more rows are deleted than there are")
    sizes = {ref.path: ref.rows for ref in manifest.items} if manifest.dead else {}
    if any(not 0 <= row < sizes.get(shard, 0) for shard, row in manifest.dead) or (
        list(manifest.dead) != sorted(set(manifest.dead))
    ):
        raise CorruptCollection(f"{name}: a row is deleted that is not there, or twice")
    if len({source.name for source in manifest.sources}) < len(manifest.sources):
        raise CorruptCollection(f"{name}: two sources have the same name")
    if manifest.default not in (manifest.spaces or (layout.DEFAULT_SPACE,)):
        raise CorruptCollection(f"{name}: the default space {manifest.default!r} is not there")
    coverings = whole = [one for one in (manifest.lookup, manifest.words.covering) if one]
    for key, space in manifest.spaces.items():
        if not layout.is_space_name(key):
            raise CorruptCollection(f"{name}: {key!r} is not a name of a space")
        if not 1 <= space.dim <= MOST_DIMENSIONS:
            raise CorruptCollection(f"{name}: space {key!r} has vectors of {space.dim} dimensions")
        rows = [ref.rows for ref in space.embeddings]
        if rows != [ref.rows for ref in manifest.items]:
            raise CorruptCollection(f"{name}: the vectors of space {key!r} do not lie row for row beside the items")
        coverings = [*coverings, *space.coverings]
        _check_parts(space, f"{name}: space {key!r}")
        _check_base(manifest, key, name)
    if any(one.first for one in whole):
        raise CorruptCollection(f"{name}: the lookup or the words do not begin with the first shard")
    for covering in coverings:
        if (
            not 0 <= covering.span.start <= covering.span.stop <= len(manifest.items)
            or covering.shards_digest != manifest.shards_digest(covering.span)
            or covering.file.rows != manifest.rows_in(covering.span)
        ):
            raise CorruptCollection(f"{name}: {covering.file.path} belongs to other shards")


def _check_parts(space: Space, name: str) -> None:
    """Refuse parts that leave shards out or cover them twice, and indexes that begin with another shard than theirs."""
    if space.more and (space.vectors is None or not all(part.vectors.shards for part in space.more)):
        raise CorruptCollection(f"{name} has further parts without a first one, or parts without shards")
    first = 0
    for part in space.listed:
        if any(one.first != first for one in coverings_of(part)):
            raise CorruptCollection(f"{name} has a part that does not begin with shard {first}, where it should")
        first += part.vectors.shards if part.vectors else 0


def _check_places(manifest: Manifest, name: str) -> None:
    """Refuse files that are listed as another kind than their folder's: what they must have is looked up by that."""
    found: list[tuple[str, FileRef | Covering | None]] = [(layout.ITEMS, ref) for ref in manifest.items]
    found += [
        (layout.DELETES, manifest.deletes),
        (layout.FAILURES, manifest.failures),
        (layout.NOTES, manifest.notes),
        (layout.LOOKUP, manifest.lookup),
        (layout.WORDS, manifest.words.covering),
    ]
    for space in manifest.spaces.values():
        found += [(layout.EMBEDDINGS, ref) for ref in space.embeddings]
        for part in space.listed:
            found += [(layout.INDEXES, one) for one in (part.pruned, *(entry.covering for entry in part.indexes))]
            found.append((layout.VECTORS, part.vectors))
        found += [(layout.ENCODER, space.canaries), (layout.HEADS, space.head)]
    for folder, one in found:
        ref = one.file if isinstance(one, Covering) else one
        if ref is not None and ref.path.split("/")[-2] != folder:
            raise CorruptCollection(f"{name}: {ref.path} is listed where a file of {folder} is expected")


def _check_base(manifest: Manifest, key: str, name: str) -> None:
    """Refuse a space of other dimensions than what makes it, or that is derived from nothing or itself."""
    space = manifest.spaces[key]
    if space.fingerprint.dim != space.dim:
        raise CorruptCollection(
            f"{name}: space {key!r} has {space.dim} dimensions, and what makes it {space.fingerprint.dim}"
        )
    if space.base is None and space.head is None:
        return
    if space.base is None or space.head is None or key == layout.DEFAULT_SPACE:
        raise CorruptCollection(f"{name}: space {key!r} has a base or a head where it should not")
    if not layout.is_head_of(space.head.path, key):
        raise CorruptCollection(f"{name}: {space.head.path} is not a head of space {key!r}")
    if not all(1 <= d <= space.dim for d in space.fingerprint.trained_dims):
        raise CorruptCollection(f"{name}: space {key!r} has {space.dim} dimensions, and its head makes others")
    seen = {key}
    base: str | None = space.base
    while base is not None:
        if base in seen or base not in manifest.spaces:
            raise CorruptCollection(f"{name}: space {key!r} is derived from {base!r}, which is not there or is itself")
        seen.add(base)
        base = manifest.spaces[base].base
