"""Build what is derived from the shards: the lookup, the rerank vectors, the prefix indexes, the plan.

Everything here can be deleted and made again. Rows are streamed; what is held in memory is one
training sample and the index being built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.fold import settled
from engine.collection.lookup import save_lookup
from engine.collection.manifest import Covering, IndexEntry, Manifest, Words
from engine.collection.plans import BATCH, PlanEntry, Tuning
from engine.collection.postings import save_postings
from engine.collection.snapshot import Snapshot
from engine.collection.tokens import RULES
from engine.planning.candidates import Candidates, Goal
from engine.planning.choose import K, calibrate, is_for, judge_of, measured_again, wanted
from engine.planning.cost import IndexCandidate, is_weaker
from engine.planning.judge import Judge
from engine.progress import Advance, Listener, over_rows, telling
from engine.retrieval.searcher import Searcher
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from indexers.base import FaissIndex, IndexSpec
from indexers.build import BuildDevice, build, pruned_build_bytes, require_memory
from indexers.errors import CommitConflict, CorruptCollection
from indexers.families.registry import SMALL, default_specs, family, resolve, resolve_all
from indexers.files import write_index
from indexers.mask import Mask
from indexers.memory import memory_left, shown_bytes
from indexers.plan import EXACT, Stage
from indexers.pruned import is_available
from indexers.pruned_file import MOST_DIMENSIONS, pruned_bytes, write_pruned
from indexers.store import Blocks, VectorStore, check_dtype
from indexers.vectors import FloatArray

SEED = 0
MOST_TRIED = 3
"""Indexes that are built one after the other, until a plan over one keeps the recall."""

OUTGROWN = 2
"""An index that was chosen is kept until there are so many times as many rows, or as few."""


# A scan of fewer vectors takes a millisecond or two: there is little to win, and D bytes a row to spare.
PRUNE_FROM = 20_000
PRUNED_SAMPLE, PRUNED_SAMPLE_BYTES = 65_536, 256 << 20


@dataclass(frozen=True)
class BuildOptions:
    """How indexes are built.

    Attributes:
        specs: the prefix indexes; if None those that somebody asked for before, or one that is chosen for these rows.
        texts: unit float32 [nt, D], queries of the kind that will be asked, used for training and
            for measuring the plan; None where there is no text tower.
        device: where to build.
        prune_from: with so many rows or more there is an index for exact search too.
        chosen: for how many rows `specs` were chosen by an earlier build; 0 where somebody asked for them.
    """

    specs: Sequence[IndexSpec] | None = None
    texts: FloatArray | None = None
    device: BuildDevice = "auto"
    prune_from: int = PRUNE_FROM
    chosen: int = 0


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

    Where nobody says which indexes, one is chosen: by a sample of the rows, and by measuring it on all of them.

    Args:
        snapshot: the version; it need not be published yet.
        space: whose vectors.
        options: which indexes, and how.
        listener: hears about it.
    """
    specs, chosen = _wanted(options, snapshot.manifest, space)
    for spec in specs or ():  # all of them, before the first is built
        _require_memory(snapshot, space, spec, options)
    job = _Build(snapshot, space, options, listener)
    if specs is None:
        return job.choose()
    entries = [job.index(spec) for spec in specs]
    return job.listed(entries, *job.measured(entries), chosen=chosen)


def _wanted(options: BuildOptions, manifest: Manifest, space: str) -> tuple[list[IndexSpec] | None, int]:
    """Return resolved specs, and for how many rows they were chosen; None for the specs where they are to be chosen."""
    dim, chosen = manifest.space(space).dim, options.chosen
    wanted = options.specs
    if wanted is None:
        wanted, chosen = chosen_specs(manifest, space) or None, manifest.space(space).chosen
    return (None if wanted is None else resolve_all(wanted, manifest.rows, dim)), chosen


