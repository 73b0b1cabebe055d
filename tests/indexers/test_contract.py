"""Every family at every kind of prefix, against brute force over truncated vectors: ids and scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexers.base import FaissIndex, IndexSpec, Neighbors
from indexers.build import build, training_rows
from indexers.errors import InvalidSpec
from indexers.exact import exact_search
from indexers.families.ivf import refine_bytes
from indexers.families.registry import FAMILIES, family, resolve
from indexers.files import read_index, write_index
from indexers.mask import Mask
from indexers.plan import SearchPlan, Stage
from indexers.prefix import Front, unwrap, wrap
from indexers.store import VectorStore
from indexers.vectors import FloatArray, truncate
from tests.conftest import Data, assert_answers, prefix_scores, recall_of, structured

N = 600
# (D, prefix dimensions): odd ones, 1, a prime D, and D itself.
DIMS = {48: (1, 7, 16, 33, 48), 31: (5, 31)}
CASES = [(D, d) for D, prefixes in DIMS.items() for d in prefixes]
SPECS = ("flat", "sq", "sq:bits=4", "sq:bits=16", "ivf-flat", "ivf-pq", "ivf-pq:rotate=0", "hnsw", "hnsw:m=8")

# Share of the true ten among a hundred candidates when everything is visited. A code of a few
# bits for one to seven dimensions tells little apart, so short prefixes are not held to it.
FLOOR = 0.97
FLOOR_FROM = 7


Built = Callable[[str, int, int], tuple[IndexSpec, FaissIndex]]


@cache
def data(D: int) -> Data:
    return structured(N, D, seed=D)


def spec_of(text: str, d: int, D: int, n: int = N) -> IndexSpec:
    name, _, params = text.partition(":")
    return resolve(IndexSpec.parse(f"{name}@{d}" + (f":{params}" if params else "")), n, D)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build an index, write it and read it again; once for each spec."""

    @cache
    def make(text: str, D: int, d: int) -> tuple[IndexSpec, FaissIndex]:
        spec = spec_of(text, d, D)
        path: Path = tmp_path_factory.mktemp("index") / "i.faiss"
        write_index(build(spec, VectorStore(data(D).xb), device="cpu"), path)
        return spec, read_index(path, spec=spec, full_dim=D, rows=N)

    return make


def search(spec: IndexSpec, index: FaissIndex, xq: FloatArray, k: int, selector: object = None) -> Neighbors:
    """Search with every probe there is."""
    indexer = family(spec.family)
    params = indexer.search_parameters(indexer.most_probes(spec, N), selector)
    if isinstance(index, faiss.IndexPreTransform):
        params = faiss.SearchParametersPreTransform(index_params=params)
    return Neighbors(*index.search(xq, k, params=params))


def test_every_family_is_under_contract() -> None:
    assert {text.partition(":")[0] for text in SPECS} == set(FAMILIES)


@pytest.mark.parametrize(("D", "d"), CASES)
@pytest.mark.parametrize("kind", ["xq", "xt"])
@pytest.mark.parametrize("text", ["flat", "ivf-flat"])
def test_full_precision_families_equal_brute_force(built: Built, text: str, kind: str, D: int, d: int) -> None:
    xq = getattr(data(D), kind)
    found = search(*built(text, D, d), xq, 10)
    assert_answers(found, prefix_scores(truncate(data(D).xb, d), truncate(xq, d), d), 10)
    oracle = exact_search(truncate(data(D).xb, d), truncate(xq, d), 10)
    np.testing.assert_allclose(found.scores, oracle.scores, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("D", "d"), CASES)
def test_half_precision_equals_brute_force_over_rounded_prefixes(built: Built, D: int, d: int) -> None:
    xb, xq, _ = data(D)
    rounded = truncate(xb, d).astype(np.float16).astype(np.float32)
    truth = truncate(xq, d).astype(np.float64) @ rounded.T.astype(np.float64)
    # FAISS rounds a number that lies halfway between two half floats up, NumPy to the even one.
    assert_answers(search(*built("sq:bits=16", D, d), xq, 10), truth, 10, atol=6e-5)


