"""Version files: what is written is read again, and whatever does not fit is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from engine.collection.manifest import Covering, IndexEntry, Manifest, Source, SourceTable, Space
from engine.collection.plans import PlanEntry
from engine.collection.reading import from_json
from engine.encoders.precomputed import PrecomputedEncoder
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection, UnsupportedFormat
from indexers.plan import SearchPlan

GOLDEN = Path(__file__).parents[1] / "golden"
ENCODER = PrecomputedEncoder(name="test", dim=4)


def ref(folder: str, suffix: str, content: str, rows: int) -> FileRef:
    digest = blake3(content.encode()).hexdigest()
    return FileRef(f"{folder}/{digest[:32]}{suffix}", len(content), digest, rows)


def example() -> Manifest:
    """A version with every kind of file in it."""
    items = (ref("items", ".parquet", "a", 3), ref("items", ".parquet", "b", 2))
    bare = Manifest(
        version=7,
        created="2026-01-02T03:04:05.678+00:00",
        operation="index",
        writer="nestvec 0.1.0",
        next_id=5,
        sources=(Source("photos", "folder", "/data/photos"), Source("t.csv", "table", "/data/caf%E9/t.csv")),
        items=items,
        deletes=ref("deletes", ".parquet", "c", 1),
        failures=ref("failures", ".parquet", "d", 1),
    )
    lookup = Covering(ref("lookup", ".arrow", "e", 5), 2, bare.shards_digest(range(2)))
    vectors = Covering(ref("spaces/main/vectors", ".npy", "f", 5), 2, bare.shards_digest(range(2)))
    index = Covering(ref("spaces/main/indexes", ".faiss", "g", 3), 1, bare.shards_digest(range(1)))
    space = Space(
        encoder=ENCODER.name,
        fingerprint=ENCODER.fingerprint,
        canaries=ref("spaces/main/encoder", ".json", "h", 0),
        dim=4,
        dtype="float16",
        embeddings=tuple(ref("spaces/main/embeddings", ".parquet", text, rows) for text, rows in (("i", 3), ("j", 2))),
        vectors=vectors,
        indexes=(IndexEntry(index, IndexSpec("flat", 2)),),
        plans=(PlanEntry(SearchPlan.parse("flat@2 | 50@4"), 10, {"items": 0.98, "texts": 0.97}, 256),),
    )
    return Manifest(**{**bare.__dict__, "lookup": lookup, "spaces": {"main": space}})


def body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(example().to_json())["body"]
    return found


def signed(changed: dict[str, Any]) -> str:
    """A version file with that body and the right hash: what somebody hostile would write."""
    text = json.dumps(changed, separators=(",", ":"))
    return f'{{"blake3":"{blake3(text.encode()).hexdigest()}","body":{text}}}\n'


def test_a_version_is_read_as_it_was_written() -> None:
    assert from_json(example().to_json(), name="v") == example()
    assert signed(body()) == example().to_json()


OLDER = {
    "a key of a fingerprint that nobody knows": [
        ("fingerprint", {**ENCODER.fingerprint.to_json(), "new": {"a": [1, None]}})
    ],
    "fingerprint keys in another order": [("fingerprint", dict(reversed(ENCODER.fingerprint.to_json().items())))],
    "every parameter of a spec": [("indexes", 0, "spec", "ivf-pq@4:axes=1,m=2,nlist=1,refine=8,residual=1,rotate=0")],
    "a probe and a margin": [("plans", 0, "plan", "ivf-pq@2:nprobe=3,margin=20 | 50@3 | 9@4")],
    "a probe of a graph": [("plans", 0, "plan", "hnsw@2:efSearch=3 | 50@4")],
}


@pytest.mark.parametrize("name", OLDER)
def test_what_older_code_wrote_is_written_again_byte_for_byte(name: str) -> None:
    changed = body()
    for *keys, value in OLDER[name]:
        _set("spaces", "main", *keys, to=value)(changed)
    again = from_json(signed(changed), name="v")
    assert again.to_json() == signed(changed)
    assert again.space().fingerprint == ENCODER.fingerprint
    assert again.space().fingerprint.digest == ENCODER.fingerprint.digest


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("format-1/*/versions/*.json")), ids=lambda path: path.parent.parent.name
)
def test_golden_versions_are_written_again_byte_for_byte(path: Path) -> None:
    assert from_json(path.read_text(), name="v").to_json() == path.read_text()


def test_files_lists_every_file_once() -> None:
    files = [one.path for one in example().files()]
    assert len(files) == len(set(files)) == 10
    assert {path.split("/")[-2] for path in files} == {
        *("items", "deletes", "failures", "lookup", "encoder", "embeddings", "vectors", "indexes"),
    }


@pytest.mark.parametrize("at", range(0, len(example().to_json()) - 1, 41))
def test_a_changed_byte_is_noticed(at: int) -> None:
    data = bytearray(example().to_json().encode())
    data[at] ^= 1
    with pytest.raises((CorruptCollection, UnsupportedFormat)):
        from_json(data.decode("latin-1"), name="v")


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '"body":', '{"body":{"format":1}}', "[" * 100_000, example().to_json()[:-40]]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(CorruptCollection, match="not a nestvec version file"):
        from_json(text, name="v")


def test_a_newer_format_says_what_to_do() -> None:
    changed = {**body(), "format": 3}
    with pytest.raises(UnsupportedFormat, match=r"of format 3.*upgrade"):
        from_json(signed(changed), name="v")


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = to

    return change


OUTSIDE = ["../../etc/passwd", "/etc/passwd", "items/../x.parquet", "", "items/" + "0" * 32 + ".exe", "versions/1.json"]
SPACE = ("spaces", "main")

MISFITS = {
    **{f"path {path}": _set("items", 0, "path", to=path) for path in OUTSIDE},
    "a name that is not the hash": _set("items", 0, "path", to="items/" + "0" * 32 + ".parquet"),
    "negative size": _set("items", 0, "size", to=-1),
    "rows beyond 64 bits": _set("items", 0, "rows", to=1 << 70),
    "infinite rows": _set("items", 0, "rows", to=float("inf")),
    "format 0": _set("format", to=0),
    "rows without vectors": _set(*SPACE, "embeddings", 1, "rows", to=1),
    "a shard without vectors": _set(*SPACE, "embeddings", to=[]),
    "an index of other shards": _set(*SPACE, "indexes", 0, "covering", "shards_digest", to="0" * 32),
    "an index of more shards": _set(*SPACE, "indexes", 0, "covering", "shards", to=3),
    "an index of other rows": _set(*SPACE, "indexes", 0, "covering", "file", "rows", to=2),
    "a lookup of other rows": _set("lookup", "file", "rows", to=4),
    "an index nobody can parse": _set(*SPACE, "indexes", 0, "spec", to="flat"),
    "a plan nobody can parse": _set(*SPACE, "plans", 0, "plan", to="fast"),
    "an unknown dtype": _set(*SPACE, "dtype", to="object"),
    "no dimensions": _set(*SPACE, "dim", to=0),
    "no fingerprint": _set(*SPACE, "fingerprint", to={}),
    "a space outside": _set("spaces", to={"../x": body()["spaces"]["main"]}),
    "a shard twice": _set("items", 1, to=body()["items"][0]),
    "two sources of a name": _set("sources", 1, "name", to="photos"),
    "a negative next id": _set("next_id", to=-1),
    "sources that are none": _set("sources", to=None),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_refused(name: str) -> None:
    changed = body()
    MISFITS[name](changed)
    with pytest.raises(CorruptCollection):
        from_json(signed(changed), name="v")


def _paths(data: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [prefix, *(path for key, value in inner for path in _paths(value, (*prefix, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from([path for path in _paths(body()) if path]), value=JSON)
def test_no_value_anywhere_causes_another_error(path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(body())
    _set(*path, to=value)(changed)
    try:
        found = from_json(signed(changed), name="v")
    except (CorruptCollection, UnsupportedFormat):
        return
    assert from_json(found.to_json(), name="v") == found or found != found


def test_a_space_that_is_not_there_is_named() -> None:
    with pytest.raises(CorruptCollection, match=r"no space 'other'; found \['main'\]"):
        example().space("other")


def test_where_items_of_a_source_lie() -> None:
    folder, table = example().sources
    assert (folder.folder, table.folder) == ("/data/photos", "/data/caf%E9")
    assert Source("v.npy", "vectors", "/data/v.npy").folder is None


def test_the_format_is_what_it_is() -> None:
    """Byte for byte: whoever changes this file changes the format, and has to give it another number."""
    assert (GOLDEN / "version-1.json").read_bytes() == example().to_json().encode()
    assert from_json((GOLDEN / "version-1.json").read_text(), name="v") == example()


# -- derived spaces ------------------------------------------------------------------------


def with_heads() -> Manifest:
    """The example with two derived spaces, one from the other, the last of them searched by default."""
    bare = example()
    main = bare.spaces["main"]
    nested = Space(
        encoder="main+head:x",
        fingerprint=replace(main.fingerprint, model="x+head:rotation", dim=3, trained_dims=(2,)),
        canaries=None,
        dim=3,
        dtype="float32",
        embeddings=tuple(
            ref("spaces/nested/embeddings", ".parquet", text, rows) for text, rows in (("k", 3), ("l", 2))
        ),
        base="main",
        head=ref("spaces/nested/heads", ".safetensors", "m", 0),
    )
    again = {**nested.__dict__, "base": "nested", "head": ref("spaces/again/heads", ".safetensors", "m", 0)}
    return Manifest(
        **{**bare.__dict__, "spaces": {"main": main, "nested": nested, "again": Space(**again)}, "default": "again"}
    )


def nested_body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(with_heads().to_json())["body"]
    return found


def test_spaces_with_heads_are_read_as_they_were_written() -> None:
    assert from_json(with_heads().to_json(), name="v") == with_heads()
    heads = [one.path for one in with_heads().files() if one.path.endswith(".safetensors")]
    assert [path.split("/")[1] for path in heads] == ["nested", "again"]


def test_without_heads_nothing_is_written_of_them() -> None:
    assert "default" not in body()
    assert not {"base", "head"} & set(body()["spaces"]["main"])
    old = from_json(signed(body()), name="v")
    assert (old.default, old.space().base, old.space().head) == ("main", None, None)


NESTED = ("spaces", "nested")
HEAD_MISFITS = {
    "a default that is not there": _set("default", to="other"),
    "no default": _set("default", to=None),
    "a base that is not there": _set(*NESTED, "base", to="other"),
    "a circle": _set(*NESTED, "base", to="again"),
    "a base that is itself": _set(*NESTED, "base", to="nested"),
    "a base without a head": _set(*NESTED, "head", to=None),
    "a head without a base": _set(*NESTED, "base", to=None),
    "a main space with a head": _set(
        *SPACE, to={**nested_body()["spaces"]["nested"], "embeddings": body()["spaces"]["main"]["embeddings"]}
    ),
    "a head of another space": _set(*NESTED, "head", to=nested_body()["spaces"]["again"]["head"]),
    "a head that is none": _set(*NESTED, "head", to=nested_body()["items"][0]),
    "a head outside": _set(*NESTED, "head", "path", to="../head.safetensors"),
    "another dimension": _set(*NESTED, "dim", to=4),
    "prefixes longer than the vectors": _set(*NESTED, "fingerprint", "trained_dims", to=[4]),
    "rows without derived vectors": _set(*NESTED, "embeddings", to=[]),
}


@pytest.mark.parametrize("name", HEAD_MISFITS)
def test_heads_that_do_not_fit_are_refused(name: str) -> None:
    changed = nested_body()
    HEAD_MISFITS[name](changed)
    with pytest.raises(CorruptCollection):
        from_json(signed(changed), name="v")


@given(path=st.sampled_from([path for path in _paths(nested_body()) if path]), value=JSON)
def test_no_value_anywhere_in_derived_spaces_causes_another_error(path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(nested_body())
    _set(*path, to=value)(changed)
    try:
        found = from_json(signed(changed), name="v")
    except (CorruptCollection, UnsupportedFormat):
        return
    assert from_json(found.to_json(), name="v") == found or found != found


def test_tables_of_a_source_are_written_only_where_there_are_some() -> None:
    joined = Source("more", "folder", "/more", (SourceTable("/t.csv"), SourceTable("/u.csv", "photo", None)))
    manifest = replace(example(), sources=(*example().sources, joined))
    text = manifest.to_json()
    assert from_json(text, name="x") == manifest
    assert text.count('"tables"') == 1


@pytest.mark.parametrize(
    "tables", [1, [1], [{}], [{"location": "/t.csv"}], [{"location": "/t.csv", "name_column": "x"}]]
)
def test_tables_that_are_none_are_refused(tables: Any) -> None:
    body = json.loads(example().to_json())["body"]
    body["sources"][0]["tables"] = tables
    text = json.dumps(body, separators=(",", ":"))
    with pytest.raises(CorruptCollection):
        from_json(f'{{"blake3":"{blake3(text.encode()).hexdigest()}","body":{text}}}', name="x")
