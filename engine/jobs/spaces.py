"""Heads on a collection: a space more without encoding anything again, a space less, and which one is searched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.encoder import encoder_of
from engine.collection.fold import settled
from engine.collection.manifest import Manifest, Space
from engine.collection.reading import MOST_DIMENSIONS
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import derive_shard, write_head
from engine.encoders.base import Encoder
from engine.encoders.bundled.shipped import open_head
from engine.encoders.headed import MARK, encoder_of_head, headed_fingerprint, require_encoder
from engine.heads.model import Head
from engine.jobs.build import build_space
from engine.jobs.due import tail_rows
from engine.jobs.index import MANY_ROWS, RunOptions, available_options, for_space
from engine.progress import Listener, Summary, as_listener
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from indexers import checks
from indexers.base import IndexSpec, read_specs
from indexers.errors import HeadError, InvalidInput
from indexers.families.registry import resolve_all
from indexers.store import DTYPES, check_dtype

NESTED = "nested"
"""What a derived space is called if nobody says."""


@dataclass(frozen=True)
class HeadOptions:
    """How a head is applied.

    Attributes:
        name: of the new space.
        specs: its prefix indexes; if None those at the dimensions the head was trained for.
        dtype: how its vectors are stored; as those of its base if None.
        use: whether it becomes the space that is searched where none is named.
        device: where to build indexes, and to encode the texts a plan is measured with.
    """

    name: str = NESTED
    specs: Sequence[IndexSpec] | None = None
    dtype: str | None = None
    use: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        checks.settle(
            self,
            name=checks.text("name", self.name),
            specs=read_specs(self.specs),
            dtype=checks.optional("dtype", self.dtype, partial(checks.one_of, known=DTYPES)),
            use=checks.truth("use", self.use),
            device=checks.one_of("device", self.device, checks.DEVICES),
        )


def apply_head(
    root: Path,
    path: str | Path,
    options: HeadOptions | None = None,
    listener: Listener | None = None,
    *,
    load: Callable[[], Encoder] | None = None,
) -> Summary:
    """Add a space: the stored vectors of the space a head belongs to, sent through it, with indexes and a plan.

    Everything becomes visible in one version; whatever happens before, the collection stays as it was. Rows that
    another process adds meanwhile are in the new space too. A head whose space is there already is only put to
    use, if `options.use` says so.

    Args:
        root: the collection.
        path: the head's file, or the name of a shipped one; the collection keeps a copy.
        options: how.
        listener: hears about progress.
        load: makes the collection's encoder, whose text tower the plan is measured with; loaded here if None.

    Raises:
        HeadError: the file is damaged, or is no head.
        EncoderMismatch: the head belongs to an encoder that made no space of the collection.
        InvalidInput: the name is taken, or is none.
        InvalidSpec: indexes or a dtype that cannot be.
        CommitConflict: another process compacted the collection meanwhile.
    """
    started = time.perf_counter()
    how, heard = options or HeadOptions(), as_listener(listener)
    head = open_head(checks.path("path", path))
    with Snapshot.open(root) as snapshot:
        base = _base(snapshot.manifest, head, str(path))
        there = _is_there(snapshot.manifest, base, head, how)
        if not there:
            _check(root, snapshot.manifest, head, how, str(path))
    if there:
        result = commit(root, changes.use_space(root, how.name), operation="use")
    else:
        with settled(root), Snapshot.open(root) as snapshot, writing(root):
            change = _prepared(snapshot, base, head, how, heard, load)
            result = commit(root, change, operation="apply-head")
    unindexed = tail_rows(result, how.name)
    return Summary(version=result.version, unindexed=unindexed, seconds=time.perf_counter() - started)


def _base(manifest: Manifest, head: Head, path: str) -> str:
    """Return the space whose vectors a head takes."""
    wanted = encoder_of_head(head, name=path)
    for name, entry in manifest.spaces.items():
        if entry.fingerprint == wanted:
            return name
    require_encoder(head, manifest.space().fingerprint, name=path)
    return layout.DEFAULT_SPACE


def _is_there(manifest: Manifest, base: str, head: Head, how: HeadOptions) -> bool:
    """Whether all that is asked for is to use a space that this very head made."""
    entry = manifest.spaces.get(how.name)
    if not how.use or how.specs is not None or entry is None or entry.base != base:
        return False
    same = entry.fingerprint == headed_fingerprint(manifest.space(base).fingerprint, head)
    return same and how.dtype in (None, entry.dtype)


def _check(root: Path, manifest: Manifest, head: Head, how: HeadOptions, path: str) -> None:
    """Refuse what cannot be done, before anything is done."""
    if not layout.is_space_name(how.name):
        raise InvalidInput(f"a space is called by 1 to 64 of a–z, 0–9, _ and -; found {how.name!r}")
    if how.name in manifest.spaces:
        derived_one = manifest.space(how.name).base is not None
        remedy = f", or remove that one first: nestvec remove {root} --space {how.name}" if derived_one else ""
        raise InvalidInput(f"{root} has a space {how.name!r} already. Choose another name{remedy}")
    if head.dim > MOST_DIMENSIONS:
        raise HeadError(f"head {path} makes {head.dim} dimensions; a collection takes up to {MOST_DIMENSIONS}")
    check_dtype(how.dtype or "float16")
    resolve_all(how.specs or (), MANY_ROWS, head.dim)


def _prepared(
    snapshot: Snapshot,
    base: str,
    head: Head,
    how: HeadOptions,
    listener: Listener,
    load: Callable[[], Encoder] | None,
) -> changes.Change:
    """Derive and build everything, and return the change that lists it."""
    root, manifest = snapshot.root, snapshot.manifest
    origin = manifest.space(base)
    listener.say(f"space {how.name}: a {head.objective} head, {head.dim_in} → {head.dim} dimensions")
    stored = write_head(root, how.name, head)
    entry = Space(
        encoder=f"{base}{MARK}{stored.path}",
        fingerprint=headed_fingerprint(origin.fingerprint, head),
        canaries=None,
        dim=head.dim,
        dtype=how.dtype or origin.dtype,
        embeddings=_embeddings(snapshot, base, head, how, listener),
        base=base,
        head=stored,
    )
    change = changes.add_space(root, how.name, entry, origin.embeddings)
    if snapshot.rows:
        draft = Snapshot.draft(root, change(manifest))
        run = RunOptions(device=how.device)
        build = available_options(load or (lambda: _load(manifest, how.device)), draft, run, listener)
        build = for_space(build, draft, how.name, how.specs)
        change = changes.chain(change, build_space(draft, how.name, build, listener))
    return changes.chain(change, changes.use_space(root, how.name)) if how.use else change


def _embeddings(snapshot: Snapshot, base: str, head: Head, how: HeadOptions, listener: Listener) -> tuple[FileRef, ...]:
    """Send the base's shards through the head, one at a time."""
    origin = snapshot.manifest.space(base)
    made: list[FileRef] = []
    with listener.progress("applying the head", snapshot.rows) as advance:
        for shard in origin.embeddings:
            snapshot.ensure([shard])
            dtype = how.dtype or origin.dtype
            made.append(derive_shard(snapshot.root, shard, origin, head, space=how.name, dtype=dtype))
            advance(shard.rows)
    return tuple(made)


def _load(manifest: Manifest, device: str) -> Encoder:
    return encoder_of(manifest.space(), wanted=None, pool=None, device=device)


def remove_space(root: Path, name: str) -> Summary:
    """Take a derived space out of a collection. If it was the default, the main space is searched again.

    Raises:
        InvalidInput: there is none of that name, it is the main space, or others are derived from it.
    """
    started = time.perf_counter()
    result = commit(root, changes.drop_space(root, name), operation="remove-space")
    return Summary(version=result.version, seconds=time.perf_counter() - started)


def use_space(root: Path, name: str) -> Summary:
    """Make a space the one that is searched where none is named.

    Raises:
        InvalidInput: there is none of that name.
    """
    started = time.perf_counter()
    result = commit(root, changes.use_space(root, name), operation="use")
    return Summary(version=result.version, seconds=time.perf_counter() - started)
