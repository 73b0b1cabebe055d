"""What is fuzzed: for each format the files that are changed, and real work that reads them."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.api import Collection
from engine.collection import tombstones
from engine.collection.commit import current_version, read_version
from engine.collection.describe import describe, list_failures
from engine.collection.failures import failures_of
from engine.collection.manifest import Source
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import map_queries
from engine.collection.verify import verify
from engine.encoders.pictures import decode_sized, looks_like_picture
from engine.ingest.vector_files import vector_files
from engine.ingest.vectors import VectorFiles
from engine.jobs.canaries import check_canaries
from engine.storage import layout
from indexers.families.registry import family
from tests.faults.bases import (
    CANARY,
    MOST_PIXELS,
    SOME,
    TABLE_MEMORY,
    VECTOR_SHARDS,
    Base,
    D,
    Letters,
    Seed,
    brought,
    pictures,
)
from tests.faults.containers import containers, make_container, work_container
from tests.faults.makers import (
    change_bytes,
    make_head,
    make_index,
    make_json,
    make_lookup,
    make_picture,
    make_table,
    make_version,
)
from tests.faults.mutate import readdress
from tests.helpers import clustered


class Wrong(Exception):
    """An answer that must not be given, whatever a file holds."""


@dataclass(frozen=True)
class Target:
    """One format: `make` turns a seed into a hostile file, `work` puts it in place and uses it in so much memory."""

    name: str
    seeds: Callable[[Base], list[Seed]]
    make: Callable[[Base, Seed, random.Random, Sequence[bytes]], bytes]
    work: Callable[[Base, str, bytes], None]
    memory: int = 256 << 20


# -- work --------------------------------------------------------------------------------------


def _check(scores: Any, rows: Any, known: int) -> None:
    if np.isnan(scores).any():
        raise Wrong(f"scores that are no numbers: {scores}")
    if rows.size and (rows.min() < 0 or rows.max() >= known):
        raise Wrong(f"rows that do not exist: {rows}")


def search_by(made: Collection, plans: Sequence[str], k: int = 7) -> None:
    searcher = made.searcher
    xq = clustered(5, searcher.dim, seed=1)
    for plan in plans:
        for queries in (xq, xq[:1]):
            found = searcher.search(queries, k, None if plan == "default" else searcher_plan(plan))
            _check(found.scores, found.ids, searcher.rows)
            if any(len(set(row)) < len(row) for row in found.ids.tolist()):
                raise Wrong(f"a row twice: {found.ids}")


def searcher_plan(text: str) -> Any:
    from indexers.plan import SearchPlan

    return SearchPlan.parse(text)


def plans_of(key: str, dim: int) -> list[str]:
    probe = family(key.partition("@")[0]).probe_name
    first = int(key.partition("@")[2])
    more = [f"{key}:{probe}=1000 | 30@{dim}"] if probe else []
    more += [f"{key}:margin=100 | 12@{dim}"] if key.startswith("ivf-pq") else []
    more += [f"{key} | 40@{first} | 9@{dim}"] if first < dim else []
    return [f"{key} | 20@{dim}", *more]


def use(root: Path, *, keys: Sequence[str] | None = None, everything: bool = True) -> None:
    """Open a collection and do with it what a reader does."""
    with Collection.open(root, device="cpu") as made:
        wanted = list(made.searcher.specs) if keys is None else list(keys)
        plans = [plan for key in wanted for plan in plans_of(key, made.searcher.dim)]
        search_by(made, [*plans, "default", "exact"])
        if not everything:
            return
        xq = clustered(3, made.searcher.dim, seed=1)
        _check(*made.searcher.search(xq, 5, dim=4), made.searcher.rows)
        for answers in made.search(xq, 12):
            _check(answers.scores, answers._positions, made.searcher.rows)
            assert len(answers.uris) == len(answers.captions) == len(answers.ids)
        ids = [int(one) for one in made.snapshot.ids[:2]]
        made.similar(ids[0], 3)
        made.similar("row-5.jpg", 3)
        for space in made.snapshot.manifest.spaces:
            with Collection.open(root, device="cpu", space=space) as other:
                search_by(other, ["default"])


def use_all(root: Path) -> None:
    """Do everything that reads a collection."""
    found = list(verify(root))
    assert all(problem.reason for problem in found)
    json.dumps(describe(root))
    list_failures(root)
    failures_of(root, read_version(root, current_version(root)))
    with Snapshot.open(root) as snapshot:
        tombstones.tombstones_of(root, snapshot.manifest)
        for table in snapshot.item_tables():
            table.to_pylist()
        for name in snapshot.manifest.spaces:
            list(snapshot.vectors(name))
            xq = clustered(2, snapshot.manifest.space().dim, seed=1)
            map_queries(root, snapshot.manifest, name, xq)
    use(root, keys=SOME)


def _work_slot(work: Callable[[Path], None], base: Base, slot: str, data: bytes) -> None:
    readdress(base.root, base.slots[slot].path, data)
    work(base.root)


def _work_index(base: Base, slot: str, data: bytes) -> None:
    readdress(base.root, base.slots[slot].path, data)
    use(base.root, keys=[slot.partition(".")[2]], everything=False)


def _work_version(base: Base, slot: str, data: bytes) -> None:
    (base.root / layout.version_file(base.manifest.version)).write_bytes(data)
    use_all(base.root)


def _work_canaries(base: Base, slot: str, data: bytes) -> None:
    root = base.folder / CANARY
    ref = base.canaries.space().canaries
    assert ref is not None
    readdress(root, ref.path, data)
    check_canaries(root, read_version(root, 1).space().canaries, Letters())


def _work_head(base: Base, slot: str, data: bytes) -> None:
    root = base.root
    readdress(root, base.slots[slot].path, data)
    manifest = read_version(root, current_version(root))
    xq = clustered(3, D, seed=1)
    if np.isnan(map_queries(root, manifest, "turned", xq)).any():
        raise Wrong("NaN after a head")
    list(verify(root))


def _work_picture(base: Base, slot: str, data: bytes) -> None:
    looks_like_picture(data[:32])
    for side in (0, 16):
        found = decode_sized(data, max_pixels=MOST_PIXELS, min_side=side)
        if found.image.mode != "RGB" or found.image.width * found.image.height > MOST_PIXELS:
            raise Wrong(f"a picture of {found.image.mode} {found.image.size}")


def _work_brought(base: Base, slot: str, data: bytes) -> None:
    """Read vectors that somebody brings, as `index` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{slot.rpartition('.')[2]}"
        path.write_bytes(data)
        files = vector_files(path)
        if files is None:
            return
        listing = VectorFiles(Source("x", "vectors", str(path)), files, name_column=None, caption=None)
        for block in listing.blocks():
            if block.vectors.shape != (len(block), listing.dim) or block.vectors.dtype != np.float32:
                raise Wrong(f"{len(block)} rows of {block.vectors.dtype} {block.vectors.shape}")
            if len(block.meta_keys) != len(block):
                raise Wrong("rows without their columns")


