"""nestvec through its public API: one index a build, so that each is charged for what it needs alone."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from engine.api import Collection
from engine.collection.describe import describe
from engine.jobs.index import RunOptions
from engine.planning import curve
from indexers.base import IndexSpec
from indexers.families.ivf import refine_bytes
from indexers.families.registry import resolve
from scripts.bench.rivals.base import Build, Floats, Ids, Lines, Params, rising

ROOT = "vectors.nest"
DEFAULT = "default"
SHORTLISTS = (20, 30, 40, 50, 60, 75, 100, 150, 200, 400, 800)
EF_SEARCH = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
CELLS = 1024  # visited at most
MARGINS = (*curve.MARGINS, 360, 400)
# Prefix of the principal axes, since the data come in no order, and numbers a code.
PREFIXES = ((192, 2), (256, 4), (256, 2), (384, 4), (128, 2), (96, 2), (64, 2))
GRAPH_PREFIXES = (128, 192)
# Those that keep bytes beside their codes, and what share of a shortlist is left for the stored vectors.
REFINED = ((192, 2), (256, 2), (256, 4), (384, 4))
LONG, SHARES = (100, 200, 300, 400, 600, 800, 1200), (4, 8)


class Nestvec:
    """A collection of "precomputed" vectors, which are stored as float16."""

    version = version("nestvec")
    can_map = False  # it always maps

    def __init__(self) -> None:
        self._collection: Collection | None = None
        self._plan: str | None = None

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`: each family at each prefix, then what a collection has by default."""
        codes = [f"ivf-pq@{d}:axes=1,m={d // width}" for d, width in PREFIXES if d < dim]
        specs = [f"{code}{residual}" for code in codes for residual in ("", ",residual=1")]
        specs[4:4] = [f"ivf-pq@{d}:axes=1,m={d // width},refine=8,residual=1" for d, width in REFINED if d < dim]
        specs.insert(4 + len(REFINED), f"ivf-pq@{dim}:m={dim // 4}")
        specs += [f"hnsw@{d}:axes=1" for d in GRAPH_PREFIXES if d < dim]
        first = Build({"specs": DEFAULT}, [[{"plan": DEFAULT}]])
        built = [Build({"specs": spec}, plans(IndexSpec.parse(spec), rows, dim)) for spec in specs]
        return [*built, first]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`: everything `nestvec index vectors.npy` does, the choice of a default plan included.

        `Collection.tune` chooses among the same indexes and plans; here the driver does, as for everybody.
        """
        specs = None if params["specs"] == DEFAULT else [IndexSpec.parse(str(params["specs"]))]
        with Collection.create(folder / ROOT, encoder="precomputed", dim=xb.shape[1]) as collection:
            collection.index(source, RunOptions(device="cpu", specs=specs))

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._collection = Collection.open(folder / ROOT, device="cpu")

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._plan = None if params["plan"] == DEFAULT else str(params["plan"])

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`; the ids of a collection that was made of one file are its row numbers."""
        assert self._collection is not None
        ids: Ids = self._collection.search(xq, k, plan=self._plan).ids
        return ids

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`: stored vectors and indexes; shards and metadata lie beside them."""
        space = describe(folder / ROOT)["spaces"]["main"]
        return int(space["vectors"]["bytes"]) + sum(int(one["bytes"]) for one in space["indexes"])


def plans(spec: IndexSpec, rows: int, dim: int) -> Lines:
    """Return the default plan, then plans of one index: lines for each length of the shortlists."""
    if spec.family == "hnsw":
        efforts = [[f"efSearch={ef}" for ef in EF_SEARCH]]
    else:
        most = round(curve.CAP * dict(resolve(spec, rows, dim).params)["nlist"])
        efforts = [[f"nprobe={n}" for n in rising(4, CELLS)]]
        efforts += [[f"{cap}margin={n}" for n in MARGINS] for cap in ("", f"nprobe={most},")]
    first: list[Params] = [{"plan": DEFAULT}]
    stages = [f"{n}@{dim}" for n in SHORTLISTS if n < rows]
    if refine_bytes(spec):
        stages = [f"{n}@{spec.dim} | {n // share}@{dim}" for n in LONG if n < rows for share in SHARES]
    return [first, *([{"plan": f"{spec.key}:{one} | {more}"} for one in line] for more in stages for line in efforts)]


def make(variant: str) -> Nestvec:
    """Return the adapter; it has no variants."""
    return Nestvec()
