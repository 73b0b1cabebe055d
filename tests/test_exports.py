"""The public names: whoever adds or drops one changes this test, and knows it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import engine
import indexers.errors
from engine.api import Collection
from tests.public import types_in


def test_the_package_offers_these_names_to_do_things_with() -> None:
    doing = {
        *("AnswerList", "Answers", "Collection", "EvaluateOptions", "ExampleOptions", "Head", "RunOptions"),
        *("EncodeOptions", "TableOptions", "TrainOptions", "TuneOptions"),
        *("evaluate", "load_head", "train_head"),
    }
    assert doing <= set(engine.__all__)
    assert list(engine._HOME) == engine.__all__
    for name in engine.__all__:
        assert getattr(engine, name).__name__ == name
        assert getattr(engine, name).__doc__
        assert getattr(engine, name).__module__ == engine._HOME[name]
    assert engine.Collection is Collection


def test_every_error_is_exported() -> None:
    for name, one in vars(indexers.errors).items():
        if inspect.isclass(one):
            assert getattr(engine, name) is one


@pytest.mark.parametrize("name", engine.__all__)
def test_every_type_in_a_public_signature_is_exported(name: str) -> None:
    one = getattr(engine, name)
    for found in types_in(one):
        assert getattr(engine, found.__name__, None) is found, f"engine.{name} speaks of {found.__qualname__}"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'engine' has no attribute 'Colection'"):
        _ = engine.Colection  # type: ignore[attr-defined]


def test_a_collection_offers_these_methods() -> None:
    public = {name for name, _ in inspect.getmembers(Collection) if not name.startswith("_")}
    assert public == {
        *("open", "create", "close", "refresh"),
        *("snapshot", "version", "space", "space_name", "encoder", "searcher"),
        *("index", "add", "add_vectors", "batch", "build", "remove", "compact", "purge"),
        *("versions", "rollback"),
        *("apply_head", "remove_space", "use", "tune", "tune_cutoff", "index_words", "tune_words"),
        *(
            "ask",
            "ask_all",
            "search",
            "similar",
            *("iterate", "get", "scan", "vectors", "update", "update_each", "delete", "between", "export"),
            "ids_of",
            "matching",
            "facets",
            "encode_texts",
            "encode_picture",
            "explain",
            "explain_item",
        ),
    }


def test_every_public_method_is_described() -> None:
    for name, member in inspect.getmembers(Collection):
        if not name.startswith("_"):
            assert inspect.getdoc(member), name


def test_every_error_is_a_nestvec_error() -> None:
    found = [one for one in vars(indexers.errors).values() if inspect.isclass(one)]
    assert len(found) > 15
    assert all(issubclass(one, indexers.errors.NestvecError) and one.__doc__ for one in found)
    assert all(one.__name__ in (indexers.errors.__doc__ or "") for one in found)


def test_importing_the_package_imports_none_of_it() -> None:
    heavy = ("numpy", "faiss", "torch", "engine.api")
    code = f"import sys, engine; print(*(name for name in sys.modules if name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
