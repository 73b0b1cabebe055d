"""Specs, their parameters, and the bitmap of rows that may be answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexers.base import IndexSpec, parse_params
from indexers.errors import InvalidSpec
from indexers.families.base import check_params

NUMBERS = st.integers(0, 999_999_999)
PARAMS = st.dictionaries(st.from_regex(r"[a-zA-Z_]{1,8}", fullmatch=True), NUMBERS, max_size=4)
SPECS = st.builds(
    IndexSpec,
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    st.integers(1, 999_999_999),
    PARAMS.map(lambda params: tuple(sorted(params.items()))),
)


@given(SPECS)
def test_a_spec_reads_what_it_writes(spec: IndexSpec) -> None:
    assert IndexSpec.parse(str(spec)) == spec
    assert str(spec).startswith(spec.key)


def test_a_spec_sorts_its_parameters_and_forgives_spaces() -> None:
    assert IndexSpec.parse(" ivf-pq@128:nlist=680, m=64 ") == IndexSpec("ivf-pq", 128, (("m", 64), ("nlist", 680)))


@pytest.mark.parametrize(
    "text",
    [
        "", "flat", "flat@", "@8", "flat@0", "flat@-8", "flat@08", "flat@8.0", "Flat@8", "flat @8", "flat@8:",
        "flat@8\n:m=1", "flat@٣", "flat@8:m", "flat@8:m=", "flat@8:=1", "flat@8:m=-1", "flat@8:m=1,", "flat@8:m=1,m=1",
        "flat@8:m=1;n=2", "flat@8:m=²", "flat@1000000000", "flat@8:m=1000000000",
        "flat@" + "9" * 5000, "flat@8:m=" + "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        IndexSpec.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_refused(text: str) -> None:
    try:
        spec = IndexSpec.parse(text)
    except InvalidSpec:
        return
    assert IndexSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("dim", [0, -1])
def test_a_spec_made_by_hand_has_a_dimension(dim: int) -> None:
    with pytest.raises(InvalidSpec, match="at least 1"):
        IndexSpec("flat", dim)


def test_parse_params_quotes_the_whole() -> None:
    assert parse_params("a=1, b=22", whole="x") == {"a": 1, "b": 22}
    with pytest.raises(InvalidSpec, match=r"in 'the plan'.*found 'b'"):
        parse_params("a=1,b", whole="the plan")


def test_check_params_names_what_is_wrong() -> None:
    spec = IndexSpec("ivf-pq", 8, (("m", 4),))
    assert check_params(spec, {"m": 1, "nlist": 7}, least={}) == {"m": 4, "nlist": 7}
    with pytest.raises(InvalidSpec, match="has no parameter 'm'; it has nlist, axes"):
        check_params(spec, {"nlist": 7}, least={})
    with pytest.raises(InvalidSpec, match="has no parameter 'm'; it has axes"):
        check_params(spec, {}, least={})
    with pytest.raises(InvalidSpec, match="m must be at least 5, found 4"):
        check_params(spec, {"m": 1}, least={"m": 5})