@pytest.mark.parametrize(("D", "d"), CASES)
@pytest.mark.parametrize("text", SPECS)
def test_scores_are_cosines_best_first(built: Built, text: str, D: int, d: int) -> None:
    """Approximate scores are near the cosine of the row they are given for, and sorted."""
    xb, xq, _ = data(D)
    scores, ids = search(*built(text, D, d), xq, 10)
    assert (np.diff(scores, axis=1) <= 0).all()
    own = np.take_along_axis(prefix_scores(xb, xq, d), ids, axis=1)
    # Four bits a dimension, or two for a product code, are a rough ruler.
    rough = 0.3 if text.startswith("ivf-pq") else 0.15 if "bits=4" in text else 0.02
    assert np.abs(scores - own).mean() < rough


@pytest.mark.parametrize(("D", "d"), [(D, d) for D, d in CASES if d >= FLOOR_FROM])
@pytest.mark.parametrize("kind", ["xq", "xt"])
@pytest.mark.parametrize("text", SPECS)
def test_recall_floor_at_full_probes(built: Built, text: str, kind: str, D: int, d: int) -> None:
    xq = getattr(data(D), kind)
    found = search(*built(text, D, d), xq, 100)
    assert recall_of(found.ids, prefix_scores(data(D).xb, xq, d), 10) >= FLOOR


@pytest.mark.parametrize("text", SPECS)
def test_a_selector_leaves_out_exactly_what_it_excludes(built: Built, text: str) -> None:
    """Half the rows may not be answered, among them every nearest one."""
    spec, index = built(text, 48, 16)
    xq = data(48).xq
    truth = prefix_scores(data(48).xb, xq, 16)
    excluded = np.unique(np.argsort(-truth, axis=1)[:, :15])
    selector = Mask.without(N, excluded).selector
    found = search(spec, index, xq, 100, selector)
    assert not np.isin(found.ids, excluded).any()
    truth[:, excluded] = -np.inf
    assert recall_of(found.ids, truth, 10) >= 0.95


@pytest.mark.parametrize("text", SPECS)
def test_more_answers_than_rows_are_padded_with_missing(built: Built, text: str) -> None:
    spec, index = built(text, 48, 16)
    _, ids = search(spec, index, data(48).xq[:3], N + 7)
    found = [set(row[row >= 0].tolist()) for row in ids]
    # A graph may not reach every node; everything else visits every row once.
    least = N - 12 if spec.family == "hnsw" else N
    assert all(len(rows) >= least and rows <= set(range(N)) for rows in found)
    assert all((row[len(rows) :] == -1).all() for row, rows in zip(ids, found, strict=True))


@pytest.mark.parametrize(("D", "d"), [(D, d) for D, d in CASES if d < D])
def test_the_transform_in_cpp_is_truncate(D: int, d: int) -> None:
    """A query goes through C++, base rows through NumPy: they must become the same prefix."""
    spec = IndexSpec("flat", d)
    chain = wrap(family("flat").create(spec), Front(spec, D))
    queries = np.concatenate([data(D).xq, data(D).xt])
    # No weight in the prefix at all, very little, and all of it.
    queries[0, :d] = 0
    queries[1, :d] *= 1e-6
    queries[2, :d] *= 1e-14
    queries[3, d:] = 0
    np.testing.assert_allclose(_applied(chain, queries, d), truncate(queries, d), rtol=0, atol=1e-6)


def _applied(chain: FaissIndex, x: FloatArray, d: int) -> FloatArray:
    for at in range(chain.chain.size()):
        x = faiss.downcast_VectorTransform(chain.chain.at(at)).apply(x)
    assert x.shape[1] == d
    return x