class _Build:
    """What is derived of the rows of a version for one space, being written."""

    def __init__(self, snapshot: Snapshot, space: str, options: BuildOptions, listener: Listener) -> None:
        self.root, self.manifest, self.space = snapshot.root, snapshot.manifest, space
        self._snapshot, self._options, self._listener, self._say = snapshot, options, listener, listener.say
        self._shards = range(len(self.manifest.items))
        lookup = self.manifest.lookup
        if lookup is None or lookup.span != self._shards:
            lookup = self._cover(save_lookup(self.root, self.manifest.items))
        self._lookup = lookup
        self._words = self._known_words()
        self._vectors = self._cover(write_vectors(snapshot, space, listener))
        self.store = VectorStore.open(self.root / self._vectors.file.path)

    def _known_words(self) -> Words:
        """Write where the words of the items come, where that is not known of all of them."""
        words = self.manifest.words
        if words.covering is not None and words.covering.span == self._shards and words.rules == RULES:
            return words
        self._say("finding the words of the items")
        wanted = replace(words.bare(), rules=RULES)
        return replace(wanted, covering=self._cover(save_postings(self.root, self.manifest.items, wanted)))

    def _cover(self, file: FileRef) -> Covering:
        return changes.cover(self.manifest, file, self._shards)

    @cached_property
    def _pruned(self) -> Covering | None:
        """The index for exact search, built the first time it is listed: an index to be chosen is measured with it."""
        if len(self.store) < self._options.prune_from or self.store.dim > MOST_DIMENSIONS:
            return None
        if not has_room(self.store, self._listener):
            return None
        self._say("building the index for exact search")
        return self._cover(save_pruned(self._snapshot, self.space, self.store, self._options.texts, self._listener))

    def index(self, spec: IndexSpec) -> IndexEntry:
        """Build a prefix index."""
        self._say(f"building {spec}")
        with over_rows(self._listener, f"adding rows to {spec.key}", len(self.store)) as advance:
            file = _write_index(self._snapshot, self.space, spec, self.store, self._options, advance)
        return IndexEntry(self._cover(file), spec)

    def listed(
        self,
        entries: Sequence[IndexEntry],
        plans: tuple[PlanEntry, ...] = (),
        tuning: Tuning | None = None,
        *,
        chosen: int = 0,
    ) -> changes.Change:
        """Return the change that lists what was written, with some of the indexes."""
        entry = self.manifest.space(self.space)
        return changes.list_built(
            self.root,
            self.space,
            embeddings=entry.embeddings,
            head=entry.head,
            lookup=self._lookup,
            words=self._words,
            vectors=self._vectors,
            indexes=tuple(entries),
            pruned=self._pruned,
            plans=plans,
            tuning=tuning,
            chosen=chosen,
        )

    def _searcher(self, entries: Sequence[IndexEntry]) -> Searcher:
        return Searcher(Snapshot.draft(self.root, self.listed(entries)(self.manifest)), self.space)

    @cached_property
    def _judge(self) -> Judge:
        return judge_of(self._searcher(()), self._options.texts, SEED)

    def measured(
        self, entries: Sequence[IndexEntry], stages: Sequence[Stage] = ()
    ) -> tuple[tuple[PlanEntry, ...], Tuning | None]:
        """Choose the default plan: of a tuned curve whose index is still there, the point that keeps the recall now."""
        searcher, tuning = self._searcher(entries), self.manifest.space(self.space).tuning
        if not searcher.live.count:
            return (), None
        if tuning is not None and is_for(tuning, searcher):
            plan, tuning = measured_again(searcher, self._judge, tuning)
        else:
            plan, tuning = calibrate(searcher, self._judge, stages), None
        recall = ", ".join(f"{name} {value:.3f}" for name, value in plan.recall.items())
        self._say(f"plan {plan.plan} (recall@{plan.k}: {recall})")
        return (plan,), tuning

    def choose(self) -> changes.Change:
        """Build indexes until a plan keeps the recall, and list the one that it takes."""
        rows, dim = len(self.store), self.store.dim
        if rows < SMALL or not self._searcher(()).live.count:
            # They are built in a moment, and measured to find out which.
            trained = self.manifest.space(self.space).fingerprint.trained_dims
            entries = [self.index(spec) for spec in resolve_all(default_specs(rows, dim, trained), rows, dim)]
            return self.listed(entries, *self.measured(entries), chosen=rows)
        done: list[IndexSpec] = []
        plans: tuple[PlanEntry, ...] = ()
        for candidate in self._candidates():
            if len(done) == MOST_TRIED or any(is_weaker(candidate, one) for one in done):
                continue
            entry = self.index(candidate.spec)
            plans, _ = self.measured([entry], candidate.stages)
            if plans[0].plan.index != EXACT:
                return self.listed([entry], plans, chosen=rows)
            done.append(candidate.spec)
        return self.listed((), plans or self.measured(())[0], chosen=rows)

    def _candidates(self) -> list[IndexCandidate]:
        live = Mask.without(len(self.store), self._snapshot.deleted)
        texts = 0 if self._options.texts is None else len(self._options.texts)
        goal = Goal(min(map(wanted, self._judge.sets)), K, BATCH)
        return Candidates(self.store, live, self._judge, goal, texts, self._say).found()


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


