"""A forked child searches, builds and encodes, whatever its parent has done before and is doing meanwhile.

Each test is a process of its own: those that run the tests have one OpenMP thread, with which nothing ever hung.
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers import needs_bundled, python

BEGIN = """
import multiprocessing, os, signal, sys, threading
from pathlib import Path
import faiss
import numpy as np
from engine.api import Collection
from indexers.threads import available_cores
from tests.helpers import clustered

faiss.omp_set_num_threads(2)  # what waits for others hangs on one core too
xb, xq = clustered(3000, 16), clustered(40, 16, 1)
PLANS = ("exact", "flat@8 | 200@16", "ivf-flat@8:nprobe=9 | 200@16", "ivf-pq@16:nprobe=9 | 200@16", "hnsw@8 | 200@16")


def made(folder):
    opened = Collection.create(Path(folder) / "c.nest", encoder="precomputed", dim=16)
    opened.add_vectors(xb)
    opened.build(["flat@8", "ivf-flat@8:nlist=9", "ivf-pq@16:nlist=9", "hnsw@8"])
    return opened


def asked(opened):
    found = [opened.search(xq, k=10, plan=plan).ids.tolist() for plan in PLANS]
    found += [opened.search(xq, k=10, dim=4).ids.tolist(), opened.search(xq[0], k=10, exact=True).ids.tolist()]
    faiss.knn(xb, xb, 3)
    return found


def in_child(work, wanted=0):
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            work()
        except BaseException as error:
            print(type(error), error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with {status}"
"""


def run(code: str, folder: Path) -> None:
    assert python(BEGIN + code + "\nprint('done')\n", folder)[-1] == "done"


def test_a_child_finds_what_its_parent_found_and_builds(tmp_path: Path) -> None:
    run(
        """
from engine.collection.verify import verify
opened = made(sys.argv[1])
before = asked(opened)
assert not list(verify(opened.root))

def work():
    assert asked(opened) == before
    assert available_cores() == 1
    with Collection.open(opened.root) as mine:
        assert asked(mine) == before
        mine.add_vectors(clustered(500, 16, 2), source="child")
        mine.build(["ivf-pq@8", "hnsw@16"])
    assert not list(verify(opened.root))
    in_child(lambda: asked(opened) == before or os._exit(2))

in_child(work)
assert asked(opened) == before
opened.refresh()
assert len(opened) == 3500
""",
        tmp_path,
    )


def test_workers_of_multiprocessing_search(tmp_path: Path) -> None:
    run(
        """
def asked_again(_):
    return asked(opened)

opened = made(sys.argv[1])
before = asked(opened)
signal.alarm(100)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(asked_again, range(3)) == [before] * 3
""",
        tmp_path,
    )


def test_a_fork_while_others_search_and_open(tmp_path: Path) -> None:
    """Locks that another thread of the parent holds at that instant are nobody's in the child."""
    run(
        """
opened = made(sys.argv[1])
before = asked(opened)
stop = threading.Event()

def go_on():
    while not stop.is_set():
        with Collection.open(opened.root) as mine:
            asked(mine)

other = threading.Thread(target=go_on)
other.start()
for lock in (opened._lock, opened.searcher.first._loading):
    lock.acquire()  # as if it had them
in_child(lambda: asked(opened) == before or os._exit(2))
in_child(lambda: opened.refresh() or asked(opened))
stop.set()
""",
        tmp_path,
    )


@needs_bundled
def test_a_child_encodes(tmp_path: Path) -> None:
    run(
        """
from engine.encoders.registry import load_encoder
import torch
torch.set_num_threads(2)
encoder = load_encoder("bundled", device="cpu")
pictures = np.random.default_rng(0).normal(size=(4, 3, encoder.image_size, encoder.image_size)).astype(np.float32)

def encoded():
    return np.concatenate([encoder.encode_texts(["a red bicycle", "snow"] * 4), encoder.encode_images(pictures)])

before = encoded()
in_child(lambda: np.testing.assert_allclose(encoded(), before, atol=1e-5))
""",
        tmp_path,
    )
