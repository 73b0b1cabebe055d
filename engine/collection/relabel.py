"""Items that are called otherwise, or say something else, in the rows they have.

A shard of items is written anew and takes the place of the old one: its rows and ids stay where they are, and with
them the vectors beside it and every index over those. Only what repeats the items, the lookup, follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.collection.changes import Change, check_unknown, cover, cover_again
from engine.collection.lookup import conform, save_lookup, union_schema
from engine.collection.manifest import Covering, Manifest, Words
from engine.collection.postings import item_tables, save_postings
from engine.collection.shards import ITEM_SCHEMA, as_new_shard, read_table, tombstone_table, write_table
from engine.collection.tokens import RULES
from engine.collection.tombstones import tombstones_of
from engine.storage import layout
from engine.storage.layout import FileRef
from indexers.errors import CommitConflict
from indexers.vectors import IdArray


def rewrite_items(root: Path, ref: FileRef, rows: IdArray, items: pa.Table) -> FileRef:
    """Write an item shard with other values in some of its rows.

    Args:
        root: the collection.
        ref: the shard.
        rows: row numbers in it, each once, int64 [n].
        items: what stands there now, n rows.
    """
    table = read_table(root, ref)
    kept = np.ones(len(table), dtype=bool)
    kept[rows] = False
    parts = [said(table.filter(pa.array(kept))), said(items)]
    schema = union_schema(part.schema for part in parts)
    order = np.empty(len(table), dtype=np.int64)
    order[kept] = np.arange(len(parts[0]))
    order[rows] = len(parts[0]) + np.arange(len(rows))
    merged = pa.concat_tables([conform(part, schema) for part in parts]).take(pa.array(order))
    return write_table(root, layout.ITEMS, as_new_shard(merged))


def said(table: pa.Table) -> pa.Table:
    """Return a table of items without the user's columns in which no row says anything."""
    ours = ITEM_SCHEMA.names
    pairs = zip(table.column_names, table.columns, strict=True)
    return table.select([name for name, column in pairs if name in ours or column.null_count < len(column)])


def relabel(root: Path, shards: Mapping[str, FileRef], keys: set[int], prepared_on: Manifest) -> Change:
    """Put item shards in the place of others that have the same rows.

    Args:
        root: the collection.
        shards: the new ones, by the paths of those they replace.
        keys: `key` of the rows that are not as they were, to notice another writer indexing the same items.
        prepared_on: the version whose items were compared with the source.
    """
    lookups: dict[tuple[FileRef, ...], FileRef] = {}

    def follow(covering: Covering | None, draft: Manifest) -> Covering | None:
        covered = draft.items[: covering.shards] if covering else ()
        if covering is None or not set(covered) & set(shards.values()):
            return covering
        if covered not in lookups:
            lookups[covered] = save_lookup(root, covered)
        return cover(draft, lookups[covered], covering.span)

    texts: dict[tuple[FileRef, ...], FileRef] = {}

    def words_of(words: Words, draft: Manifest) -> Words:
        covered = draft.items[: words.covering.shards] if words.covering else ()
        old = {new: path for path, new in shards.items()}
        if all(new not in old or _say_the_same(root, prepared_on, old[new], new, words) for new in covered):
            return words
        if covered not in texts:
            texts[covered] = save_postings(root, covered, words)
        return replace(words, rules=RULES, covering=cover(draft, texts[covered], range(len(covered))))

    def change(base: Manifest) -> Manifest:
        if gone := shards.keys() - {ref.path for ref in base.items}:
            raise CommitConflict(
                f"{len(gone)} shards of {root} were compacted meanwhile by another process, or its items relabelled; "
                "run this again"
            )
        check_unknown(root, keys, prepared_on, base)
        draft = replace(base, items=tuple(shards.get(ref.path, ref) for ref in base.items))
        draft = replace(_renamed(root, draft, shards), lookup=follow(base.lookup, draft))
        draft = replace(draft, words=words_of(base.words, draft))
        return cover_again(draft)

    return change


def _say_the_same(root: Path, prepared_on: Manifest, path: str, new: FileRef, words: Words) -> bool:
    """Whether the columns whose words are known are in a new shard as they were in the one it replaces."""
    old = next((ref for ref in prepared_on.items if ref.path == path), None)
    if old is None:
        return False
    before, now = item_tables(root, [old, new], words)
    return bool(before.equals(now))


def _renamed(root: Path, base: Manifest, shards: Mapping[str, FileRef]) -> Manifest:
    """Let the tombstones of a version point into the shards that take the place of others."""

    def renamed(path: str) -> str:
        return shards[path].path if path in shards else path

    dead = tuple(sorted((renamed(path), row) for path, row in base.dead))
    old = tombstones_of(root, replace(base, dead=()))
    new = {(renamed(path), row) for path, row in old}
    deletes = base.deletes if new == old else write_table(root, layout.DELETES, tombstone_table(new))
    return replace(base, dead=dead, deletes=deletes)


def names_in(now: Manifest, before: Manifest) -> dict[str, str]:
    """Return what item shards of an older version are called now, where nothing but what is said in them has changed.

    They are known by the vectors beside them, in which their ids are.
    """
    beside = zip(before.space().embeddings, now.space().embeddings, strict=False)
    shards = zip(before.items, now.items, beside, strict=False)
    return {old.path: new.path for old, new, (one, other) in shards if one == other}
