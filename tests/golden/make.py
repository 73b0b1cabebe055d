"""Make the collections that every later nestvec must still open: `python tests/golden/make.py FOLDER`.

What lies in `format-1` was made by the first version that wrote it: `compass` without heads, and
`nested` with one. It is never made again: a new format gets a folder of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.heads.model import Head, Tower
from engine.storage import layout

NAMES = ["north", "east", "south", "west", "up", "caf\u00e9 %41.jpg"]
CAPTIONS = ["to the north", None, "to the south", None, None, "a caf\u00e9"]
META = [{"rating": 5}, {"rating": 3.5}, {}, {"place": "west"}, {}, {"rating": 1, "place": "Lyon"}]
VECTORS = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0.1, 0], [0, -1, 0, 0.1], [0, 0, 1, 0], [0.6, 0.8, 0, 0]], dtype=np.float32
)
# Turns the first two axes: a rotation, whose prefixes of two are good ones here.
TURN = np.array([[0.6, 0.8, 0, 0], [-0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float32)
LATER = np.array([[0, 0, 0, 1], [0.8, 0.6, 0, 0]], dtype=np.float32)


def make(root: Path) -> None:
    """Make one collection: two shards, an index over the first, a row removed, a row that failed.

    Only the newest version and its files are kept.
    """
    with Collection.create(root, encoder="precomputed:golden", dim=4) as golden:
        golden.add_vectors(VECTORS, names=NAMES, captions=CAPTIONS, meta=META, source="compass")
        golden.build(["flat@2"])
        golden.add_vectors(
            np.vstack([LATER, np.zeros(4, np.float32)]), names=["t", "north-east", "zero"], source="later"
        )
        golden.remove(["east"])
    keep_newest(root)


def make_nested(root: Path) -> None:
    """Make the same collection with a head applied to it before its last shard, and searched by default."""
    make(root)
    with Collection.open(root) as golden:
        tower = Tower(TURN)
        head = Head("rotation", 4, 4, (2,), tower, tower, golden.space.fingerprint.to_json(), {"made": "by hand"})
        head.save(root / "head.safetensors")
        golden.apply_head(root / "head.safetensors", "turned", specs=["flat@2"], use=True)
        golden.add_vectors(LATER[1:], names=["after"], source="after")
    keep_newest(root)


def keep_newest(root: Path) -> None:
    """Take away what the newest version does not list."""
    with Collection.open(root) as golden:
        listed = {root / ref.path for ref in golden.snapshot.manifest.files()}
        listed.add(root / layout.version_file(golden.version))
    for path in root.rglob("*"):
        if path.is_file() and path not in listed:
            path.unlink()


if __name__ == "__main__":
    for name, made in (("compass", make), ("nested", make_nested)):
        made(Path(sys.argv[1]) / name)
