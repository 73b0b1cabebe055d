"""Build what is derived from the shards: the lookup, the rerank vectors, the prefix indexes, the plan.

Everything here can be deleted and made again. Rows are streamed; what is held in memory is one
training sample and the index being built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.fold import settled
from engine.collection.lookup import save_lookup
from engine.collection.manifest import IndexEntry, Manifest
from engine.collection.plans import PlanEntry, Tuning
from engine.collection.snapshot import Snapshot
from engine.planning.choose import calibrate, is_for, judge_of, measured_again
from engine.progress import Listener
from engine.retrieval.searcher import Searcher
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from indexers.base import FaissIndex, IndexSpec
from indexers.build import BuildDevice, build, pruned_build_bytes, require_memory
from indexers.errors import CommitConflict, CorruptCollection
from indexers.families.registry import default_specs, family, resolve, resolve_all
from indexers.files import write_index
from indexers.mask import Mask
from indexers.memory import memory_left, shown_bytes
from indexers.pruned import is_available
from indexers.pruned_file import MOST_DIMENSIONS, pruned_bytes, write_pruned
from indexers.store import Blocks, VectorStore, check_dtype
from indexers.vectors import FloatArray

SEED = 0


# A scan of fewer vectors takes a millisecond or two: there is little to win, and D bytes a row to spare.
PRUNE_FROM = 20_000
PRUNED_SAMPLE, PRUNED_SAMPLE_BYTES = 65_536, 256 << 20


@dataclass(frozen=True)
class BuildOptions:
    """How indexes are built.

    Attributes:
        specs: the prefix indexes; if None the families and dimensions there are already, or for a new
            collection those that suit the encoder and the number of rows.
        texts: unit float32 [nt, D], queries of the kind that will be asked, used for training and
            for measuring the plan; None where there is no text tower.
        device: where to build.
        prune_from: with so many rows or more there is an index for exact search too.
    """

    specs: Sequence[IndexSpec] | None = None
    texts: FloatArray | None = None
    device: BuildDevice = "auto"
    prune_from: int = PRUNE_FROM


def build_indexes(root: Path, space: str, options: BuildOptions, listener: Listener) -> Manifest:
    """Build everything derived for a space of the newest version, choose a plan, and commit.

    Raises:
        CommitConflict: the collection was compacted meanwhile.
        NotEnoughMemory: an index would take more than there is; nothing is built then.
    """
    with settled(root), Snapshot.open(root) as snapshot:
        if space not in snapshot.manifest.spaces:
            raise CommitConflict(f"space {space!r} of {root} was removed before its indexes were built")
        with writing(root):
            return commit(root, build_space(snapshot, space, options, listener), operation="build")


def build_space(snapshot: Snapshot, space: str, options: BuildOptions, listener: Listener) -> changes.Change:
    """Write all derived files of a space of a version, measure plans on them, and return the change that lists them.

    Args:
        snapshot: the version; it need not be published yet.
        space: whose vectors.
        options: which indexes, and how.
        listener: hears about it.
    """
    root, manifest = snapshot.root, snapshot.manifest
    shards = range(len(manifest.items))
    specs = _resolved(options.specs, manifest, space)
    for spec in specs:  # all of them, before the first is built
        _require_memory(snapshot, space, spec, options)
    lookup = manifest.lookup
    if lookup is None or lookup.span != shards:
        lookup = changes.cover(manifest, save_lookup(root, manifest.items), shards)
    vectors = changes.cover(manifest, write_vectors(snapshot, space), shards)
    store = VectorStore.open(root / vectors.file.path)
    indexes = []
    for spec in specs:
        listener.say(f"building {spec}")
        file = _write_index(snapshot, space, spec, store, options)
        indexes.append(IndexEntry(changes.cover(manifest, file, shards), spec))
    pruned = None
    if options.prune_from <= len(store) and store.dim <= MOST_DIMENSIONS and has_room(store, listener):
        listener.say("building the index for exact search")
        pruned = changes.cover(manifest, save_pruned(snapshot, space, store, options.texts), shards)
    made = partial(
        changes.list_built,
        root,
        space,
        embeddings=manifest.space(space).embeddings,
        head=manifest.space(space).head,
        lookup=lookup,
        vectors=vectors,
        indexes=tuple(indexes),
        pruned=pruned,
    )
    draft = Snapshot.draft(root, made(plans=())(manifest))
    plans, tuning = _measure(draft, space, options.texts, listener, manifest.space(space).tuning)
    return made(plans=plans, tuning=tuning)


def build_spaces(root: Path, draft: Manifest, wanted: Mapping[str, BuildOptions], listener: Listener) -> changes.Change:
    """Do as `derived` for several spaces of a version that is not published yet.

    Args:
        root: the collection.
        draft: the version.
        wanted: how to build each space.
        listener: hears about it.
    """
    found: list[changes.Change] = []
    for space, options in wanted.items():
        found.append(build_space(Snapshot.draft(root, draft), space, options, listener))
        draft = found[-1](draft)
    return changes.chain(*found)


def _measure(
    draft: Snapshot, space: str, texts: FloatArray | None, listener: Listener, tuning: Tuning | None
) -> tuple[tuple[PlanEntry, ...], Tuning | None]:
    """Choose the default plan: of a tuned curve whose index is still there, the point that keeps the recall now."""
    searcher = Searcher(draft, space)
    if not searcher.live.count:
        return (), None
    judge = judge_of(searcher, texts, SEED)
    if tuning is not None and is_for(tuning, searcher):
        plan, tuning = measured_again(searcher, judge, tuning)
    else:
        plan, tuning = calibrate(searcher, judge), None
    recall = ", ".join(f"{name} {value:.3f}" for name, value in plan.recall.items())
    listener.say(f"plan {plan.plan} (recall@{plan.k}: {recall})")
    return (plan,), tuning


def _resolved(specs: Sequence[IndexSpec] | None, manifest: Manifest, space: str) -> list[IndexSpec]:
    entry = manifest.space(space)
    n = manifest.rows
    wanted = specs
    if wanted is None:
        wanted = chosen_specs(manifest, space) or default_specs(n, entry.dim, entry.fingerprint.trained_dims)
    return resolve_all(wanted, n, entry.dim)


def fitting(specs: Iterable[IndexSpec], rows: int) -> list[IndexSpec]:
    """Return specs without the number of cells where fewer rows than that are left: the family chooses again."""
    found = ((spec, family(spec.family)) for spec in specs)
    return [spec if one.cells(spec) <= rows else one.unsized(spec) for spec, one in found]


def chosen_specs(manifest: Manifest, space: str) -> list[IndexSpec]:
    """Return the indexes somebody asked for, so that they outlive a rebuild; none if they are the usual ones.

    Of the resolved parameters those are kept that differ from what the family would have chosen by itself.
    """
    entry = manifest.space(space)
    built = [index.spec for index in entry.indexes]
    rows = manifest.rows_in(entry.indexes[0].covering.span) if built else 0
    usual = resolve_all(default_specs(rows, entry.dim, entry.fingerprint.trained_dims), rows, entry.dim)
    if built == usual:
        return []
    return fitting((_as_asked(spec, rows, entry.dim) for spec in built), manifest.rows)


def _as_asked(spec: IndexSpec, rows: int, dim: int) -> IndexSpec:
    usual = dict(resolve(IndexSpec(spec.family, spec.dim), rows, dim).params)
    return replace(spec, params=tuple((name, value) for name, value in spec.params if usual.get(name) != value))


def write_vectors(snapshot: Snapshot, space: str) -> FileRef:
    """Write the stored values of all shards as one `.npy` file, checking ids row for row.

    Raises:
        CorruptCollection: an embedding shard does not lie beside its item shard.
    """
    entry = snapshot.manifest.space(space)
    dtype = check_dtype(entry.dtype)
    header = {"descr": dtype.str, "fortran_order": False, "shape": (snapshot.rows, entry.dim)}
    folder = layout.space_folder(space, layout.VECTORS)
    needed = snapshot.rows * entry.dim * dtype.itemsize
    with new_file(snapshot.root, folder, ".npy", needed) as new:
        with new.temporary.open("wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            items = snapshot.item_tables(["id"])
            for ids, stored in snapshot.stored_vectors(space):
                if not np.array_equal(ids, next(items).column("id").to_numpy()):
                    raise CorruptCollection(f"{snapshot.root}: vectors and items of a shard have other ids")
                out.write(np.ascontiguousarray(stored).data)
                del ids, stored  # or this shard would be held while the next is read
        new.rows = snapshot.rows
    return written(new)


def _require_memory(snapshot: Snapshot, space: str, spec: IndexSpec, options: BuildOptions) -> None:
    dim, texts = snapshot.manifest.space(space).dim, options.texts
    require_memory(spec, snapshot.rows, dim, 0 if texts is None else len(texts))


def _write_index(snapshot: Snapshot, space: str, spec: IndexSpec, store: VectorStore, options: BuildOptions) -> FileRef:
    _require_memory(snapshot, space, spec, options)  # again: those before it may have left less
    index = build(
        spec,
        store,
        mask=Mask.without(len(store), snapshot.deleted),
        queries=options.texts,
        seed=SEED,
        device=options.device,
    )
    return save_index(snapshot.root, space, index, spec, len(store))


def save_index(root: Path, space: str, index: FaissIndex, spec: IndexSpec, rows: int) -> FileRef:
    """Write an index of a space."""
    needed = family(spec.family).index_bytes(spec, rows)
    with new_file(root, layout.space_folder(space, layout.INDEXES), ".faiss", needed) as new:
        write_index(index, new.temporary)
        new.rows = rows
    return written(new)


def _sampled(store: VectorStore) -> int:
    return min(len(store), PRUNED_SAMPLE, PRUNED_SAMPLE_BYTES // (4 * store.dim))


def has_room(store: VectorStore, listener: Listener) -> bool:
    """Whether the index for exact search can be built here; searches are exact without it. Tells why not."""
    left, needed = memory_left(), pruned_build_bytes(_sampled(store), store.dim)
    if left is not None and needed > left.bytes:
        told = f"it needs {shown_bytes(needed)} of memory, and {shown_bytes(left.bytes)} are left ({left.why})"
        listener.say(f"no index for exact search: {told}")
        return False
    return is_available()


def save_pruned(snapshot: Snapshot, space: str, store: VectorStore, queries: FloatArray | None) -> FileRef:
    """Write the index for exact search over a space's stored vectors.

    Args:
        snapshot: the version.
        space: whose.
        store: its vectors.
        queries: unit float32 [m, D], a sample of queries that are not like the items, to serve them too.
    """
    rows = np.sort(np.random.default_rng(SEED).choice(len(store), _sampled(store), replace=False))
    needed = pruned_bytes(len(store), store.dim)
    with new_file(snapshot.root, layout.space_folder(space, layout.INDEXES), ".pruned", needed) as new:
        write_pruned(new.temporary, Blocks(store.rows), len(store), store.gather(rows), queries)
        new.rows = len(store)
    return written(new)
