"""What can be asked: texts, picture files and vectors, made ready for a search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.collection.originals import MOST_FILE_BYTES
from engine.encoders.base import Encoder, require_modality
from engine.encoders.pictures import decode_picture
from engine.retrieval.searcher import Searcher
from engine.storage.regular import read_regular
from indexers import checks
from indexers.errors import InvalidInput, InvalidVectors, PictureError
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray


def as_asked(query: Any) -> Any:
    """Return vectors that somebody asks with as an array, [D] or [nq, D] as far as is known yet.

    Raises:
        InvalidVectors: it is nothing of the kind.
    """
    if isinstance(query, os.PathLike):
        raise InvalidInput(f"a query is a text, several texts, or vectors; pictures like {query} are found by similar")
    try:
        xq = np.asarray(query)
    except (TypeError, ValueError) as error:
        raise InvalidVectors(f"a query is a text, several texts, or vectors of one length; {error}") from error
    if not xq.ndim or xq.dtype.kind not in "fiu":
        raise InvalidVectors(f"a query is a text, several texts, or vectors; found {type(query).__name__}")
    return xq


def text_queries(encoder: Encoder, texts: str | Sequence[str]) -> FloatArray:
    """Encode query texts, or one, unit float32 [n, D].

    Raises:
        ModalityError: the encoder has no text tower.
        InvalidInput: a text is empty, or is none.
    """
    texts = checks.one_or_several("texts", texts, lambda _, one: checks.instance("a query", one, str))
    if blank := [number for number, text in enumerate(texts) if not text.strip()]:
        raise InvalidInput(f"query {blank[0]} is empty: there is nothing to look for")
    if wrong := [text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text)]:
        raise InvalidInput(f"query {wrong[0]!r} is not valid Unicode; give it as UTF-8")
    require_modality(encoder, "text")
    return encoder.encode_texts(list(texts))


def picture_query(encoder: Encoder, path: str | os.PathLike[str], *, max_pixels: int) -> FloatArray:
    """Encode one picture file, unit float32 [D].

    Raises:
        ModalityError: the encoder takes no pictures.
        PictureError: it cannot be read or decoded.
        InvalidInput: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"a picture is given by the path of its file, one at a time; found {type(path).__name__}")
    require_modality(encoder, "image")
    path, max_pixels = checks.path("path", path), checks.whole("max_pixels", max_pixels, high=checks.MOST_BYTES)
    try:
        data = read_regular(path, most=MOST_FILE_BYTES)
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    picture = decode_picture(data, max_pixels=max_pixels, min_side=encoder.image_size)
    vector: FloatArray = encoder.encode_images(encoder.prepare(picture)[None])[0]
    return vector


def plan_asked_for(
    searcher: Searcher,
    k: int,
    plan: str | SearchPlan | None,
    exact: bool = False,
    recall: float | None = None,
) -> SearchPlan | None:
    """Return the plan somebody wants: written out, exact, or by the recall it keeps; None for the collection's own.

    Raises:
        InvalidInput: more than one of them at once, or a recall of a collection that was not tuned.
        InvalidSpec: it does not parse.
    """
    if sum((plan is not None, checks.truth("exact", exact), recall is not None)) > 1:
        raise InvalidInput("a plan, exact and recall exclude each other: each of them says how to search")
    if recall is not None:
        return searcher.routes.for_recall(checks.share("recall", recall), checks.whole("k", k))
    if exact:
        return SearchPlan(EXACT)
    if isinstance(plan, str):
        return SearchPlan.parse(plan)
    return checks.optional("plan", plan, lambda name, given: checks.instance(name, given, SearchPlan))