# -- seeds -------------------------------------------------------------------------------------


def _slots(prefix: Sequence[str], base: Base) -> list[Seed]:
    return [
        Seed(slot, base.kept[base.root / ref.path])
        for slot, ref in base.slots.items()
        if slot.startswith(tuple(prefix))
    ]


def _version_seed(base: Base) -> list[Seed]:
    return [Seed("version", base.kept[base.root / layout.version_file(base.manifest.version)])]


def _canary_seed(base: Base) -> list[Seed]:
    ref = base.canaries.space().canaries
    return [] if ref is None else [Seed("canaries", base.kept[base.folder / CANARY / ref.path])]


_tables = partial(_work_slot, use_all)
_opened = partial(_work_slot, partial(use, keys=SOME))
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("version", _version_seed, make_version, _work_version),
        Target("items", partial(_slots, ("items",)), make_table, _tables, TABLE_MEMORY),
        Target("deletes", partial(_slots, ("deletes",)), make_table, _tables, TABLE_MEMORY),
        Target("failures", partial(_slots, ("failures",)), make_table, _tables, TABLE_MEMORY),
        Target("embeddings", partial(_slots, VECTOR_SHARDS), make_table, _tables, TABLE_MEMORY),
        Target("lookup", partial(_slots, ("lookup",)), make_lookup, _opened),
        Target("vectors", partial(_slots, ("main.vectors",)), change_bytes, _opened),
        *(
            Target(family, partial(_slots, (f"main.{family}@",)), make_index, _work_index)
            for family in ("flat", "sq", "ivf-flat", "ivf-pq", "hnsw")
        ),
        Target("pruned", partial(_slots, ("main.pruned",)), change_bytes, _opened),
        Target("head", partial(_slots, ("turned.head",)), make_head, _work_head),
        Target("canaries", _canary_seed, make_json, _work_canaries),
        Target("pictures", pictures, make_picture, _work_picture),
        Target("containers", containers, make_container, work_container, TABLE_MEMORY),
        Target("brought", brought, change_bytes, _work_brought, TABLE_MEMORY),
    )
}
