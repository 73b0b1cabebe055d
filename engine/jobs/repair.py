"""Repair: build again what is derived, put together again what is there twice, encode again what is not.

Nothing is repaired in place: what a damaged file held goes into a new file, and one new version lists it. A shard of
items is in the lookup as well, one of vectors in the matrix for reranking, or follows from its base and a head, or
from the pictures it was made of. What is nowhere else is lost, and given up only if that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.collection import changes, tombstones
from engine.collection.commit import commit, current_version, supersede
from engine.collection.encoder import encoder_of
from engine.collection.garbage import forget
from engine.collection.history import numbers
from engine.collection.lookup import save_lookup
from engine.collection.manifest import Covering, Manifest, Tombstone
from engine.collection.reading import read_version
from engine.collection.shards import read_table
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import derived_shard, with_derived
from engine.collection.verify import Problem, verify
from engine.encoders.base import Encoder
from engine.jobs.build import BuildOptions, build_spaces
from engine.jobs.canaries import write_canaries
from engine.jobs.compact import as_before, only_on
from engine.jobs.index import RunOptions, available_options
from engine.jobs.restore import (
    items_from_lookup,
    tombstones_again,
    unused_id,
    vectors_from_matrix,
    vectors_from_sources,
)
from engine.progress import Listener
from engine.storage import layout, verified
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from indexers.errors import CollectionError, CorruptCollection, NestvecError


@dataclass
class Repaired:
    """What a repair did.

    Attributes:
        version: the version it left behind.
        restored: damaged files, and where their content was found.
        lost: what could not be found anywhere, in words; given up if that was asked for, else still damaged.
        given_up: whether what is lost was taken out.
        left: what is wrong all the same, as `verify` says it: older versions nobody can go back to, for example.
        whole: the newest older version that is whole, where something is lost that nobody has given up yet.
    """

    version: int = 0
    restored: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    given_up: bool = False
    left: list[str] = field(default_factory=list)
    whole: int | None = None


@dataclass
class _Repair:
    """A repair under way: the version as it will be, and what is known of its files."""

    root: Path
    draft: Manifest
    damaged: set[str]
    load: Callable[[], Encoder]
    done: Repaired
    bury: set[Tombstone] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    lost_shards: set[int] = field(default_factory=set)
    unloadable: bool = False

    def encoder(self) -> Encoder | None:
        """Load the encoder; None, said once, where that cannot be done."""
        try:
            return None if self.unloadable else self.load()
        except NestvecError as error:
            self.unloadable = True
            self.done.lost.append(f"what only the encoder could make again: {error}")
            return None

    def is_damaged(self, part: FileRef | Covering | None) -> bool:
        """Whether a file is one of those that are damaged."""
        ref = part.file if isinstance(part, Covering) else part
        return ref is not None and ref.path in self.damaged

    def restored(self, ref: FileRef, origin: str) -> None:
        """Note that a file's content was found."""
        self.done.restored.append((ref.path, origin))


def repair(root: Path, options: RunOptions, listener: Listener, *, accept_loss: bool = False) -> Repaired:
    """Find what is damaged and put it right, as one new version.

    Args:
        root: the collection.
        options: where to encode and to build, and which encoder if its files are elsewhere now.
        listener: hears about progress.
        accept_loss: give up what is nowhere else: the items of a shard, a derived space, or what the newest version
            said. If not, a collection that has lost something is left as it is, and `Repaired.lost` says what.

    Returns:
        what was done; nothing if nothing was damaged.

    Raises:
        NotACollection: there is none at `root`.
        CorruptCollection: no version of it can be read.
        CommitConflict: another process changed the collection meanwhile.
    """
    current_version(root)
    done = Repaired(given_up=accept_loss)
    damaged = _repaired(root, options, listener, done)
    if damaged and accept_loss:
        forget(root, _broken(root, damaged, done.version))
    if done.lost and not accept_loss:
        done.whole = _older_whole(root)
    elif damaged:
        done.left = _told(verify(root))
    return done


def _repaired(root: Path, options: RunOptions, listener: Listener, done: Repaired) -> set[str]:
    """Do it, and return the files that were damaged."""
    with writing(root):
        base, unread = _newest_readable(root, done)
        if base is None:
            return unread
        done.version = base.version
        problems = list(verify(root))
        damaged = {problem.path for problem in problems} & {ref.path for ref in base.files()}
        if not damaged:
            done.left = _told(problems)
            return unread
        job = _Repair(root, base, damaged, lambda: _encoder(base, options), done)
        for part in (_items, _deletes, _small_files, _heads, _embeddings, _without_lost):
            part(job)
        if not done.lost or done.given_up:
            derived = _rebuilt(job, base, options, listener)
            change = changes.chain(only_on(base.version, job.draft, "repair"), derived)
            done.version = commit(root, change, operation="repair").version
        return damaged | unread


def _told(problems: Iterable[Problem]) -> list[str]:
    return [f"{problem.path}: {problem.reason}" for problem in problems]


