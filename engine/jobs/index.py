"""The runs that bring a collection in line with its sources: index, add."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.collection import commit, reading
from engine.collection.absent import is_away
from engine.collection.encoder import is_precomputed
from engine.collection.manifest import Manifest, Source
from engine.collection.named import named, remember_named
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import map_queries
from engine.encoders.base import Encoder, require_modality
from engine.ingest.compare import Comparison
from engine.ingest.disks import on_another_disk
from engine.ingest.entries import VectorListing
from engine.ingest.folders import Folder, SingleFiles
from engine.ingest.joined import TableOptions
from engine.ingest.moves import is_moved
from engine.ingest.options import EncodeOptions
from engine.ingest.sources import Moved, Sources, open_sources
from engine.ingest.sync import Sync
from engine.ingest.wanted import WantedOptions
from engine.jobs.build import BuildOptions, build_indexes
from engine.jobs.create import create_first
from engine.jobs.due import is_due, tail_rows
from engine.jobs.run_encoder import RunEncoder, check_dimensions, first_encoder, say_encoder
from engine.planning.prompts import text_sample
from engine.progress import DEFAULT_ACCEPT_LOSS, Listener, Summary, Unjoined, Unnamed, as_listener
from engine.storage import layout
from engine.storage.names import command
from indexers import checks
from indexers.base import IndexSpec, read_specs
from indexers.build import BuildDevice
from indexers.errors import CollectionError, NestvecError, SourceError
from indexers.families.registry import resolve_all
from indexers.store import DTYPES

NAMED_ROWS = 5

# Specs are checked before anything is encoded, for more rows than they could fail on.
MANY_ROWS = 1 << 40


@dataclass(frozen=True)
class RunOptions:
    """Everything about a run that is not the collection or its sources.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> summary = vectors.index("vectors.npy", engine.RunOptions(specs=["flat@16", "sq@24"], rebuild=True))
        >>> summary.added, [str(entry.spec) for entry in vectors.space.indexes]
        (1200, ['flat@16', 'sq@24:bits=8'])

    Attributes:
        encoder: spec; for an existing collection its own is used when None.
        pool: pooling of a resnet encoder.
        device: where to encode and build: "auto", "cpu", "cuda" or "mps".
        dtype: storage of a new collection's vectors, "float16" or "float32".
        specs: prefix indexes; chosen if None.
        rebuild: build indexes even if they are not due.
        accept_loss: the share of its items that a source may show less than before, more than 0 and at most 1. Where it
            shows still less, or nothing, a drive may be away: nothing of it is removed, and the summary tells. With 1
            whatever is missing is removed.
        encode: batch size, workers, pixel cap.
        table: captions and columns.
        wanted: what of folders is passed over.
    """

    encoder: str | None = None
    pool: str | None = None
    device: str = "auto"
    dtype: str = "float16"
    specs: Sequence[IndexSpec] | None = None
    rebuild: bool = False
    accept_loss: float = DEFAULT_ACCEPT_LOSS
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    table: TableOptions = field(default_factory=TableOptions)
    wanted: WantedOptions = field(default_factory=WantedOptions)

    def __post_init__(self) -> None:
        checks.settle(
            self,
            encoder=checks.optional("encoder", self.encoder, checks.text),
            pool=checks.optional("pool", self.pool, checks.text),
            device=checks.one_of("device", self.device, checks.DEVICES),
            dtype=checks.one_of("dtype", self.dtype, DTYPES),
            specs=read_specs(self.specs),
            rebuild=checks.truth("rebuild", self.rebuild),
            accept_loss=checks.share("accept_loss", self.accept_loss),
            encode=checks.instance("encode", self.encode, EncodeOptions),
            table=checks.instance("table", self.table, TableOptions),
            wanted=checks.instance("wanted", self.wanted, WantedOptions),
        )


Verb = Callable[[Path, Sequence[Path], RunOptions, Listener], Summary]
"""`index` or `add`."""


def index(root: Path, paths: Sequence[Path], options: RunOptions, listener: Listener | None = None) -> Summary:
    """Make a collection from sources, or bring it in line with them.

    New and changed items are encoded, renamed ones keep their vectors, and items that are gone from the
    sources named here are removed. Indexes are built when they are due.

    Args:
        root: the collection; made if missing.
        paths: folders, pictures, tables of pictures, or files of vectors.
        options: how.
        listener: hears about progress.
    """
    return _run(root, paths, options, as_listener(listener), notice_gone=True)


def add(root: Path, paths: Sequence[Path], options: RunOptions, listener: Listener | None = None) -> Summary:
    """Add what is new or changed in sources to an existing collection; nothing is removed.

    Raises:
        NotACollection: there is none at `root`.
    """
    commit.current_version(root)
    return _run(root, paths, options, as_listener(listener), notice_gone=False)


def _run(root: Path, paths: Sequence[Path], options: RunOptions, listener: Listener, *, notice_gone: bool) -> Summary:
    started = time.perf_counter()
    summary = Summary()
    manifest = _newest(root)
    moved, believed = _moves(root, listener), named(root)
    sources = open_sources(paths, options.table, manifest, moved=moved, believed=believed, wanted=options.wanted)
    for note in sources.tables.notes:
        listener.say(note)
    summary.unread, summary.taken = sources.tables.unread, sources.tables.taken
    load, checked = _prepared(root, manifest, sources, options, listener)

    def compared(_: Comparison) -> None:
        if sources.labels is not None:
            sources.labels.check_joined()

    remember_named(root, sources.named)
    for source in on_another_disk(root, [one.source for one in sources.listings]):
        listener.say(f"{source.location} is on another disk than when it was indexed last")
    for source in _away(manifest, sources):
        listener.say(
            f"source {source.name} is not there any more ({source.location}); its items stay. If it was moved, name "
            f"its new place: {command('index', 'NEW_PLACE', root)}; if they are to go: "
            f"{command('remove', root, '--below', source.location)}"
        )
    sync = Sync(root, checked, options.encode, listener, summary)
    sync.run(sources.listings, notice_gone=notice_gone, accept_loss=options.accept_loss, compared=compared)
    for note in sources.passed_over:
        listener.say(note)
    summary.unjoined, summary.unnamed = list(_unjoined(sources)), list(_unnamed(sources))
    result = finish(root, load, options, listener)
    summary.version = result.version
    summary.unindexed = tail_rows(result, result.default)
    summary.seconds = time.perf_counter() - started
    return summary


Load = Callable[[], Encoder]


def _prepared(
    root: Path, manifest: Manifest | None, sources: Sources, options: RunOptions, listener: Listener
) -> tuple[Load, Load]:
    """Make the collection if there is none, and refuse what does not fit into it.

    Returns:
        what loads the encoder, and what does and finds out whether it still is what it was.
    """
    pool, device = options.pool, options.device
    if manifest is None:
        new = first_encoder(options.encoder, sources.vectors, only=sources.only_vectors, pool=pool, device=device)
        if not sources.only_vectors:
            require_modality(new, "image")
            say_encoder(new, listener)
        dims = {**next((one.dims for one in sources.vectors), {}), layout.DEFAULT_SPACE: new.dim}
        _check_spaces(sources, dims)
        check_dimensions(new.name, dims, sources.vectors)
        resolve_all(options.specs or (), MANY_ROWS, new.dim)
        _check_joined(sources)
        create_first(root, new, options.dtype, {name: dims[name] for name in dims if name != layout.DEFAULT_SPACE})
        return (lambda: new), (lambda: new)
    space = manifest.space()
    dims = manifest.dims
    _check_spaces(sources, dims)
    encoder = RunEncoder(root, manifest, wanted=options.encoder, pool=pool, device=device, listener=listener)
    if encoder.is_in_doubt:
        _learn_spec(root, manifest, encoder.loaded)
    if is_precomputed(space.encoder) and not sources.only_vectors:
        require_modality(encoder.loaded, "image")
    check_dimensions(space.encoder, dims, sources.vectors)
    resolve_all(options.specs or (), MANY_ROWS, space.dim)
    return (lambda: encoder.loaded), (lambda: encoder.checked)


def _check_spaces(sources: Sources, dims: Mapping[str, int]) -> None:
    """Refuse pictures where items have vectors that no encoder makes.

    Raises:
        SourceError: there are such.
    """
    if len(dims) > 1 and not sources.only_vectors:
        others = ", ".join(name for name in dims if name != layout.DEFAULT_SPACE)
        raise SourceError(
            f"items of this collection have vectors of their own in the spaces {others}, which no encoder makes: "
            "pictures cannot be added to it"
        )


def _away(manifest: Manifest | None, sources: Sources) -> Iterator[Source]:
    """Yield the sources of pictures that are not there, and that none of those named here is."""
    here = {one.source.name for one in sources.listings}
    for source in manifest.sources if manifest else ():
        if source.kind in ("folder", "containers", "container") and source.name not in here and is_away(source):
            yield source


def _unjoined(sources: Sources) -> Iterator[Unjoined]:
    """Yield the tables that name files which were not found in any source of the run."""
    for table in dict.fromkeys(table.name for table in sources.whole):
        own = [one for one in sources.whole if one.name == table]
        left = [name for name in own[0].rows if all(name not in one.used for one in own)]
        if left:
            yield Unjoined(table, len(left), tuple(left[:NAMED_ROWS]))


def _unnamed(sources: Sources) -> Iterator[Unnamed]:
    """Yield the sources with pictures that none of their tables names; where one could not be read, nobody knows."""
    for listing in sources.listings:
        joined = listing.labels if isinstance(listing, Folder | SingleFiles) else None
        if joined is not None and joined.complete and joined.unnamed:
            yield Unnamed(listing.source.name, joined.unnamed, tuple(joined.first))


def _moves(root: Path, listener: Listener) -> Moved:
    """Return what tells whether a source was moved, and says so."""

    def moved(source: Source, path: Path) -> bool:
        with Snapshot.open(root) as snapshot:
            found = is_moved(snapshot, source, path)
        if found:
            listener.say(f"{source.location} is gone, and {path} holds the same: taken as moved there")
        return found

    return moved


def _check_joined(sources: Sources) -> None:
    """Find out whether a table fits before a collection is made for it: until its first row that names a file."""
    if sources.labels is None:
        return
    for listing in sources.listings:
        if not isinstance(listing, VectorListing):
            for _ in listing.entries():
                if sources.labels.used:
                    return
    sources.labels.check_joined()


def _learn_spec(root: Path, manifest: Manifest, encoder: Encoder) -> None:
    """Note where the encoder's files are now, if the user named the same encoder by other paths."""
    if encoder.name != manifest.space().encoder:

        def change(base: Manifest) -> Manifest:
            space = replace(base.space(), encoder=encoder.name)
            return replace(base, spaces={**base.spaces, layout.DEFAULT_SPACE: space})

        commit.commit(root, change, operation="encoder")