def fitting(specs: Iterable[IndexSpec], rows: int) -> list[IndexSpec]:
    """Return specs without the number of cells where fewer rows than that are left: the family chooses again."""
    found = ((spec, family(spec.family)) for spec in specs)
    return [spec if one.cells(spec) <= rows else one.unsized(spec) for spec, one in found]


def chosen_specs(manifest: Manifest, space: str) -> list[IndexSpec]:
    """Return the indexes that outlive a rebuild: those somebody asked for, or that were chosen for about as many rows.

    Of the resolved parameters those are kept that differ from what the family would have chosen by itself.
    """
    entry = manifest.space(space)
    built = [index.spec for index in entry.indexes]
    rows = manifest.rows_in(entry.indexes[0].covering.span) if built else 0
    usual = resolve_all(default_specs(rows, entry.dim, entry.fingerprint.trained_dims), rows, entry.dim)
    outgrown = entry.chosen and not entry.chosen / OUTGROWN <= manifest.rows <= entry.chosen * OUTGROWN
    if built == usual or outgrown:
        return []
    return fitting((_as_asked(spec, rows, entry.dim) for spec in built), manifest.rows)


def _as_asked(spec: IndexSpec, rows: int, dim: int) -> IndexSpec:
    usual = dict(resolve(IndexSpec(spec.family, spec.dim), rows, dim).params)
    return replace(spec, params=tuple((name, value) for name, value in spec.params if usual.get(name) != value))


def write_vectors(snapshot: Snapshot, space: str, listener: Listener) -> FileRef:
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
        with new.temporary.open("wb") as out, over_rows(listener, "copying vectors", snapshot.rows) as advance:
            np.lib.format.write_array_header_1_0(out, header)
            items = snapshot.item_tables(["id"])
            for ids, stored in snapshot.stored_vectors(space):
                if not np.array_equal(ids, next(items).column("id").to_numpy()):
                    raise CorruptCollection(f"{snapshot.root}: vectors and items of a shard have other ids")
                out.write(np.ascontiguousarray(stored).data)
                advance(len(ids))
                del ids, stored  # or this shard would be held while the next is read
        new.rows = snapshot.rows
    return written(new)


def _require_memory(snapshot: Snapshot, space: str, spec: IndexSpec, options: BuildOptions) -> None:
    dim, texts = snapshot.manifest.space(space).dim, options.texts
    require_memory(spec, snapshot.rows, dim, 0 if texts is None else len(texts))


def _write_index(
    snapshot: Snapshot, space: str, spec: IndexSpec, store: VectorStore, options: BuildOptions, added: Advance
) -> FileRef:
    _require_memory(snapshot, space, spec, options)  # again: those before it may have left less
    index = build(
        spec,
        store,
        mask=Mask.without(len(store), snapshot.deleted),
        queries=options.texts,
        seed=SEED,
        device=options.device,
        added=added,
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


def save_pruned(
    snapshot: Snapshot, space: str, store: VectorStore, queries: FloatArray | None, listener: Listener
) -> FileRef:
    """Write the index for exact search over a space's stored vectors.

    Args:
        snapshot: the version.
        space: whose.
        store: its vectors.
        queries: unit float32 [m, D], a sample of queries that are not like the items, to serve them too.
        listener: hears how far it is.
    """
    rows = np.sort(np.random.default_rng(SEED).choice(len(store), _sampled(store), replace=False))
    needed = pruned_bytes(len(store), store.dim)
    with new_file(snapshot.root, layout.space_folder(space, layout.INDEXES), ".pruned", needed) as new:
        with over_rows(listener, "adding rows for exact search", len(store)) as advance:
            blocks = telling(Blocks(store.rows), advance)
            write_pruned(new.temporary, blocks, len(store), store.gather(rows), queries)
        new.rows = len(store)
    return written(new)
