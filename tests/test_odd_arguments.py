"""Odd values at every public parameter: each works, or is refused by a named error, and the collection stays sound.

The parameters are found by looking (`tests.public`), so that a new one cannot be forgotten: it fails here until there
is a valid value for it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.api import Collection
from engine.collection.commit import current_version
from engine.heads.training.options import Examples, check_options
from tests.faults.states import assert_sound
from tests.helpers import clustered, save
from tests.made_heads import rotation, saved
from tests.public import callables_of, exported

ODD: list[Any] = [
    *(True, False, None, -1, 0, 1, 2**31, 2**63, 2**70, -(2**70), 1.5, math.nan, math.inf, -math.inf, 1 + 2j),
    *("", " ", "\0", "\ud800", "a\nb", "x" * 5000, "5", "nonsense", "../..", b"", b"x", bytearray(b"x")),
    *([], [[]], [None], [True], [1.5], [""], ["a", 3], [-1], [2**70], ["x"] * 3, [object()], [None] * 1_000_000),
    *((), {}, {"a": 1}, set(), range(3), object(), int, len, iter(())),
    *(np.int64(2), np.int8(-1), np.float32(0.5), np.bool_(True), np.str_("a"), np.array(1), np.array("a")),
    *(np.zeros(0), np.zeros((0, 8)), np.ones(3), np.ones((2, 3)), np.ones((2, 3, 4)), np.ones(8), np.array([None])),
    *(np.full((2, 8), np.nan), np.ones((2, 8), complex), np.array([["a"]]), Path(), Path("/nonexistent"), Path("\0")),
]

# What comes back and is read: nobody makes one, and what they offer is asked through the collection.
ANSWERS = set(
    """
    Accelerator Answer AnswerList Answers Batch Blend Coarse Covering CurvePoint Cutoff Evaluation Explanation Exported
    FileRef Fingerprint Found Head IndexEntry Item LabelTable LeftOut Loss Manifest Mask Neighbors Noted Part PlanEntry
    Probed ProbedIndex PrunedIndex Reader Routes Row Searcher Segment Snapshot Source SourceTable Space Step Summary
    Taken Terms Tower Tuning UnderFilters Unjoined Unnamed VectorStore Version Words
    """.split()
)
# Rows that are read, and then refused as too few: nothing is trained here.
FEW = "few.npy"
PROTOCOLS = {"Encoder", "Evaluable", "Listener"}


def doors(root: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return every way in, with arguments that are fine. `root` holds a collection, and files to name."""
    here = Collection.open(root, device="cpu")
    v, head, few = (root.parent / name for name in ("v.npy", "h.safetensors", FEW))
    items = {"paths": ["v-1"], "ids": [], "below": [], "where": None}
    doing: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "close": (here.close, {}),
        "refresh": (here.refresh, {}),
        "versions": (here.versions, {}),
        **{name: (getattr(here, name), {"sources": v, "options": None, "listener": None}) for name in ("index", "add")},
        "add_vectors": (
            here.add_vectors,
            {
                **{"vectors": clustered(2, 8), "names": None, "captions": None, "meta": None},
                **{"source": "api", "spaces": None},
            },
        ),
        "batch": (lambda **given: here.batch(**given).__enter__(), {}),
        "build": (here.build, {"specs": ["flat@4"], "listener": None, "space": "main"}),
        "remove": (here.remove, items),
        "update": (here.update, {"where": "id < 0", "columns": {"n": 3}}),
        "update_each": (here.update_each, {"items": [], "columns": {"n": []}}),
        "delete": (here.delete, {"where": "id < 0"}),
        "purge": (here.purge, {**items, "listener": None}),
        "compact": (here.compact, {"listener": None}),
        "apply_head": (
            here.apply_head,
            {"path": head, "name": "other", "specs": None, "dtype": None, "use": False, "listener": None},
        ),
        "remove_space": (here.remove_space, {"name": "other"}),
        "use": (here.use, {"name": "main"}),
        "index_words": (here.index_words, {"columns": None, "stem": None, "listener": None}),
        "tune_words": (
            here.tune_words,
            {"topics": root.parent / "none", "qrels": root.parent / "none", "listener": None},
        ),
        "tune": (here.tune, {"options": None, "listener": None}),
        "tune_cutoff": (here.tune_cutoff, {"options": None, "listener": None}),
        "rollback": (here.rollback, {"version": 2}),
        "encode_texts": (here.encode_texts, {"texts": ["a"]}),
        "encode_picture": (here.encode_picture, {"path": v, "max_pixels": 100}),
        "explain": (here.explain, {"query": clustered(1, 8)[0], "k": 3, "plan": None, "where": None}),
        "explain_item": (here.explain_item, {"item": 0, "k": 3, "plan": None, "where": None, "max_pixels": 100}),
        "evaluate": (engine.evaluate, {"collection": here, "options": engine.EvaluateOptions(k=2), "listener": None}),
        "load_head": (engine.load_head, {"path": head}),
        "train_head": (
            engine.train_head,
            {
                **{"sources": few, "options": training(), "examples": None, "output": None},
                **{"overwrite": False, "listener": None},
            },
        ),
    }
    return doing | opening_it(root) | asking_it(here) | listing_it(here) | options(root, here)


