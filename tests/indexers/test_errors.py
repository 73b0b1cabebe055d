"""Names that are nearly right."""

from __future__ import annotations

import pytest

from indexers.errors import did_you_mean, nearest
from indexers.families.registry import FAMILIES, family


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("serch", ["search", "similar", "train"], "search"),
        ("MIAN", ["main", "nested"], "main"),
        ("Kind", ["KIND"], "KIND"),
        ("none", ["engine"], None),
        ("", ["a"], None),
        ("a", [], None),
    ],
)
def test_the_nearest(name: str, known: list[str], found: str | None) -> None:
    assert nearest(name, known) == found
    assert did_you_mean(name, known) == ("" if found is None else f"; did you mean {found!r}?")


def test_a_family() -> None:
    with pytest.raises(ValueError, match=r"no index family 'ivfpq'; there are .*; did you mean 'ivf-pq'\?"):
        family("ivfpq")
    assert family("ivf-pq") is FAMILIES["ivf-pq"]
