"""Gather what a head learns from: a collection's vectors, or files of vectors, with labels, captions and queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.collection import cells, reading
from engine.collection.encoder import PRECOMPUTED, encoder_of
from engine.collection.shards import CAPTION
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder, Fingerprint, require_modality
from engine.encoders.registry import load_encoder
from engine.heads.training.options import LABELLED, PAIRED, Examples
from engine.ingest.entries import VectorListing
from engine.ingest.joined import TableOptions
from engine.ingest.sources import open_sources
from indexers import checks
from indexers.errors import InvalidInput, SourceError, did_you_mean
from indexers.vectors import FloatArray

MOST_ROWS = 200_000
TEXTS_AT_ONCE = 1024

Columns = dict[str, Any]


@dataclass(frozen=True)
class ExampleOptions:
    """Where the parts of the examples come from.

    Example:
        >>> options = engine.TrainOptions("supervised", dims=(4, 16), steps=20)
        >>> engine.train_head("vectors.nest", options, engine.ExampleOptions(labels="kind")).objective
        'supervised'

    Attributes:
        labels: column of labels, "caption" or one of the user's own; for `supervised`.
        pairs: a second vector for each row, `.npy` or Parquet; the captions if None; for `paired`.
        queries: vectors, or texts one a line (`.txt`), or "captions"; for `rotation`.
        encoder: what made vectors that lie in files; `precomputed` if None.
        table: captions and columns that lie row for row beside a file of vectors.
        rows: at most so many are drawn.
        device: where texts are encoded.
    """

    labels: str | None = None
    pairs: Path | None = None
    queries: str | None = None
    encoder: str | None = None
    table: TableOptions = field(default_factory=TableOptions)
    rows: int = MOST_ROWS
    device: str = "auto"

    def __post_init__(self) -> None:
        texts = {name: getattr(self, name) for name in ("labels", "encoder")}
        checks.settle(
            self,
            **{name: checks.optional(name, given, checks.text) for name, given in texts.items()},
            queries=None if self.queries is None else str(checks.path("queries", self.queries)),
            pairs=checks.optional("pairs", self.pairs, checks.path),
            table=checks.instance("table", self.table, TableOptions),
            rows=checks.whole("rows", self.rows),
            device=checks.one_of("device", self.device, checks.DEVICES),
        )


@dataclass
class Drawn:
    """Rows drawn from a source: an even sample, however long it is, in bounded memory.

    Attributes:
        vectors: float32 blocks.
        columns: of each row: "caption" where it has one, and the user's own.
        numbers: where each row was in the source.
        known: names of the user's columns, as far as they were seen.
        seen: rows the source has.
    """

    most: int
    rng: np.random.Generator
    vectors: list[FloatArray] = field(default_factory=list)
    columns: list[Columns] = field(default_factory=list)
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    seen: int = 0

    def __post_init__(self) -> None:
        self._lots: list[NDArray[np.float64]] = []
        self._bar = 1.0

    def add(self, vectors: FloatArray, columns: Callable[[int], Columns]) -> None:
        """Draw lots for the rows of a block, and keep those below the bar."""
        lots = self.rng.random(len(vectors))
        kept = np.flatnonzero(lots < self._bar)
        self.vectors.append(vectors[kept])
        self.columns += [columns(int(row)) for row in kept]
        self.numbers.append(self.seen + kept)
        self._lots.append(lots[kept])
        self.seen += len(vectors)
        if len(self.columns) > 2 * self.most:
            self.thin()

    def thin(self) -> None:
        """Lower the bar so that at most `most` rows are below it."""
        if len(self.columns) <= self.most:
            return
        lots = np.concatenate(self._lots)
        self._bar = float(np.partition(lots, self.most)[self.most])
        kept = np.flatnonzero(lots < self._bar)
        self.vectors = [np.concatenate(self.vectors)[kept]]
        self.columns = [self.columns[row] for row in kept]
        self.numbers = [np.concatenate(self.numbers)[kept]]
        self._lots = [lots[kept]]

    def matrix(self, dim: int) -> FloatArray:
        """Return the vectors drawn, float32 [n, dim]."""
        return np.concatenate(self.vectors) if self.vectors else np.empty((0, dim), np.float32)


@dataclass(frozen=True)
class Origin:
    """The encoder whose vectors they are; it is loaded only where texts have to be encoded.

    Attributes:
        dim: length of a vector.
        fingerprint: its fingerprint.
        load: makes the encoder.
    """

    dim: int
    fingerprint: Fingerprint
    load: Callable[[], Encoder]


@dataclass(frozen=True)
class Gathered:
    """Examples, whose vectors they are, and what to write of them in the head's header."""

    examples: Examples
    fingerprint: Fingerprint
    described: dict[str, Any]


