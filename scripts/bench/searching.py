"""A checkout that searches, in a process of its own: JSON lines in, JSON lines out; `paired` gives the orders.

It imports nothing of the checkout it lies in: `engine` is that of the first in PYTHONPATH, old or new, and of it only
`Collection` is used.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine import Collection

Order = dict[str, Any]
opened = cache(Collection.open)


def where(_: Order) -> Order:
    """Return the folder that `engine` was imported from."""
    return {"root": str(Path(engine.__file__).resolve().parents[1])}


def build(order: Order) -> Order:
    """Make a collection of unit vectors, with its indexes."""
    xb = np.load(order["xb"])
    with Collection.create(order["folder"], encoder="precomputed", dim=xb.shape[1]) as made:
        made.add_vectors(xb, names=[str(row) for row in range(len(xb))])
        made.build()
    return {}


def search(order: Order) -> Order:
    """Search queries one by one or all at once; return the seconds of each call, and keep answers [nq, k] in `out`."""
    collection, xq = opened(order["folder"]), np.load(order["queries"])
    seconds, found = [], []
    for part in [xq[row : row + 1] for row in range(len(xq))] if order["single"] else [xq]:
        started = time.perf_counter()
        found.append(collection.search(part, order["k"], exact=order["exact"]))
        seconds.append(time.perf_counter() - started)
    ids, scores = (np.concatenate([getattr(one, name) for one in found]) for name in ("ids", "scores"))
    np.savez(order["out"], ids=ids, scores=scores)
    return {"seconds": seconds}


def main() -> None:
    """Carry out orders until told to quit; one that fails ends the process, and stderr says why."""
    orders = {"where": where, "build": build, "search": search}
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "quit":
            break
        print(json.dumps(orders[order["op"]](order)), flush=True)


if __name__ == "__main__":
    main()
