"""The comparison with other systems: what nestvec's winners read, and how long their indexes alone take to build."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from scripts.bench.rivals.alone import in_turn
from scripts.bench.rivals.choice import TARGETS
from scripts.bench.rivals.floor import floors
from scripts.bench.rivals.inputs import Asked, make_inputs
from scripts.bench.rivals.measuring import Bench, Options
from scripts.bench.rivals.records import BATCH, SINGLE, Book, Built, Trial
from scripts.bench.rivals.systems import OURS, SYSTEMS
from tests.conftest import structured

N, D, K, SHORTLIST = 1000, 32, 10, 50


def test_an_index_is_timed_alone_in_turn_with_other_builds(tmp_path: Path) -> None:
    data = structured(N, D, seed=5, nq=30)
    np.save(tmp_path / "all.npy", data.xb)
    asked = {"items": Asked(data.xq), "texts": Asked(data.xt)}
    inputs = make_inputs("toy", tmp_path / "out", tmp_path / "all.npy", None, asked)
    book = Book(tmp_path / "records.jsonl")
    bench = Bench(inputs, book, Options(threads=1, build_rounds=2), lambda _: None)
    params, all_well = {"specs": "ivf-pq@4:nlist=8"}, dict.fromkeys(asked, 1.0)
    plan = {"plan": f"ivf-pq@4:nprobe=4 | {SHORTLIST}@{D}"}
    book.add([Trial(OURS, params, plan, all_well, all_well, all_well, all_well)])
    folder = bench.built_folder(SYSTEMS[OURS], params)
    bench.build(SYSTEMS[OURS], params, folder, "1")
    found = partial(floors, inputs, book, folder.parent, 1, K, partial(in_turn, bench, [OURS]))
    told = list(found())
    assert {(one.target, one.mode) for one in told} == {
        (target, mode) for target in TARGETS for mode in (BATCH, SINGLE)
    }
    assert len(book.all(Built)) == 2
    for one in told:
        assert one.trained > 0 and one.bandwidth > 1e8
        # At least the shortlist, at most all codes and ids, the centroids and a matrix as well.
        stored = SHORTLIST * D * 2
        assert set(one.read) == set(asked)
        assert all(stored < read < stored + N * (2 + 8) + (8 + 4) * 4 * 4 for read in one.read.values())
        assert (one.learned > 0) == ((one.target, one.mode) == (TARGETS[0], BATCH))
    book.add(told)
    assert list(found()) == []
