"""Heads through the installed command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.encoders.base import Fingerprint
from engine.heads.model import Head
from tests.collection.test_spaces import assert_derived
from tests.helpers import clustered, draw, flip_bit, needs_bundled, nestvec, save
from tests.made_heads import fingerprint_of, linear, rotation, saved, two_towers

DIM = 8


@pytest.fixture
def head(own: Path) -> Head:
    """A head for `c.nest`, in `h.safetensors`."""
    found = linear(fingerprint_of(own / "c.nest"), 6)
    saved(found, own / "h.safetensors")
    save(own / "nested.npy", found(clustered(60, DIM)[:3]))
    return found


def said(*arguments: str | Path, cwd: Path) -> str:
    done = nestvec(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def results(*arguments: str | Path, cwd: Path) -> list[list[tuple[str, float]]]:
    found = [json.loads(line) for line in said(*arguments, "--json", cwd=cwd).splitlines()]
    return [[(one["uri"], one["score"]) for one in query["results"]] for query in found]


def failed(code: int, text: str, *arguments: str | Path, cwd: Path) -> None:
    done = nestvec(*arguments, cwd=cwd)
    assert done.returncode == code, done.stderr.decode()
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_head_from_end_to_end(own: Path, head: Head) -> None:
    assert "space nested is there" in said("apply-head", "c.nest", "h.safetensors", "--index", "flat@6", cwd=own)
    text = said("info", "c.nest", cwd=own)
    assert "space      main: precomputed, 8 × float16 (searched by default)" in text
    assert "space      nested: supervised head on main, 6 × float16\n" in text
    assert "index      flat@6" in text
    search = ("search", "c.nest", "-k", "3", "--vectors")
    found = results(*search, "nested.npy", "--space", "nested", cwd=own)
    with Collection.open(own / "c.nest", space="nested") as opened:
        for row, answers in enumerate(found):
            query = head(clustered(60, DIM)[row])
            expected = opened.search(query, k=3, exact=True)
            np.testing.assert_allclose([score for _, score in answers], expected[0].scores, atol=1e-5)
            assert [uri for uri, _ in answers] == expected[0].uris
            assert answers[0][1] == pytest.approx(1, abs=2e-3)
    assert results("similar", "c.nest", "3", "--space", "nested", cwd=own)
    explained = said("explain", "c.nest", "3", "--item", "--space", "nested", "--plan", "flat@6 | 20@6", cwd=own)
    assert "flat@6 | 20@6" in explained
    failed(2, "expected 8 dimensions, found 6", *search, "nested.npy", cwd=own)
    said("apply-head", "c.nest", "h.safetensors", "--use", cwd=own)
    assert results(*search, "nested.npy", cwd=own) == found
    described: dict[str, Any] = json.loads(said("info", "c.nest", "--json", cwd=own))
    assert (described["default"], described["spaces"]["nested"]["objective"]) == ("nested", "supervised")
    save(own / "more.npy", clustered(9, DIM, 4))
    said("add", "c.nest", "more.npy", cwd=own)
    said("compact", "c.nest", cwd=own)
    assert_derived(own / "c.nest", head)
    assert "everything is as it was written" in said("verify", "c.nest", cwd=own)
    assert "space nested removed" in said("remove", "c.nest", "--space", "nested", cwd=own)
    assert len(results(*search, "q.npy", cwd=own)) == 3


def test_what_is_refused(own: Path, head: Head) -> None:
    saved(rotation(Fingerprint("other", "none", "none", DIM)), own / "other.safetensors")
    (own / "none.safetensors").write_bytes(b"no head")
    apply = ("apply-head", "c.nest")
    failed(1, "belongs to other (", *apply, "other.safetensors", cwd=own)
    failed(1, "damaged", *apply, "none.safetensors", cwd=own)
    failed(1, "cannot be read", *apply, "missing.safetensors", cwd=own)
    failed(2, "found 'No Name'", *apply, "h.safetensors", "--name", "No Name", cwd=own)
    failed(2, "only 6 dimensions", *apply, "h.safetensors", "--index", "flat@7", cwd=own)
    failed(1, "not a nestvec collection", "apply-head", "q.npy", "h.safetensors", cwd=own)
    failed(2, "no space 'nested'; it has main", "search", "c.nest", "--vectors", "q.npy", "--space", "nested", cwd=own)
    failed(2, "no space 'x'", "remove", "c.nest", "--space", "x", cwd=own)
    failed(2, "not derived", "remove", "c.nest", "--space", "main", cwd=own)
    failed(2, "not both", "remove", "c.nest", "row-3", "--space", "main", cwd=own)
    failed(2, "nestvec apply-head", "index", "q.npy", "d.nest", "--encoder", "precomputed+head:h.safetensors", cwd=own)
    said(*apply, "h.safetensors", cwd=own)
    failed(2, "nestvec remove c.nest --space nested", *apply, "h.safetensors", cwd=own)
    with Collection.open(own / "c.nest", space="nested") as opened:
        ref = opened.space.head
    assert ref is not None
    flip_bit(own / "c.nest" / ref.path, -3)
    failed(1, "hash does not match", "search", "c.nest", "text", "--space", "nested", cwd=own)
    done = nestvec("verify", "c.nest", cwd=own)
    assert done.returncode == 1
    assert ref.path in done.stdout.decode()


@needs_bundled
def test_an_encoder_with_a_head(tmp_path: Path) -> None:
    """`index --encoder bundled+head:…` and `apply-head` make the same vectors, up to rounding."""
    for number in range(4):
        draw(tmp_path / f"photos/p{number}.png", number)
    said("index", "photos", "plain.nest", cwd=tmp_path)
    saved(two_towers(fingerprint_of(tmp_path / "plain.nest"), 48, dims=(8, 16)), tmp_path / "h.safetensors")
    said("index", "photos", "headed.nest", "--encoder", "bundled+head:h.safetensors", cwd=tmp_path)
    saved(rotation(Fingerprint("other", "none", "none", 384)), tmp_path / "other.safetensors")
    failed(1, "of bundled", "index", "photos", "o.nest", "--encoder", "bundled+head:other.safetensors", cwd=tmp_path)
    assert not (tmp_path / "o.nest").exists()
    said("apply-head", "plain.nest", "h.safetensors", "--use", cwd=tmp_path)
    for query in (("search", "a red circle"), ("similar", "photos/p1.png")):
        one, other = (results(query[0], name, query[1], cwd=tmp_path)[0] for name in ("plain.nest", "headed.nest"))
        assert [Path(uri).name for uri, _ in one] == [Path(uri).name for uri, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=2e-3)
    info = said("info", "headed.nest", cwd=tmp_path)
    assert f"bundled+head:{tmp_path / 'h.safetensors'}, 48 × float16" in info
    assert "not trained" not in info
    (tmp_path / "h.safetensors").rename(tmp_path / "moved.safetensors")
    failed(1, "a collection learns where the file is now", "search", "headed.nest", "x", cwd=tmp_path)
    said("index", "photos", "headed.nest", "--encoder", "bundled+head:moved.safetensors", cwd=tmp_path)
    assert results("search", "headed.nest", "a red circle", cwd=tmp_path)
    assert results("search", "plain.nest", "a red circle", cwd=tmp_path)