def _older_whole(root: Path) -> int | None:
    """Return the newest older version that is whole: it may have what is lost."""
    newest = current_version(root)
    for number in reversed(numbers(root)):
        try:
            found = read_version(root, number)
            if number < newest and found.rows:
                for ref in found.files():
                    verified.check_hash(root, ref)
                return number
        except CollectionError:
            continue
    return None


def _broken(root: Path, damaged: set[str], newest: int) -> set[int]:
    """Return the older versions that nobody can go back to: they list what is still damaged, or cannot be read."""
    found = set()
    checked: dict[str, bool] = {}
    for number in numbers(root):
        try:
            for ref in read_version(root, number).files() if number < newest else ():
                # What was built again may have come out the same, in the same place.
                if ref.path in damaged and not checked.setdefault(ref.path, _is_whole(root, ref)):
                    found.add(number)
        except CorruptCollection:
            found.add(number)
    return found - {newest}


def _is_whole(root: Path, ref: FileRef) -> bool:
    try:
        verified.check_hash(root, ref)
    except CorruptCollection:
        return False
    return True


def _encoder(manifest: Manifest, options: RunOptions) -> Encoder:
    return encoder_of(manifest.space(), wanted=options.encoder, pool=options.pool, device=options.device)


def _newest_readable(root: Path, done: Repaired) -> tuple[Manifest | None, set[str]]:
    """Return the newest version; if it cannot be read, what the one before said, published again.

    Also returns the version files that cannot be read. Without a version where that is a loss nobody accepted.
    """
    newest = current_version(root)
    unread: set[str] = set()
    for number in reversed(numbers(root)):
        try:
            found = read_version(root, number)
        except CorruptCollection:
            unread.add(layout.version_file(number))
            continue
        if number == newest:
            return found, unread
        done.lost.append(
            f"version {newest} cannot be read: what was done after version {number} ({found.created}, "
            f"{found.operation}) is forgotten; index the sources again"
        )
        if not done.given_up:
            return None, unread
        wanted = replace(found, next_id=max(found.next_id, unused_id(root)))
        return supersede(root, newest, wanted), unread
    raise CorruptCollection(f"no version of {root} can be read")


# -- what each kind of file held -------------------------------------------------------------


def _items(job: _Repair) -> None:
    """Put damaged shards of items together again from the lookup, and note which are lost."""
    root, before = job.root, job.draft
    lookup_whole = before.lookup is not None and not job.is_damaged(before.lookup)
    items = list(before.items)
    for shard, ref in enumerate(before.items):
        if not job.is_damaged(ref):
            continue
        new = items_from_lookup(root, before, shard) if lookup_whole else None
        if new is None:
            job.lost_shards.add(shard)
            job.done.lost.append(f"{ref.path}: {ref.rows:,} items; index the sources again to get them back")
        else:
            items[shard] = new
            job.renamed[ref.path] = new.path
            job.restored(ref, "the lookup")
    if job.renamed:
        job.draft = changes.cover_again(replace(before, items=tuple(items)))


def _without_lost(job: _Repair) -> None:
    """Take out the shards whose items are lost, with their vectors, and all that covers them."""
    draft, gone = job.draft, job.lost_shards
    if not gone:
        return

    def left(shards: tuple[FileRef, ...]) -> tuple[FileRef, ...]:
        return tuple(ref for shard, ref in enumerate(shards) if shard not in gone)

    paths = {draft.items[shard].path for shard in gone}
    job.bury = {one for one in job.bury if one[0] not in paths}
    spaces = {name: replace(entry.bare(), embeddings=left(entry.embeddings)) for name, entry in draft.spaces.items()}
    job.draft = replace(draft, items=left(draft.items), lookup=None, words=draft.words.bare(), spaces=spaces)


def _deletes(job: _Repair) -> None:
    """Gather the tombstones; where they are damaged, what can be known of them."""
    ref, known = job.draft.deletes, set(job.draft.dead)
    if ref is not None and not job.is_damaged(ref):
        known = tombstones.tombstones_of(job.root, job.draft)
    known = {(job.renamed.get(path, path), row) for path, row in known}
    if ref is not None and job.is_damaged(ref):
        readable = [one for shard, one in enumerate(job.draft.items) if shard not in job.lost_shards]
        found, origin = tombstones_again(job.root, ref, job.draft, readable, job.renamed)
        known |= found
        if origin is not None:
            job.restored(ref, origin)
        else:
            told = f"{len(known):,} are known, the others are found again"
            job.done.lost.append(f"{ref.path}: which {ref.rows:,} rows were removed; {told}")
    job.draft = replace(job.draft, deletes=None, dead=())
    job.bury = known


