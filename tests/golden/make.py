"""Make the collections that every later nestvec must still open: `python tests/golden/make.py FOLDER`.

What lies in `format-1` was made by the first version that wrote format 1. It is never made again:
a new format gets a folder of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.collection import layout

NAMES = ["north", "east", "south", "west", "up", "caf\u00e9 %41.jpg"]
CAPTIONS = ["to the north", None, "to the south", None, None, "a caf\u00e9"]
META = [{"rating": 5}, {"rating": 3.5}, {}, {"place": "west"}, {}, {"rating": 1, "place": "Lyon"}]
VECTORS = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0.1, 0], [0, -1, 0, 0.1], [0, 0, 1, 0], [0.6, 0.8, 0, 0]], dtype=np.float32
)
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
        listed = {root / ref.path for ref in golden.snapshot.manifest.files()}
        listed.add(root / layout.version_file(golden.version))
    for path in root.rglob("*"):
        if path.is_file() and path not in listed:
            path.unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
