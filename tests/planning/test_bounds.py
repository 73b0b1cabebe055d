"""A sample flatters: two sizes of it tell what a prefix needs among all rows, and a plan that fails is not the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.jobs.tune import TuneOptions
from engine.planning import candidates
from engine.planning.bounds import SHORTLISTS, SMALLER, Sample, needed_shortlists
from engine.planning.cost import IndexCandidate, is_weaker
from engine.planning.judge import make_judge
from engine.planning.queries import QuerySet
from indexers.axes import moments, principal_axes
from indexers.base import IndexSpec
from indexers.exact import exact_search
from indexers.plan import EXACT
from indexers.vectors import FloatArray, normalize

N, D, SAMPLED = 40_000, 48, 1_000


def uneven(n: int, seed: int) -> FloatArray:
    """Clusters whose sizes follow a power law, and one row in twelve a near-copy of another."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(D)) ** -0.35
    shares = 1 / np.arange(1, 401) ** 1.1
    centres = rng.normal(size=(400, D)) * spectrum
    x = centres[rng.choice(400, n, p=shares / shares.sum())] + 0.7 * rng.normal(size=(n, D)) * spectrum
    copies, of = rng.integers(n, size=(2, n // 12))
    x[copies] = x[of] + 0.02 * rng.normal(size=(n // 12, D)) * spectrum
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
    return normalize((x @ turn).astype(np.float32))


def sample_of(rows: FloatArray, xq: FloatArray) -> Sample:
    judge = make_judge([QuerySet("items", xq)], 10, lambda asked, k: exact_search(rows, asked, k))
    return Sample(rows, judge)


def test_a_sample_of_a_fortieth_tells_what_all_rows_need() -> None:
    x = uneven(N + 200, seed=5)
    rows, xq = x[:N], x[N:]
    axes = principal_axes(moments(rows[:5000]))
    few = np.ascontiguousarray(rows[:: N // SAMPLED])
    sample, smaller = sample_of(few, xq), sample_of(np.ascontiguousarray(few[::SMALLER]), xq)
    flattered = needed_shortlists(sample, 0.95, axes=axes)
    told = needed_shortlists(sample, 0.95, axes=axes, smaller=smaller, n=N)
    right = needed_shortlists(sample_of(rows, xq), 0.95, axes=axes)
    asked = [d for d in right if d in told and d < D]
    assert len(asked) >= 2
    misled = [right[d] / flattered[d] for d in asked]
    assert max(misled) >= 4, "the sample does not mislead"
    for d in asked:
        step = abs(SHORTLISTS.index(told[d]) - SHORTLISTS.index(right[d]))
        assert step <= 2, (d, told[d], right[d])


def test_where_the_sample_is_all_rows_nothing_grows() -> None:
    x = uneven(SAMPLED, seed=5)
    sample = sample_of(x, x[:50])
    smaller = sample_of(np.ascontiguousarray(x[::SMALLER]), x[:50])
    assert needed_shortlists(sample, 0.95, smaller=smaller, n=SAMPLED) == needed_shortlists(sample, 0.95)


def test_tuning_is_not_misled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a sample of a fortieth it finds a plan all the same, and one that keeps the recall."""
    monkeypatch.setattr(candidates, "SAMPLE_ROWS", SAMPLED)
    x = uneven(N, seed=6)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as opened:
        opened.add_vectors(x)
        tuning = opened.tune(TuneOptions(recall=0.9))
        (entry,) = opened.space.plans
        assert entry.plan.index != EXACT
        assert min(mean for mean, _ in tuning.fresh.values()) >= 0.89


@pytest.mark.parametrize(
    ("candidate", "built", "weaker"),
    [
        ("ivf-pq@32:m=16", "ivf-pq@64:m=16", True),
        ("ivf-pq@64:m=16", "ivf-pq@64:m=16", True),
        ("ivf-pq@64:m=16", "ivf-pq@64:m=32", True),
        ("ivf-pq@64:m=32", "ivf-pq@64:m=16", False),
        ("ivf-pq@64:m=16,refine=8", "ivf-pq@64:m=16", False),
        ("ivf-pq@64:m=16,residual=1", "ivf-pq@64:m=16", False),
        ("ivf-pq@64:axes=1,m=16", "ivf-pq@64:m=16", False),
        ("ivf-pq@96:m=8", "ivf-pq@64:m=32", False),
        ("sq@64:bits=8", "ivf-pq@64:m=16", False),
    ],
)
def test_what_is_weaker_is_not_tried_after_what_failed(candidate: str, built: str, weaker: bool) -> None:
    one = IndexCandidate(IndexSpec.parse(candidate), (), 0.0)
    assert is_weaker(one, IndexSpec.parse(built)) == weaker