def _small_files(job: _Repair) -> None:
    """Forget failures and notes, which the next run finds again, and embed the canaries again."""
    draft = job.draft
    if draft.failures is not None and job.is_damaged(draft.failures):
        job.restored(draft.failures, "nothing: the next index finds the failures again")
        job.draft = draft = replace(draft, failures=None)
    if draft.notes is not None and job.is_damaged(draft.notes):
        job.restored(draft.notes, "nothing: the next index looks at those files again")
        job.draft = draft = replace(draft, notes=None)
    canaries = draft.space().canaries
    if canaries is None or not job.is_damaged(canaries):
        return
    try:
        new = write_canaries(job.root, layout.DEFAULT_SPACE, job.load())
    except NestvecError as error:
        job.done.lost.append(f"{canaries.path}: the encoder's canaries, without which it is not checked: {error}")
        new = None
    else:
        job.restored(canaries, "the encoder")
    job.draft = replace(draft, spaces={**draft.spaces, layout.DEFAULT_SPACE: replace(draft.space(), canaries=new)})


def _heads(job: _Repair) -> None:
    """Take out spaces whose head is lost: texts cannot be sent into them, nor new items."""
    for name, entry in list(job.draft.spaces.items()):
        if entry.head is None or not job.is_damaged(entry.head) or name not in job.draft.spaces:
            continue
        gone = set(with_derived(job.draft, name))
        job.done.lost.append(f"{entry.head.path}: the head of space {name!r}; apply it again")
        spaces = {key: one for key, one in job.draft.spaces.items() if key not in gone}
        default = layout.DEFAULT_SPACE if job.draft.default in gone else job.draft.default
        job.draft = replace(job.draft, spaces=spaces, default=default)


def _embeddings(job: _Repair) -> None:
    """Put damaged shards of vectors together again, those of a base before those that follow from it."""
    for name in (name for root in job.draft.roots for name in with_derived(job.draft, root)):
        for shard, ref in enumerate(job.draft.space(name).embeddings):
            if job.is_damaged(ref) and shard not in job.lost_shards:
                new = _vectors(job, name, shard, ref)
                entry = job.draft.space(name)
                embeddings = (*entry.embeddings[:shard], new, *entry.embeddings[shard + 1 :])
                job.draft = replace(job.draft, spaces={**job.draft.spaces, name: replace(entry, embeddings=embeddings)})


def _vectors(job: _Repair, space: str, shard: int, ref: FileRef) -> FileRef:
    root, draft = job.root, job.draft
    entry = draft.space(space)
    new, matrix = None, next((part.vectors for part in entry.parts if shard in part.vectors.span), None)
    if matrix is not None and not job.is_damaged(matrix):
        ids = read_table(root, draft.items[shard], ["id"]).column("id").to_numpy()
        new = vectors_from_matrix(root, draft, space, matrix, shard, ids)
    if new is not None:
        job.restored(ref, "the matrix for reranking")
    elif entry.base is not None:
        new = derived_shard(root, draft, space, draft.space(entry.base).embeddings[shard], {})
        job.restored(ref, f"space {entry.base} and the head")
    else:
        path = draft.items[shard].path
        dead = {row for other, row in job.bury if other == path}
        new, lost = vectors_from_sources(root, draft, space, shard, dead, job.encoder)
        job.bury |= {(path, one.row) for one in lost}
        job.done.lost += [f"{one.path}: its vector; the source is gone, or has changed since" for one in lost]
        if len(lost) < ref.rows - len(dead):
            job.restored(ref, "the sources")
    return new


# -- what is derived -------------------------------------------------------------------------


def _rebuilt(job: _Repair, base: Manifest, options: RunOptions, listener: Listener) -> changes.Change:
    """Bury what is lost, and return the change that lists anew what is derived, where something of it is damaged."""
    draft = tombstones.bury(job.root, job.bury)(job.draft)
    lookup, due = draft.lookup, []
    for name, entry in draft.spaces.items():
        damaged = [one.file for one in entry.coverings if job.is_damaged(one)]
        for ref in damaged:
            job.restored(ref, "the shards")
        if draft.rows and (damaged or entry.vectors is None):
            due.append(name)
            draft = replace(draft, spaces={**draft.spaces, name: entry.bare()})
    words = draft.words.covering
    if words is not None and job.is_damaged(words):
        job.restored(words.file, "the texts, when indexes are built or words are looked for")
        draft = replace(draft, words=draft.words.bare())
    if lookup is not None and job.is_damaged(lookup):
        job.restored(lookup.file, "the shards of items")
        draft = replace(draft, lookup=None)
        if draft.rows and not due:
            whole = save_lookup(job.root, draft.items)
            draft = replace(draft, lookup=changes.cover(draft, whole, range(len(draft.items))))
    job.draft = draft if draft.rows else _emptied(draft)
    return build_spaces(job.root, job.draft, _how(job, base, due, options, listener), listener)


def _how(
    job: _Repair, base: Manifest, due: list[str], options: RunOptions, listener: Listener
) -> dict[str, BuildOptions]:
    """Return how to build each space that is due: with the indexes it had."""
    if not due:
        return {}
    snapshot = Snapshot.draft(job.root, job.draft)
    build = available_options(job.load, snapshot, options, listener)
    return {name: as_before(base, snapshot, name, build, job.draft.rows) for name in due}


def _emptied(draft: Manifest) -> Manifest:
    spaces = {name: replace(entry.bare(), plans=(), tuning=None) for name, entry in draft.spaces.items()}
    return replace(draft, lookup=None, words=draft.words.bare(), spaces=spaces)