def _newest(root: Path) -> Manifest | None:
    """Return the newest version, or None where a collection can be made."""
    if not reading.exists(root):
        try:
            commit.check_free(root)
            return None
        except CollectionError:
            if not reading.exists(root):  # else it was made between the two looks
                raise
    return reading.read_version(root, commit.current_version(root))


def add_listings(
    root: Path,
    listings: Sequence[VectorListing],
    load: Load,
    options: RunOptions,
    listener: Listener | None = None,
    *,
    removed: Iterable[int] = (),
) -> Summary:
    """Add listings, whose vectors exist already, and remove items by their ids, all as one version.

    The collection's encoder is loaded if indexes are due.
    """
    started = time.perf_counter()
    summary = Summary()
    heard = as_listener(listener)
    sync = Sync(root, load, options.encode, heard, summary)
    sync.run(listings, notice_gone=False, removed=removed)
    result = finish(root, load, options, heard)
    summary.version = result.version
    summary.unindexed = tail_rows(result, result.default)
    summary.seconds = time.perf_counter() - started
    return summary


def finish(root: Path, load: Load, options: RunOptions, listener: Listener) -> Manifest:
    """Build the indexes of every space where they are due, and return the newest version.

    `options.specs` are for the main space; the others keep theirs.
    """
    with Snapshot.open(root) as snapshot:
        manifest = snapshot.manifest
        specs = {layout.DEFAULT_SPACE: options.specs}
        due = [name for name in manifest.spaces if options.rebuild or is_due(manifest, name, specs.get(name))]
        if not due or not snapshot.rows:
            return manifest
        build = build_options(load(), snapshot, options)
        wanted = {name: for_space(build, snapshot, name, specs.get(name)) for name in due}
    for name, how in wanted.items():
        manifest = build_indexes(root, name, how, listener)
    return manifest


