"""A question as JSON: stable, so that programs and servers can send it; see docs/query.md."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from engine.query.shape import Shape
from indexers import checks
from indexers.errors import InvalidInput, did_you_mean

if TYPE_CHECKING:
    from engine.query.ask import Query
    from engine.query.terms import Marks, Term

VERSION = 1
"""Of the form; one that says another is refused."""

WHERE_IT_BEGINS = ("k", "offset", "pages", "after", "max_pixels")
"""What differs between pages of one question, or changes no answer."""

SHAPE = tuple(field.name for field in fields(Shape))


def query_as_json(query: Query) -> dict[str, Any]:
    """Return a question as JSON values; what is as usual is left out."""
    said: dict[str, Any] = {"version": VERSION, "terms": [_term_as_json(term) for term in query.terms], "k": query.k}
    plan = None if query.plan is None else str(query.plan)
    where = None if query.filter is None else query.filter.to_json()
    usual = {"plan": plan, "exact": query.exact or None, "recall": query.recall, "dim": query.dim, "where": where}
    usual |= {"include_self": query.include_self or None, "max_pixels": query.max_pixels}
    usual |= {"words": query.words, "blend": query.blend}
    usual |= {name: getattr(query.shape, name) for name in SHAPE}
    usual["marks"] = {"good": [*query.marks.good], "bad": [*query.marks.bad]} if query.marks else None
    known = {name: default for name, default in _usual().items() if name in usual}
    return said | {name: value for name, value in usual.items() if value is not None and value != known.get(name)}


def _usual() -> dict[str, Any]:
    from engine.query.ask import Query

    usual = Query()
    return {"max_pixels": usual.max_pixels, **{name: getattr(usual.shape, name) for name in SHAPE}}


def digest_of(query: Query) -> str:
    """Return 32 hex digits that are the same for the same question, whichever page of it is asked for."""
    said = {name: value for name, value in query_as_json(query).items() if name not in WHERE_IT_BEGINS}
    return blake3(json.dumps(said, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest(length=16)


def query_from_json(given: Any) -> Query:
    """Read a question.

    Raises:
        InvalidInput: it is none; the message says what of it.
    """
    from engine.query.ask import Query

    said = dict(_object("a query", given))
    version = said.pop("version", VERSION)
    if type(version) is not int or version != VERSION:
        raise InvalidInput(f"version: this reads queries of version {VERSION}, found {checks.brief(version)}")
    terms = said.pop("terms", [])
    if not isinstance(terms, list):
        raise InvalidInput(f"terms: expected a list, found {checks.brief(terms)}")
    known = {
        "k",
        "plan",
        "exact",
        "recall",
        "dim",
        "where",
        "include_self",
        "max_pixels",
        "words",
        "blend",
        "marks",
        *SHAPE,
    }
    if wrong := [name for name in said if name not in known]:
        raise InvalidInput(
            f"a query has no {checks.brief(wrong[0])}; it has version, terms, {', '.join(sorted(known))}"
            f"{did_you_mean(str(wrong[0]), known)}"
        )
    shape = Shape(**{name: said.pop(name) for name in SHAPE if name in said})
    if "marks" in said:
        said["marks"] = _marks_from_json(said["marks"])
    return Query(tuple(_term_from_json(number, one) for number, one in enumerate(terms)), shape=shape, **said)


def _term_as_json(term: Term) -> dict[str, Any]:
    value: Any = term.value
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    weight = {} if term.weight == 1 else {"weight": term.weight}
    return {term.kind: [*value] if isinstance(value, tuple) else value, **weight}


def _term_from_json(number: int, given: Any) -> Term:
    from engine.query.terms import KINDS, Term

    said = dict(_object(f"terms[{number}]", given))
    weight = said.pop("weight", 1.0)
    if len(said) != 1 or next(iter(said)) not in KINDS:
        raise InvalidInput(
            f"terms[{number}]: expected one of {', '.join(KINDS)}, and perhaps a weight, as in "
            f'{{"text": "a red bicycle"}}; found {checks.brief(given)}'
        )
    ((kind, value),) = said.items()
    read = _READ.get(kind)
    return Term(kind, value if read is None else read(f"terms[{number}]", value), weight)  # type: ignore[arg-type]


def _marks_from_json(given: Any) -> Marks:
    from engine.query.terms import Marks

    said = _object("marks", given)
    if wrong := [name for name in said if name not in ("good", "bad")]:
        raise InvalidInput(f"marks have no {checks.brief(wrong[0])}; they have good and bad, each a list of items")
    if not all(isinstance(items, list) for items in said.values()):
        raise InvalidInput(f"marks: good and bad are lists of ids and paths, found {checks.brief(given)}")
    return Marks(**{name: tuple(_item(f"marks.{name}", one) for one in items) for name, items in said.items()})


def _object(name: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise InvalidInput(f"{name}: expected an object of JSON, found {checks.brief(given)}")
    return given


def _bytes(name: str, value: Any) -> bytes:
    try:
        return base64.b64decode(checks.text(name, value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name}: the bytes of a picture are written in base64: {error}") from error


def _item(name: str, value: Any) -> str | int:
    if isinstance(value, str) or type(value) is int:
        return value
    raise InvalidInput(f"{name}: an item is an id or a path, found {checks.brief(value)}")


def _numbers(name: str, value: Any) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(one, float) or type(one) is int for one in value):
        raise InvalidInput(f"{name}: a vector is a list of numbers, found {checks.brief(value)}")
    return [checks.real(name, one) for one in value]


_READ: dict[str, Callable[[str, Any], Any]] = {"picture": _bytes, "item": _item, "vector": _numbers}