def gather(sources: Sequence[Path], objective: str, options: ExampleOptions, seed: int) -> Gathered:
    """Read what a head is to be trained on.

    Args:
        sources: one collection, or files of vectors.
        objective: decides which parts are needed.
        options: where they are.
        seed: of the sample.

    Raises:
        SourceError: something cannot be read, or does not lie row for row beside the vectors.
        InvalidInput: a column that is not there, or an option the objective has no use for.
    """
    _check_meant(objective, options)
    drawn = Drawn(options.rows, np.random.default_rng([seed, 8]))
    if len(sources) == 1 and sources[0].is_dir() and reading.exists(sources[0]):
        origin = _from_collection(sources[0], drawn, options)
    else:
        origin = _from_files(sources, drawn, options)
    drawn.thin()
    x = drawn.matrix(origin.dim)
    described: dict[str, Any] = {"source": [path.name for path in sources], "rows_seen": drawn.seen}
    keep, labels = np.arange(len(x)), None
    if objective == LABELLED:
        keep, labels, described["classes"] = _labels(drawn, options.labels)
        described["labels"] = options.labels
    pairs = None
    if objective == PAIRED:
        keep, pairs = _pairs(drawn, origin, options)
        described["pairs"] = "captions" if options.pairs is None else options.pairs.name
    queries = None
    if options.queries is not None:
        queries = _queries(options.queries, drawn.columns, origin)
        described["queries"] = {"from": Path(options.queries).name, "rows": len(queries)}
    if len(keep) < len(x):
        described["rows_without"] = len(x) - len(keep)
    return Gathered(Examples(x[keep], labels, pairs, queries), origin.fingerprint, described)


def _check_meant(objective: str, options: ExampleOptions) -> None:
    needed = {"labels": LABELLED, "pairs": PAIRED, "queries": "rotation"}
    for name, wanted in needed.items():
        if getattr(options, name) is not None and objective != wanted:
            raise InvalidInput(f"--{name} was given, and objective {objective} has no use for it: it is for {wanted}")
    if objective == LABELLED and options.labels is None:
        raise InvalidInput("objective supervised needs labels: name their column with --labels")


def _from_collection(root: Path, drawn: Drawn, options: ExampleOptions) -> Origin:
    if options.table.table is not None or options.encoder is not None:
        raise InvalidInput("a collection has its own encoder and columns: leave out --encoder and --table")
    with Snapshot.open(root) as snapshot:
        space = snapshot.manifest.space()
        shards = zip(snapshot.item_tables(), snapshot.stored_vectors("main"), strict=True)
        for number, (table, (_, stored)) in enumerate(shards):
            live = snapshot.live_in(number).numbers
            rows = live.tolist()
            # Only the columns that are asked for become Python objects.
            names = [name for name in {options.labels, CAPTION} if name and _stored_name(name) in table.column_names]
            values = {name: cells.values(table.column(_stored_name(name))) for name in names}

            def columns(row: int, rows: list[int] = rows, values: dict[str, list[Any]] = values) -> Columns:
                return {name: column[rows[row]] for name, column in values.items()}

            drawn.add(np.asarray(stored[live], dtype=np.float32), columns)
            drawn.known.update(name.removeprefix("meta.") for name in table.column_names if name.startswith("meta."))
    load = partial(encoder_of, space, wanted=None, pool=None, device=options.device)
    return Origin(space.dim, space.fingerprint, load)


def _stored_name(column: str) -> str:
    return CAPTION if column == CAPTION else f"meta.{column}"