def build(
    root: Path, encoder: Encoder, options: RunOptions, listener: Listener, *, space: str = layout.DEFAULT_SPACE
) -> Manifest:
    """Build the indexes of one space now, over every row, and return the newest version."""
    with Snapshot.open(root) as snapshot:
        if not snapshot.rows:
            return snapshot.manifest
        how = for_space(build_options(encoder, snapshot, options), snapshot, space, options.specs)
    return build_indexes(root, space, how, listener)


def build_options(encoder: Encoder, snapshot: Snapshot, options: RunOptions) -> BuildOptions:
    """Gather what a build of the main space needs to know: specs, a sample of texts, the device."""
    return BuildOptions(options.specs, text_sample(encoder, snapshot), build_device(options.device))


def build_device(device: str) -> BuildDevice:
    """Return where to build, given where to encode."""
    devices: dict[str, BuildDevice] = {"cpu": "cpu", "cuda": "cuda"}
    return devices.get(device, "auto")


def for_space(options: BuildOptions, snapshot: Snapshot, space: str, specs: Sequence[IndexSpec] | None) -> BuildOptions:
    """Return how to build a space, given how to build the main one: its own specs, and texts sent through its heads."""
    texts = options.texts
    if not snapshot.manifest.is_encoded(space):
        texts = None  # the encoder's texts lead nowhere there
    elif texts is not None:
        texts = map_queries(snapshot.root, snapshot.manifest, space, texts)
    return replace(options, specs=specs, texts=texts)


def available_options(
    load: Callable[[], Encoder], snapshot: Snapshot, options: RunOptions, listener: Listener
) -> BuildOptions:
    """Do as `build_options`, without a sample of texts where the encoder is not at hand."""
    try:
        return build_options(load(), snapshot, options)
    except NestvecError as error:
        listener.say(f"the plan is chosen without text queries: {error}")
        return BuildOptions(options.specs, device=build_device(options.device))
