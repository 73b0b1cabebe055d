"""What is measured, as records in JSON lines: all that a report is made of, and what a later run need not do again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Params = Mapping[str, str | int | float | bool]
BATCH, SINGLE = "batch", "single"
MODES = (BATCH, SINGLE)

SPEAKING = {"factory", "specs", "plan", "index"}  # parameters whose values say what they are


def key_of(params: Params) -> str:
    """Return a name for parameters that a file can have."""
    text = json.dumps(params, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shown(params: Params) -> str:
    """Return parameters as a reader wants them."""
    return ", ".join(str(value) if name in SPEAKING else f"{name}={value}" for name, value in params.items())


@dataclass(frozen=True)
class Built:
    """A build: what it took, and what lies on disk. `used` are the bytes a search needs of `disk`."""

    system: str
    version: str
    params: Params
    seconds: float
    disk: int
    used: int
    threads: int


@dataclass(frozen=True)
class Trial:
    """One setting on the tuning half of the queries.

    Attributes:
        recall: recall@10 by kind of query.
        qps: queries a second in a batch, by kind.
        single: mean seconds of a query alone, by kind; empty where it was not worth measuring.
        tail: their 99th percentile, by kind; empty in older records.
    """

    system: str
    build: Params
    search: Params
    recall: Mapping[str, float]
    qps: Mapping[str, float]
    single: Mapping[str, float] = field(default_factory=dict)
    tail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """A build whose settings have all been tried, or that failed."""

    system: str
    build: Params
    error: str | None = None


@dataclass(frozen=True)
class Run:
    """One setting in one round on the fresh half of the queries.

    Attributes:
        mode: "batch" or "single".
        mapped: whether the index was left on disk and mapped, where the system leaves a choice.
        load: seconds, with the files out of the page cache in mode "single".
        anonymous, mapped_bytes: resident after searching, less what the process had before loading.
        recall: by kind.
        seconds: of each call, by kind: whole batches or single queries.
        cold: seconds of the first queries after loading.
        queries: how many a batch held, by kind.
    """

    round: int
    system: str
    build: Params
    search: Params
    mode: str
    mapped: bool
    load: float
    anonymous: int
    mapped_bytes: int
    recall: Mapping[str, float]
    seconds: Mapping[str, list[float]]
    cold: list[float]
    queries: Mapping[str, int]


@dataclass(frozen=True)
class Floor:
    """What a winner reads, and what its index alone takes to build.

    Attributes:
        read: bytes a query, by kind.
        bandwidth: bytes a second that as many threads read from memory.
        trained: seconds for rotation, training and adding, given vectors in memory.
        learned: the same with a rotation that is learned instead of the principal axes; 0 where it was not measured.
    """

    system: str
    build: Params
    search: Params
    target: float
    mode: str
    read: Mapping[str, float]
    bandwidth: float
    trained: float
    learned: float = 0.0


Record = Built | Trial | Tuned | Run | Floor
KINDS: dict[str, type[Record]] = {one.__name__: one for one in (Built, Trial, Tuned, Run, Floor)}
T = TypeVar("T", bound=Record)


class Book:
    """The records of one data set, appended to a file as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: list[Record] = list(_read(path)) if path.exists() else []
        self._torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are on disk when this returns."""
        with self._path.open("a", encoding="utf-8") as out:
            if self._torn:
                out.write("\n")
                self._torn = False
            for record in records:
                out.write(json.dumps({"kind": type(record).__name__, **asdict(record)}) + "\n")
                self._records.append(record)
            out.flush()
            os.fsync(out.fileno())

    def all(self, kind: type[T], system: str | None = None) -> list[T]:
        """Return the records of one kind, of one system if named."""
        return [one for one in self._records if isinstance(one, kind) and system in (None, one.system)]


def _read(path: Path) -> Iterator[Record]:
    """Yield records; a line that a killed run left half written is passed over."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield KINDS[values.pop("kind")](**values)
