"""Families by name, specs completed, defaults."""

from __future__ import annotations

import pytest

from indexers.base import IndexSpec
from indexers.errors import InvalidSpec
from indexers.families.ivf import default_nlist
from indexers.families.registry import FAMILIES, SMALL, default_dims, default_specs, family, resolve


def resolved(text: str, n: int = 1000, D: int = 64) -> str:
    return str(resolve(IndexSpec.parse(text), n, D))


def test_families_are_known_by_their_own_names() -> None:
    assert all(family(name) is one and one.family == name for name, one in FAMILIES.items())
    with pytest.raises(InvalidSpec, match="no index family 'annoy'; there are flat, "):
        family("annoy")


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("flat@8", "flat@8"),
        ("sq@8", "sq@8:bits=8"),
        ("sq@8:bits=16", "sq@8:bits=16"),
        ("ivf-flat@8", "ivf-flat@8:nlist=25"),
        ("ivf-flat@8:nlist=1000", "ivf-flat@8:nlist=1000"),
        ("ivf-pq@8", "ivf-pq@8:m=4,nlist=25,rotate=1"),
        ("ivf-pq@7", "ivf-pq@7:m=7,nlist=25,rotate=1"),
        ("ivf-pq@8:rotate=0,m=2", "ivf-pq@8:m=2,nlist=25,rotate=0"),
        ("ivf-pq@8:residual=1", "ivf-pq@8:m=4,nlist=25,residual=1,rotate=1"),
        ("ivf-pq@8:residual=0", "ivf-pq@8:m=4,nlist=25,rotate=1"),
        ("hnsw@64", "hnsw@64:efConstruction=80,m=32"),
    ],
)
def test_specs_are_completed(text: str, complete: str) -> None:
    assert resolved(text) == complete
    assert resolved(complete) == complete, "completing is idempotent"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flat@65", "only 64 dimensions"),
        ("foo@8", "no index family 'foo'"),
        ("flat@8:nlist=1", "has no parameter 'nlist'; it has axes"),
        ("sq@8:bits=5", "bits must be one of 4, 6, 8, 16"),
        ("sq@8:bits=0", "at least 1"),
        ("ivf-flat@8:nprobe=4", "no parameter 'nprobe'"),
        ("ivf-flat@8:nlist=0", "at least 1"),
        ("ivf-flat@8:nlist=1001", "must not exceed the number of rows, 1000"),
        ("ivf-pq@8:nlist=999999999", "must not exceed"),
        ("ivf-pq@8:m=3", "m must divide"),
        ("ivf-pq@8:m=16", "m must divide"),
        ("ivf-pq@8:rotate=2", "rotate is 0 or 1"),
        ("ivf-pq@8:residual=2", "residual is 0 or 1"),
        ("hnsw@8:m=1", "at least 2"),
        ("hnsw@8:m=999999999", "at most"),
    ],
)
def test_specs_that_cannot_be_built_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        resolved(text)


def test_cells_have_enough_rows_to_learn_from() -> None:
    assert [default_nlist(n) for n in (0, 1, 38, 77, 78, 1000, 10**6)] == [1, 1, 1, 1, 2, 25, 2828]
    assert all(n // default_nlist(n) >= 39 for n in range(39, 10_000))


@pytest.mark.parametrize("name", FAMILIES)
def test_probes_lie_between_one_and_the_most(name: str) -> None:
    one = family(name)
    for n in (1, 50, 1000, 10**6):
        spec = resolve(IndexSpec(name, 8), n, 8)
        default, most = one.default_probe(spec), one.most_probes(spec, n)
        if one.probe_name is None:
            assert default == most == 0
        else:
            assert default >= 1
            assert most >= 1
            assert one.family == "hnsw" or default <= most
        assert one.bytes_per_item(spec) > 0


def test_default_dimensions() -> None:
    assert default_dims(512) == (32, 64, 128, 256, 512)
    assert default_dims(100) == (32, 64, 100)
    assert default_dims(32) == (32,)
    assert default_dims(1) == (1,)
    assert default_dims(512, (128, 64, 64, 512, 1024)) == (64, 128, 512)
    assert default_dims(512, (512,)) == (32, 64, 128, 256, 512)


def test_default_family_by_size() -> None:
    assert {spec.family for spec in default_specs(SMALL - 1, 64)} == {"sq"}
    assert {spec.family for spec in default_specs(SMALL, 64)} == {"ivf-pq"}
    assert [spec.dim for spec in default_specs(10, 64)] == [32, 64]
