"""The Python API: open a collection, add to it, search it, read what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.collection import history
from engine.collection.history import Version
from engine.jobs import compact, create, index, remove, spaces, update, words
from engine.jobs.batch import Batch, gathered, vectors_listing
from engine.jobs.index import RunOptions, Verb
from engine.jobs.run_encoder import DEFAULT_ENCODER
from engine.progress import Listener, Summary, as_listener
from engine.storage import layout
from engine.tuned import Tuned
from indexers import checks
from indexers.base import IndexSpec, read_specs
from indexers.errors import InvalidInput

if TYPE_CHECKING:
    from engine.query.where.tree import Filter

Paths = str | Path | Sequence[str | Path]
Specs = Sequence[str | IndexSpec]


class Collection(Tuned):
    """A searchable collection on disk.

    One open collection answers one version, from many threads at once; `refresh` moves on to the newest.

    Example:
        >>> with engine.Collection.open("photos.nest") as photos:
        ...     print(photos.search("a red bicycle", k=1).captions, photos.similar("drawings/cat.png", k=2).captions)
        ['bicycle'] [...]
    """

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: str = DEFAULT_ENCODER,
        dim: int | None = None,
        dtype: str = "float16",
        device: str = "auto",
        spaces: Mapping[str, int] | None = None,
    ) -> Collection:
        """Make an empty collection.

        Args:
            path: a directory that does not exist yet, or is empty.
            encoder: spec, see `nestvec encoders`; "precomputed" for vectors of your own.
            dim: their dimension, for "precomputed" only.
            dtype: how vectors are stored, "float16" or "float32".
            device: where pictures and queries are encoded.
            spaces: further spaces and their dimensions: vectors for them are handed in beside those of the main one.

        Raises:
            CollectionError: the directory is not empty.
            InvalidSpec: no such encoder.
            InvalidInput: a space cannot be called so, or have such a dimension.
        """
        from engine.encoders.registry import load_encoder

        root, dim = checks.path("path", path), checks.optional("dim", dim, checks.whole)
        device = checks.one_of("device", device, checks.DEVICES)
        loaded = load_encoder(checks.text("encoder", encoder), device=device, dim=dim)
        create.create(root, loaded, dtype=dtype, spaces=spaces)
        return cls(root, device=device, encoder=loaded)

    # -- changing it ---------------------------------------------------------------------

    def index(self, sources: Paths, options: RunOptions | None = None, listener: Listener | None = None) -> Summary:
        """Bring the collection in line with sources and build indexes; see `jobs.index.index`."""
        return self._ran(index.index, sources, options, listener)

    def add(self, sources: Paths, options: RunOptions | None = None, listener: Listener | None = None) -> Summary:
        """Add what is new or changed in sources; see `jobs.index.add`."""
        return self._ran(index.add, sources, options, listener)

    def add_vectors(
        self,
        vectors: Any,
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[str | None] | None = None,
        meta: Sequence[dict[str, Any]] | None = None,
        source: str = "api",
        spaces: Mapping[str, Any] | None = None,
    ) -> Summary:
        """Add vectors that this collection's encoder made: those of the main space, whichever is searched.

        Args:
            vectors: real [n, D]; normalised here. Derived spaces get theirs from them.
            names: unique in `source`; a name that is there already is replaced. Made from the vectors if None.
            captions: a text for each.
            meta: columns for each.
            source: what the names are unique in.
            spaces: real [n, D'] for each further space that the collection was made with, by name.

        Raises:
            InvalidVectors: not a matrix of D columns. A row that is zero or not finite is only
                counted as failed.
            InvalidInput: names, captions or columns that do not fit, or a `source` of pictures.
        """
        rows = vectors_listing(self.snapshot, vectors, names, captions, meta, source, spaces)
        return self._changed(index.add_listings(self.root, [rows], self._main, self._options(None)))

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Gather calls, and make one version of them all when the block ends; none if it ends with an error.

        Who adds or removes many items one by one is done much sooner so: a version is written to the disk and flushed.

        Example:
            >>> vectors = engine.Collection.open("vectors.nest")
            >>> with vectors.batch() as batch:
            ...     batch.remove("row-7")
            ...     for name, vector in zip("ab", np.eye(2, 32)):
            ...         batch.add_vectors([vector], names=[name])
            >>> batch.summary.added, batch.summary.removed
            (2, 1)

        Raises:
            CommitConflict: another process indexes the same items, or compacted the collection meanwhile.
        """
        batch = Batch(self.snapshot)
        yield batch
        listings, removed = gathered(batch)
        batch.summary = index.add_listings(self.root, listings, self._main, self._options(None), removed=removed)
        self.refresh()

    def build(
        self, specs: Specs | None = None, listener: Listener | None = None, *, space: str = layout.DEFAULT_SPACE
    ) -> Summary:
        """Build indexes now, over every row.

        Args:
            specs: such as "ivf-pq@128" or "flat@64"; chosen for the encoder and size if None.
            listener: hears about progress.
            space: whose.

        Raises:
            InvalidInput: there is no such space.
        """
        self.snapshot.manifest.named_space(checks.text("space", space), self.root)
        options, heard = replace(self._options(None), specs=read_specs(specs)), as_listener(listener)
        manifest = index.build(self.root, self._main(), options, heard, space=space)
        return self._changed(Summary(version=manifest.version))

    def remove(
        self,
        paths: Sequence[str] = (),
        *,
        ids: Sequence[int] = (),
        below: Sequence[str] = (),
        where: Filter | str | dict[str, Any] | None = None,
    ) -> Summary:
        """Take items out; see `jobs.remove.remove`. One path or folder may be given as it is.

        `where` takes out what a filter lets through in the version that is open; nothing, if that is nothing.
        """
        if where is not None and not (ids := self._and_matching(paths, ids, below, where)) and not paths and not below:
            return Summary(version=self.version)
        return self._changed(remove.remove(self.root, paths, ids=ids, below=below))

    def _and_matching(self, paths: Any, ids: Any, below: Any, where: Any) -> list[int]:
        """Return ids and those that a filter lets through, when all that was named has been looked at."""
        _, numbers = remove.checked_names(paths, ids, or_else=True)
        checks.texts("below", below)
        return [*numbers, *self.matching(where).tolist()]

    def update(self, where: Filter | str | dict[str, Any], columns: Mapping[str, Any]) -> Summary:
        """Set columns of the items that a filter lets through; nothing is encoded.

        A source that says something else of an item than before is believed again; until then what is set here stays.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> photos.update("folder = 'photos'", {"kind": "photo", "stars": 3}).relabelled
            18
            >>> photos.facets("kind", "stars > 2")
            {'photo': 18}

        Args:
            where: a filter.
            columns: values by column; None takes one away. `caption` may be among them.

        Raises:
            InvalidFilter: the filter is none.
            InvalidInput: a column that is not yours to set, or a text that is none. What Arrow has no type for is
                stored as its text.
            CommitConflict: another process has changed the items meanwhile.
        """
        if where is None:
            raise InvalidInput("say with a filter which items are meant: TRUE is true of all of them")
        snapshot, allowed = self._allowed(where)
        made = update.update(snapshot, allowed.numbers, columns)
        if made is None:
            return Summary(version=self.version)
        return self._changed(Summary(version=made.version, relabelled=allowed.count))

    def update_each(self, items: Any, columns: Mapping[str, Any]) -> Summary:
        """Set columns of items, of each its own value; otherwise as `update`.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> found = photos.between("an animal", "a vehicle")
            >>> photos.update_each(found["id"], {"vehicle": found["share"]}).relabelled == len(photos)
            True
            >>> photos.search("a boat", k=1, where="vehicle > 0.9").captions
            ['sailboat']

        Args:
            items: ids, or paths or names, each item once; a column or an array of ids too.
            columns: by column as many values, in that order, as a list, an array or a column of a table; None among
                them takes one away.

        Raises:
            ItemNotFound: there is no such item.
            InvalidInput: another number of values, an item that comes twice; and as for `update`.
            CommitConflict: another process has changed the items meanwhile.
        """
        rows = self._rows_of(items)
        made = update.update_each(self.snapshot, rows, columns)
        if made is None:
            return Summary(version=self.version)
        return self._changed(Summary(version=made.version, relabelled=len(rows)))

    def delete(self, where: Filter | str | dict[str, Any]) -> Summary:
        """Take out the items that a filter lets through; `remove` takes out what is named.

        Example:
            >>> engine.Collection.open("photos.nest").delete("caption = 'bus'").removed
            1

        Raises:
            InvalidFilter: the filter is none.
        """
        return self.remove(where=where)

    def purge(
        self,
        paths: Sequence[str] = (),
        *,
        ids: Sequence[int] = (),
        below: Sequence[str] = (),
        where: Filter | str | dict[str, Any] | None = None,
        listener: Listener | None = None,
    ) -> tuple[Summary, tuple[int, ...]]:
        """Take items out so that their bytes are in no file; return also the versions somebody still has open."""
        heard = as_listener(listener)
        if where is not None and not (ids := self._and_matching(paths, ids, below, where)) and not paths and not below:
            return Summary(version=self.version), ()
        gone = remove.remove(self.root, paths, ids=ids, below=below, purge=True)
        self.refresh()
        with compact.telling_how_to_go_on(self.root):
            summary = self.compact(heard)
            held = compact.expire_all(self.root, self.snapshot.manifest)
        return replace(summary, removed=gone.removed), held

    def compact(self, listener: Listener | None = None) -> Summary:
        """Rewrite shards and indexes without what was removed."""
        heard = as_listener(listener)
        options = index.available_options(self._main, self.snapshot, self._options(None), heard)
        return self._changed(compact.compact(self.root, options, heard))

    def index_words(
        self, columns: Sequence[str] | None = None, *, stem: str | None = None, listener: Listener | None = None
    ) -> Summary:
        """Say which words of the items can be looked for, from now on.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> _ = photos.index_words(["caption"])
            >>> len(photos.search(words="bicycle"))
            1

        Args:
            columns: `caption`, `path`, or your own ones of texts or lists of texts; captions, paths, and what is called
                title, description, keywords or tags if None.
            stem: the language whose stems count instead of words, such as "english"; None for the words as they are.
            listener: hears about progress.

        Raises:
            InvalidInput, DependencyMissing, CommitConflict: see `jobs.words.index_words`.
        """
        language = checks.optional("stem", stem, checks.text)
        made = words.index_words(self.root, columns, language, as_listener(listener))
        return self._changed(Summary(version=made.version))

    def apply_head(
        self,
        path: str | Path,
        name: str = spaces.NESTED,
        *,
        specs: Specs | None = None,
        dtype: str | None = None,
        use: bool = False,
        listener: Listener | None = None,
    ) -> Summary:
        """Add a space: the stored vectors sent through a head, without encoding a picture again.

        Args:
            path: the head's file; the collection keeps a copy of it.
            name: of the space.
            specs: its prefix indexes; if None those at the dimensions the head was trained for.
            dtype: how its vectors are stored; as those of the main space if None.
            use: whether it is searched from now on where no space is named.
            listener: hears about progress.

        Raises:
            HeadError, EncoderMismatch, InvalidInput, CommitConflict: see `jobs.spaces.apply_head`.
        """
        options = spaces.HeadOptions(name, read_specs(specs), dtype, use, self._device)
        return self._changed(spaces.apply_head(self.root, path, options, listener, load=self._main))

    def remove_space(self, name: str) -> Summary:
        """Take a derived space out; see `jobs.spaces.remove_space`."""
        summary = spaces.remove_space(self.root, checks.text("name", name))
        self._wanted = None if self._wanted == name else self._wanted
        return self._changed(summary)

    def versions(self) -> list[Version]:
        """Return the versions that are kept, the newest first; those that only set ids aside are left out."""
        return history.versions(self.root)

    def rollback(self, version: int) -> Summary:
        """Make what an older version was the newest again; see `collection.history.rollback`."""
        made = history.rollback(self.root, version)
        self._wanted = self._wanted if self._wanted in made.spaces else None  # as for `remove_space`
        return self._changed(Summary(version=made.version))

    def use(self, name: str) -> Summary:
        """Make a space the one that is searched where none is named, here and for everybody who opens it."""
        return self._changed(spaces.use_space(self.root, checks.text("name", name)))

    def _ran(self, verb: Verb, sources: Any, options: Any, listener: Any) -> Summary:
        paths, how = checks.paths("sources", sources), self._options(options)
        return self._changed(verb(self.root, paths, how, as_listener(listener)))

    def _options(self, options: RunOptions | None) -> RunOptions:
        if options is None:
            return RunOptions(device=self._device)
        return checks.instance("options", options, RunOptions)

    def _changed(self, summary: Summary) -> Summary:
        self.refresh()
        return summary