def test_a_rotation_inside_the_prefix_changes_no_score(built: Built) -> None:
    """It only spreads variance over codes; flat codes behind it would score the same."""
    spec = spec_of("ivf-pq", 16, 48)
    turned = wrap(faiss.IndexFlatIP(16), Front(spec, 48))
    turned.add(data(48).xb)
    scores, ids = turned.search(data(48).xq, 10)
    assert_answers(Neighbors(scores, ids), prefix_scores(data(48).xb, data(48).xq, 16), 10)


# -- what a family says of itself --------------------------------------------------------------

SIZES = (1, 50, 1000, 20_000, 10**6)
FACTS = (*SPECS, "ivf-pq:refine=8", "ivf-pq:residual=1")
# Beside its rows a file has names, a rotation and code books; cells of product codes are padded to whole blocks, and
# a graph has a level and an offset a row.
BESIDE, BLOCK, NODE = 2560, 32, 12


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("n", SIZES)
def test_probes_are_such_as_a_plan_may_set(name: str, n: int) -> None:
    one, spec = family(name), resolve(IndexSpec(name, 8), n, 8)
    most = one.most_probes(spec, n)
    for many in (False, True):
        probes = one.probes(spec, many=many)
        assert list(probes) == sorted(set(probes))
        assert many or len(probes) >= 1
        if one.probe_name is None:
            assert (list(probes), most) == ([0], 0)
            continue
        assert all(probe >= 1 and (one.is_graph or probe <= most) for probe in probes)
        plans = [SearchPlan(spec.key, probe, (Stage(8, 10),)) for probe in probes]
        assert all(f":{one.probe_name}={plan.probe} " in str(plan) for plan in plans)
        assert [getattr(one.search_parameters(probe, None), one.probe_name) for probe in probes] == list(probes)


@pytest.mark.parametrize("name", FAMILIES)
def test_cells_are_chosen_anew_for_another_number_of_rows(name: str) -> None:
    one = family(name)
    assert not one.has_margin or one.probe_name is not None
    for n in SIZES:
        spec = resolve(IndexSpec(name, 8), n, 8)
        assert one.cells(spec) <= n
        assert one.cells(one.unsized(spec)) == 0
        assert (one.unsized(spec) == spec) == (one.cells(spec) == 0)
        assert {resolve(one.unsized(spec), rows, 8) == resolve(IndexSpec(name, 8), rows, 8) for rows in SIZES} == {True}


@pytest.mark.parametrize("text", FACTS)
def test_a_query_reads_more_with_more_probes_and_at_most_the_index(text: str) -> None:
    for n in SIZES:
        spec = spec_of(text, 16, 48, n)
        one = family(spec.family)
        read = [one.bytes_read(spec, probe, n) for probe in (1, 2, 64, max(64, one.most_probes(spec, n)))]
        assert read == sorted(read)
        if not one.is_graph:
            assert read[-1] == one.index_bytes(spec, n) - n * refine_bytes(spec)
        assert one.index_bytes(spec, n) <= one.growing_bytes(spec, n)


