"""Commands that change a collection, each with the collection it starts from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.jobs.tune import TuneOptions
from tests.helpers import clustered, flip_bit, index, save
from tests.made_heads import fingerprint_of, rotation

NAME = "c.nest"
DIM = 8


@dataclass(frozen=True)
class Story:
    """A command.

    Attributes:
        prepare: makes what it starts from in a folder.
        argv: of the command, `{}` standing for the folder.
        again: commands that finish what was cut short, the same one unless said; their success is not asked for.
    """

    prepare: Callable[[Path], None]
    argv: tuple[str, ...]
    again: tuple[tuple[str, ...], ...] = ()

    def arguments(self, folder: Path) -> list[str]:
        """Return the command's arguments for a folder."""
        return [one.format(folder) for one in self.argv]

    def repeated(self, folder: Path) -> list[list[str]]:
        """Return the commands that finish it."""
        return [[one.format(folder) for one in argv] for argv in self.again or (self.argv,)]


def vectors_only(folder: Path) -> None:
    save(folder / "v.npy", clustered(60, DIM))


def indexed(folder: Path, n: int = 60) -> None:
    """A collection with rows in an index, rows after it, and rows that were deleted."""
    index(folder / NAME, save(folder / "v.npy", clustered(n, DIM)))
    with Collection.open(folder / NAME, device="cpu") as opened:
        opened.add_vectors(clustered(5, DIM, 1), names=[f"more-{i}" for i in range(5)])
        opened.remove(["v.npy#3"])


def changed(folder: Path) -> None:
    """The same, and its source has rows that are new, changed and gone since."""
    indexed(folder)
    rows = clustered(70, DIM)[:58]
    rows[5] = -rows[5]
    save(folder / "v.npy", np.vstack([rows, clustered(9, DIM, 2)]))


def with_head_file(folder: Path) -> None:
    indexed(folder)
    (folder / "head.safetensors").write_bytes(rotation(fingerprint_of(folder / NAME)).to_bytes())


def with_head(folder: Path, use: bool = True) -> None:
    """The same with a derived space, that is searched by default."""
    with_head_file(folder)
    with Collection.open(folder / NAME, device="cpu") as opened:
        opened.apply_head(folder / "head.safetensors", use=use)


def with_head_beside(folder: Path) -> None:
    with_head(folder, use=False)


def labels(folder: Path, *columns: str) -> None:
    lines = [
        ",".join(["file", "caption", *columns]),
        *(",".join([f"v.npy#{row}", f"{row}", *columns]) for row in range(60)),
    ]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")


def labelled(folder: Path) -> None:
    """A collection with captions, and its table has other captions and another column since."""
    labels(folder)
    index(folder / NAME, save(folder / "v.npy", clustered(60, DIM)), table=folder / "t.csv")
    with Collection.open(folder / NAME, device="cpu") as opened:
        opened.add_vectors(clustered(5, DIM, 1), names=[f"more-{i}" for i in range(5)])
        opened.remove(["v.npy#3", "more-2"])
    labels(folder, "stars")


def large(folder: Path) -> None:
    indexed(folder, 1200)


def damaged(folder: Path) -> None:
    """A collection of which the vectors of a shard, the items of another and an index are damaged."""
    with_head(folder)
    with Collection.open(folder / NAME) as opened:
        manifest = opened.snapshot.manifest
    main = manifest.space("main")
    assert main.vectors is not None
    for ref in (main.embeddings[0], manifest.items[0], manifest.space("nested").indexes[0].covering.file):
        path = folder / NAME / ref.path
        flip_bit(path, path.stat().st_size // 2)


def tuned(folder: Path) -> None:
    large(folder)
    with Collection.open(folder / NAME, device="cpu") as opened:
        opened.tune(TuneOptions(recall=0.9))


C = "{}/" + NAME
PURGE = ("remove", C, "v.npy#7", "more-1", "--purge")
STORIES = {
    "index": Story(vectors_only, ("index", "{}/v.npy", C)),
    "update": Story(changed, ("index", "{}/v.npy", C, "--rebuild")),
    "relabel": Story(labelled, ("index", "{}/v.npy", C, "--table", "{}/t.csv")),
    "add": Story(changed, ("add", C, "{}/v.npy")),
    "remove": Story(indexed, ("remove", C, "v.npy#7", "more-1")),
    "purge": Story(indexed, PURGE, (PURGE, ("compact", C), ("gc", C, "--older-than", "0"))),
    "compact": Story(with_head, ("compact", C)),
    "apply-head": Story(with_head_file, ("apply-head", C, "{}/head.safetensors", "--use")),
    "switch": Story(with_head_beside, ("apply-head", C, "{}/head.safetensors", "--use")),
    "remove-space": Story(with_head, ("remove", C, "--space", "nested")),
    "tune": Story(large, ("tune", C, "--recall", "0.9")),
    "rollback": Story(changed, ("rollback", C, "4")),
    "gc": Story(with_head, ("gc", C, "--older-than", "0")),
    "repair": Story(damaged, ("repair", C)),
}


def copied(start: Path, folder: Path) -> Path:
    """Return a folder with a copy of what a story starts from."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(start, folder, symlinks=True))
