"""The files of ann-benchmarks (Aumüller, Bernhardsson & Faithfull 2020): data sets are read, results are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from indexers.base import MISSING, Neighbors
from indexers.vectors import FloatArray, IdArray, normalize
from scripts.bench.rivals.choice import Contender, contenders
from scripts.bench.rivals.inputs import Asked, Inputs, K, make_inputs
from scripts.bench.rivals.measuring import Bench
from scripts.bench.rivals.records import BATCH, Built, Trial
from scripts.bench.rivals.session import RivalError
from scripts.bench.rivals.systems import SYSTEMS

KIND = "test"
ANGULAR = "angular"
TEST = "test.npy"


class NotAngular(Exception):
    """The file is not one of ann-benchmarks with angular distances."""


@dataclass(frozen=True)
class Result:
    """What ann-benchmarks keeps of one run.

    Attributes:
        times: float32 [nq], seconds a query.
        neighbors: int [nq, k].
        distances: float32 [nq, k], 1 - cosine.
    """

    dataset: str
    algo: str
    name: str
    batch_mode: bool
    run_count: int
    best_search_time: float
    build_time: float
    index_size: float
    times: FloatArray
    neighbors: IdArray
    distances: FloatArray


def read(file: Path, folder: Path) -> Inputs:
    """Read train, test and neighbors, and write what workers read below `folder`.

    Raises:
        NotAngular: distances of another kind, or another kind of file.
    """
    if not h5py.is_hdf5(file):
        raise NotAngular(f"{file}: expected an HDF5 file of ann-benchmarks")
    with h5py.File(file, "r") as data:
        distance = data.attrs.get("distance", "none")
        distance = distance.decode() if isinstance(distance, bytes) else distance
        if distance != ANGULAR:
            raise NotAngular(f"{file}: expected the distance {ANGULAR!r}, found {distance!r}; nestvec has cosines only")
        missing = [name for name in ("train", "test", "neighbors") if name not in data]
        if missing:
            raise NotAngular(f"{file}: expected train, test and neighbors, found no {', '.join(missing)}")
        xb = normalize(np.asarray(data["train"], dtype=np.float32))
        xq = normalize(np.asarray(data["test"], dtype=np.float32))
        ids = np.asarray(data["neighbors"][:, :K], dtype=np.int64)
    source = folder / "data" / f"{file.stem}.npy"
    source.parent.mkdir(parents=True, exist_ok=True)
    np.save(source, xb)
    truth = Neighbors(cosines(xb, xq, ids), ids)
    inputs = make_inputs(file.stem, folder, source, None, {KIND: Asked(xq, truth)})
    np.save(inputs.folder / TEST, xq)
    return inputs


def cosines(xb: FloatArray, xq: FloatArray, ids: IdArray) -> FloatArray:
    """Return the inner products of queries with rows [nq, k]; -inf where there is no row."""
    rows = xb[np.maximum(ids, 0).ravel()].reshape(*ids.shape, -1)
    return np.where(ids == MISSING, -np.inf, np.einsum("qkd,qd->qk", rows, xq)).astype(np.float32)


def write(root: Path, result: Result, settings: Sequence[object]) -> Path:
    """Write one result where ann-benchmarks looks for it: root/DATASET/K/ALGORITHM[-batch]/SETTINGS.hdf5."""
    k = result.neighbors.shape[1]
    folder = root / result.dataset / str(k) / (result.algo + ("-batch" if result.batch_mode else ""))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"\W+", "_", json.dumps(settings, sort_keys=True)).strip("_")[:200] + ".hdf5")
    with h5py.File(path, "w") as out:
        for key in "dataset algo name batch_mode run_count best_search_time build_time index_size".split():
            out.attrs[key] = getattr(result, key)
        out.attrs["distance"] = ANGULAR
        out.attrs["type"] = "knn"
        out.attrs["count"] = k
        out.attrs["candidates"] = float((result.neighbors != MISSING).sum(axis=1).mean())
        out.attrs["expect_extra"] = False
        out.create_dataset("times", data=result.times.astype("f"))
        out.create_dataset("neighbors", data=result.neighbors.astype("i"))
        out.create_dataset("distances", data=result.distances.astype("f"))
    return path


def export(bench: Bench, names: Sequence[str]) -> Iterator[Path]:
    """Run every winner over all test queries, in their order, and write what came out; yield the files."""
    trials = [one for name in names for one in bench.book.all(Trial, name)]
    for one in contenders(trials, ()):
        try:
            result = _run(bench, one)
        except RivalError as error:
            bench.say(str(error))
            continue
        yield write(bench.inputs.folder.parent / "results", result, [dict(one.build), dict(one.search)])


def _run(bench: Bench, one: Contender) -> Result:
    system, options = SYSTEMS[one.system], bench.options
    batch = one.mode == BATCH
    queries, out = bench.inputs.folder / TEST, bench.inputs.folder / "found.npy"
    order = {"queries": str(queries), "params": one.search, "k": K, "mode": one.mode, "out": str(out)}
    order |= {"repeats": options.repeats, "budget": options.limit}
    with bench.session(system, options.threads if batch else 1) as session:
        bench.load(session, one.build)
        runs = [session.order("search", order)["seconds"] for _ in range(1 if batch else options.repeats)]
    xq, ids = np.load(queries), np.load(out)
    whole = [[seconds / len(xq)] * len(xq) for seconds in runs[0]] if batch else runs
    times = np.array(min(whole, key=sum), dtype=np.float32)
    built = next(made for made in bench.book.all(Built, one.system) if made.params == one.build)
    return Result(
        dataset=bench.inputs.name.rpartition("/")[2],
        algo=one.system,
        name=f"{one.system}({json.dumps(one.build, sort_keys=True)}, {json.dumps(one.search, sort_keys=True)})",
        batch_mode=batch,
        run_count=len(whole),
        best_search_time=float(times.mean()),
        build_time=built.seconds,
        index_size=built.used / 1024,
        times=times,
        neighbors=ids,
        distances=(1 - cosines(bench.inputs.xb, xq, ids)).astype(np.float32),
    )