@pytest.mark.parametrize("text", FACTS)
def test_memory_is_what_the_file_holds(built: Built, text: str) -> None:
    spec, index = built(text, 48, 16)
    one, m = family(spec.family), dict(spec.params).get("m", 0)
    held = one.index_bytes(spec, N)
    more = NODE * N if one.is_graph else one.cells(spec) * (BLOCK - 1) * -(-m // 2)
    assert held <= faiss.serialize_index(index).size <= held + more + BESIDE


@pytest.mark.parametrize("text", FACTS)
def test_the_parts_of_an_index_are_what_its_family_says(built: Built, text: str) -> None:
    spec, index = built(text, 48, 16)
    one, inner = family(spec.family), unwrap(index)[1]
    parts = one.parts(inner)
    assert {part.ntotal for part in parts} == {N}
    assert getattr(parts[0], "nlist", 0) == one.cells(spec)
    arrays = one.arrays(inner, spec, N)
    assert all(0.9 * size <= array.size() <= size for array, size in arrays)
    assert len(arrays) == (one.cells(spec) == 0 or len(parts) > 1) + one.is_graph


@pytest.mark.parametrize("name", FAMILIES)
def test_what_learns_nothing_is_not_trained(name: str) -> None:
    one, spec = family(name), spec_of(name, 16, 48)
    assert one.create(spec).is_trained is not one.needs_training
    assert (training_rows(spec, N) == 0) is not one.needs_training
    assert training_rows(spec_of(f"{name}:axes=1", 16, 48), N) == N


# -- principal axes ----------------------------------------------------------------------------

TURNED = ("flat:axes=1", "sq:axes=1", "ivf-flat:axes=1", "ivf-pq:axes=1", "ivf-pq:axes=1,rotate=0", "hnsw:axes=1")


def on_axes(x: FloatArray, D: int, d: int) -> FloatArray:
    """Prefixes of the principal axes, by a decomposition that the index does not use."""
    axes = np.linalg.svd(data(D).xb.astype(np.float64))[2][:d]
    turned = x @ axes.T
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("D", "d"), [(48, 7), (48, 16), (48, 48), (31, 5)])
@pytest.mark.parametrize("kind", ["xq", "xt"])
@pytest.mark.parametrize("text", TURNED)
def test_axes_are_a_prefix_of_the_turned_rows(built: Built, text: str, kind: str, D: int, d: int) -> None:
    xq = on_axes(getattr(data(D), kind), D, d)
    truth = prefix_scores(on_axes(data(D).xb, D, d), xq, d)
    found = search(*built(text, D, d), getattr(data(D), kind), 100)
    if text.partition(":")[0] in ("flat", "ivf-flat"):
        assert_answers(Neighbors(found.scores[:, :10], found.ids[:, :10]), truth, 10, atol=5e-6)
    elif d >= FLOOR_FROM:
        assert recall_of(found.ids, truth, 10) >= FLOOR


def test_axes_find_what_a_prefix_of_turned_rows_misses() -> None:
    """Rows whose numbers come in no order: the reason for axes."""
    D, d = 48, 8
    shuffle = np.linalg.qr(np.random.default_rng(5).normal(size=(D, D)))[0].astype(np.float32)
    xb, xq = (np.ascontiguousarray(x @ shuffle) for x in (data(D).xb, data(D).xq))
    shares = {}
    for text in ("flat", "flat:axes=1"):
        spec = spec_of(text, d, D)
        found = search(spec, build(spec, VectorStore(xb), device="cpu"), xq, 30)
        shares[text] = recall_of(found.ids, prefix_scores(xb, xq, D), 10)
    assert shares["flat:axes=1"] > shares["flat"] + 0.1


def test_a_row_with_nothing_along_the_axes_is_kept() -> None:
    xb = np.zeros((40, 8), np.float32)
    xb[:39, 0], xb[39, 7] = 1, 1
    spec = spec_of("flat:axes=1", 2, 8)
    _, ids = search(spec, build(spec, VectorStore(xb), mask=Mask.without(40, np.array([39])), device="cpu"), xb[:1], 40)
    assert set(ids[0].tolist()) == set(range(40))


@pytest.mark.parametrize("family_name", sorted(FAMILIES))
def test_axes_stand_in_a_spec_only_where_they_are_wanted(family_name: str) -> None:
    plain = spec_of(f"{family_name}:axes=0", 16, 48)
    assert plain == spec_of(family_name, 16, 48)
    assert "axes" not in str(plain)
    assert "axes=1" in str(spec_of(f"{family_name}:axes=1", 16, 48))
    with pytest.raises(InvalidSpec, match="axes is 0 or 1"):
        spec_of(f"{family_name}:axes=2", 16, 48)