def opening_it(root: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return the ways to a collection."""
    return {
        "open": (
            lambda **given: Collection.open(**given).close(),
            {
                **{"path": root, "device": "cpu", "space": None, "search_device": "cpu", "gpu_memory": None},
                **{"encoder": None, "version": None},
            },
        ),
        "create": (
            lambda **given: Collection.create(**given).close(),
            {
                "path": root.parent / "new",
                "encoder": "precomputed",
                "dim": 8,
                "dtype": "float16",
                "device": "cpu",
                "spaces": None,
            },
        ),
    }


def asking_it(here: Collection) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return the ways to ask."""
    search = {"k": 3, "plan": None, "dim": None, "exact": False, "recall": None, "where": None}
    search |= {"words": None, "blend": None}
    shape = {"offset": 0, "min_score": None, "distinct": None, "group_by": None, "group_size": 1, "sort": None}
    more = {**shape, "pages": False, "after": None, "diverse": None, "at_least": None}
    return {
        "ask": (here.ask, {"query": asking()}),
        "ask_all": (here.ask_all, {"queries": [asking()]}),
        "Query": (
            lambda **given: here.ask(engine.Query(**given)),
            {
                **{**search, "terms": asking().terms, "include_self": False, "max_pixels": 100},
                **{"shape": engine.Shape(), "marks": engine.Marks()},
            },
        ),
        "Term": (
            lambda **given: here.ask(engine.Query((engine.Term(**given),), k=3)),
            {"kind": "item", "value": 0, "weight": 1.0},
        ),
        "search": (
            here.search,
            {"query": clustered(1, 8)[0], **search, **more, "like": (), "unlike": (), "marks": None},
        ),
        "Marks": (
            lambda **given: here.ask(dataclasses.replace(asking(), marks=engine.Marks(**given))),
            {"good": [0], "bad": [1]},
        ),
        "between": (here.between, {"low": 0, "high": 1, "where": None}),
        "Shape": (lambda **given: here.ask(dataclasses.replace(asking(), shape=engine.Shape(**given))), more),
        "iterate": (
            lambda **given: list(here.iterate(**given)),
            {
                **{"query": clustered(1, 8)[0], "plan": None, "where": None, "like": (), "unlike": ()},
                **{
                    "min_score": None,
                    "distinct": None,
                    "include_self": False,
                    "marks": None,
                    "words": None,
                    "blend": None,
                },
            },
        ),
        "Filter": (
            lambda **given: here.matching(engine.Filter(**given)),
            {"root": engine.Filter.parse("id >= 0").root, "text": None},
        ),
        "similar": (
            here.similar,
            {"item": 0, **search, **more, "include_self": False, "max_pixels": 100, "marks": None},
        ),
    }


def listing_it(here: Collection) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return the ways to look at items without a search."""
    return {
        "get": (here.get, {"items": [0], "keys": (), "columns": ["id"], "vectors": True}),
        "scan": (lambda **given: list(here.scan(**given)), {"where": None, "columns": ["id"], "batch_rows": 9}),
        "vectors": (lambda **given: list(here.vectors(**given)), {"where": None}),
        "export": (
            lambda **given: exporting(here, **given),
            {
                **{"path": here.root.parent / "made.faiss", "to": "faiss", "where": None, "space": None},
                **{"options": None, "listener": None},
            },
        ),
        "facets": (here.facets, {"column": "path", "where": None, "most": 3}),
        "matching": (here.matching, {"where": "id >= 0"}),
        "ids_of": (here.ids_of, {"keys": ["v-1"]}),
    }


def exporting(here: Collection, **given: Any) -> None:
    """Export, and take away what was written, wherever that is."""
    made = Path(here.export(**given).path)
    shutil.rmtree(made) if made.is_dir() else made.unlink()


def asking() -> engine.Query:
    return engine.Query((engine.Term.of_vector(clustered(1, 8)[0]),), k=3)


def training() -> Any:
    return engine.TrainOptions("rotation", (2, 4), steps=1)


def options(root: Path, here: Collection) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return the options, each made and handed to whoever takes it."""
    v, few = root.parent / "v.npy", root.parent / FEW
    rows = Examples(clustered(60, 8))

    takers: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "RunOptions": (
            lambda **given: here.add(v, engine.RunOptions(**given)),
            {
                **{"device": "cpu", "encode": engine.EncodeOptions(), "table": engine.TableOptions()},
                "wanted": engine.WantedOptions(),
            },
        ),
        "EncodeOptions": (lambda **given: here.add(v, engine.RunOptions(encode=engine.EncodeOptions(**given))), {}),
        "TableOptions": (lambda **given: here.add(v, engine.RunOptions(table=engine.TableOptions(**given))), {}),
        "WantedOptions": (lambda **given: here.add(v, engine.RunOptions(wanted=engine.WantedOptions(**given))), {}),
        "TuneOptions": (lambda **given: here.tune(engine.TuneOptions(**given)), {}),
        "CutoffOptions": (lambda **given: here.tune_cutoff(engine.CutoffOptions(**given)), {}),
        "TrainOptions": (
            lambda **given: check_options(engine.TrainOptions(**given), rows),
            {"objective": "rotation", "dims": (2, 4)},
        ),
        "ExampleOptions": (
            lambda **given: engine.train_head(few, training(), engine.ExampleOptions(**given)),
            {"table": engine.TableOptions()},
        ),
        "EvaluateOptions": (lambda **given: engine.evaluate(here, engine.EvaluateOptions(**given)), {"k": 2}),
        "ExportOptions": (
            lambda **given: exporting(
                here, path=root.parent / "made", to="hdf5", options=engine.ExportOptions(**given)
            ),
            {"k": 2},
        ),
        "IndexSpec": (lambda **given: here.build([engine.IndexSpec(**given)]), {"family": "flat", "dim": 4}),
        "SearchPlan": (
            lambda **given: here.search(clustered(1, 8)[0], 3, plan=engine.SearchPlan(**given)),
            {"index": "flat@4", "probe": 0, "stages": (engine.Stage(8, 5),), "margin": 0},
        ),
        "Stage": (
            lambda **given: here.search(
                clustered(1, 8)[0], 3, plan=engine.SearchPlan("flat@4", stages=(engine.Stage(**given),))
            ),
            {"dim": 8, "shortlist": 5},
        ),
    }
    for name, (taker, given) in takers.items():
        defaults = {
            field.name: getattr(getattr(engine, name), field.name, None) for field in fields(getattr(engine, name))
        }
        takers[name] = (taker, {**defaults, **given})
    return takers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    with Collection.create(folder / "c.nest", encoder="precomputed", dim=8, device="cpu") as opened:
        opened.add(save(folder / "v.npy", clustered(60, 8)))
        opened.build(["flat@4"])
        save(folder / FEW, clustered(10, 8))
        saved(rotation(opened.space.fingerprint), folder / "h.safetensors")
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(made, tmp_path / "w")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")  # where a path that says nothing would lead
    yield tmp_path / "w" / "c.nest"