def _from_files(sources: Sequence[Path], drawn: Drawn, options: ExampleOptions) -> Origin:
    found = open_sources(sources, options.table, None)
    if not found.only_vectors:
        raise SourceError(
            f"{', '.join(str(path) for path in sources)}: expected one collection, or files of vectors (.npy, "
            "Parquet); pictures become a collection with nestvec index"
        )
    dims = {listing.dim for listing in found.vectors}
    if len(dims) > 1:
        raise SourceError(f"the files hold vectors of {', '.join(map(str, sorted(dims)))} dimensions; expected one")
    for listing in found.vectors:
        _read(listing, drawn)
    dim = dims.pop()
    spec = options.encoder or PRECOMPUTED
    own = dim if spec.partition(":")[0] == PRECOMPUTED else None
    encoder = load_encoder(spec, device=options.device, dim=own)
    if encoder.dim != dim:
        raise SourceError(f"the files hold vectors of {dim} dimensions, and {encoder.name} makes {encoder.dim}")
    return Origin(dim, encoder.fingerprint, lambda: encoder)


def _read(listing: VectorListing, drawn: Drawn) -> None:
    for block in listing.blocks():

        def columns(row: int, block: Any = block) -> Columns:
            drawn.known.update(block.meta_of(row))
            said = {name: cells.value_of(one) for name, one in block.meta_of(row).items()}
            return {CAPTION: block.caption(row), **said}

        drawn.add(block.vectors, columns)


# -- labels, pairs, queries ------------------------------------------------------------------


def _labels(drawn: Drawn, name: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the rows that have a label, the class numbers of these, and how many classes there are."""
    if name is None:
        raise InvalidInput("objective supervised needs labels: name their column with --labels")
    values = [row.get(name) for row in drawn.columns]
    keep = [number for number, value in enumerate(values) if value is not None and value != ""]
    if not keep:
        known, near = ", ".join(sorted(drawn.known)) or "none", did_you_mean(name, drawn.known)
        raise InvalidInput(f"no row has a value in column {name!r}; the columns there are: {known}{near}")
    texts = np.array([str(values[number]) for number in keep])
    classes, numbers = np.unique(texts, return_inverse=True)
    return np.array(keep), numbers.reshape(-1).astype(np.int64), len(classes)


def _pairs(drawn: Drawn, origin: Origin, options: ExampleOptions) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the rows that have a pair, and the pairs."""
    if options.pairs is not None:
        pairs = _vectors(options.pairs)
        if len(pairs) != drawn.seen:
            raise SourceError(
                f"{options.pairs} has {len(pairs)} rows, and there are {drawn.seen} items: "
                "they must lie row for row beside each other"
            )
        return np.arange(len(drawn.columns)), pairs[np.concatenate(drawn.numbers)]
    texts = [row.get(CAPTION) for row in drawn.columns]
    if origin.fingerprint.model.partition(":")[0] == PRECOMPUTED:
        raise InvalidInput("these vectors were made elsewhere, and captions cannot be encoded: give --pairs FILE")
    keep = [number for number, text in enumerate(texts) if text]
    if not keep:
        raise InvalidInput("objective paired needs captions, or --pairs FILE with a second vector for each row")
    return np.array(keep), _encode([str(texts[number]) for number in keep], origin)


def _queries(given: str, columns: list[Columns], origin: Origin) -> FloatArray:
    if given == "captions":
        texts = sorted({str(row[CAPTION]) for row in columns if row.get(CAPTION)})
        if not texts:
            raise InvalidInput("--queries captions: there are no captions")
        return _encode(texts, origin)
    path = Path(given)
    if path.suffix.lower() != ".txt":
        return _vectors(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as lines of text: {error}") from error
    return _encode([line.strip() for line in lines if line.strip()], origin)


def _encode(texts: list[str], origin: Origin) -> FloatArray:
    """Encode texts, each distinct one once."""
    if not texts:
        raise InvalidInput("expected texts to encode, found none")
    encoder = origin.load()
    require_modality(encoder, "text")
    distinct = sorted(set(texts))
    blocks = [encoder.encode_texts(distinct[at : at + TEXTS_AT_ONCE]) for at in range(0, len(distinct), TEXTS_AT_ONCE)]
    rows = {text: row for row, text in enumerate(distinct)}
    return np.ascontiguousarray(np.concatenate(blocks)[[rows[text] for text in texts]])


def _vectors(path: Path) -> FloatArray:
    """Read a file of vectors whole."""

    def blocks() -> Iterator[FloatArray]:
        for listing in open_sources([path], TableOptions(), None).vectors:
            for block in listing.blocks():
                yield block.vectors

    found = list(blocks())
    if not found:
        raise SourceError(f"{path} holds no vectors; expected a .npy or Parquet file")
    return np.concatenate(found)