PROPERTIES = {"snapshot", "version", "space", "space_name", "encoder", "searcher"}
WAYS = {name.partition(".")[2] for name, _ in callables_of(Collection) if "__" not in name} - PROPERTIES
WAYS |= {
    name
    for name, one in exported().items()
    if name not in ANSWERS | PROTOCOLS | {"Collection"} and not (inspect.isclass(one) and issubclass(one, Exception))
}


@pytest.mark.parametrize("name", sorted(WAYS))
def test_odd_values_are_refused_or_right(root: Path, name: str) -> None:
    call, fine = doors(root)[name]
    public = getattr(Collection, name, None) or getattr(engine, name)
    taken = set(inspect.signature(public).parameters) - {"self"}
    # What becomes of what is found is taken by name: the fields of a shape.
    taken = (taken - {"then"}) | (
        {field.name for field in dataclasses.fields(engine.Shape)} if "then" in taken else set()
    )
    assert taken == set(fine)
    wrong = []
    for parameter in fine:
        for odd in ODD:
            if parameter == "held" and callable(odd):  # what it makes is seen when it is called
                continue
            before = current_version(root)
            try:
                call(**{**fine, parameter: odd})
            except engine.NestvecError:
                if current_version(root) != before:
                    wrong.append((parameter, f"{odd!r:.50}", "refused, and committed"))
            except Exception as error:
                wrong.append((parameter, f"{odd!r:.50}", f"{error!r:.100}"))
    assert not wrong, "\n".join(map(str, wrong))
    assert_sound(root)
