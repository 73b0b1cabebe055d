"""`nestvec search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from engine.cli import SKIPPED, options
from engine.cli.answer import check_printing, present, present_like
from engine.cli.asked import (
    hint_at_negation,
    is_sum,
    liking,
    question,
    terms_beside,
    terms_of_sum,
    with_its_words,
)
from engine.cli.marked import Marking
from engine.cli.meant import check_order, understood

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command()
@options.collection
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("-q", "--query", "named", multiple=True, metavar="TEXT", help="A text; may be repeated, for several.")
@click.option(
    "--queries", type=click.File("r", encoding="utf-8-sig"), help="A file with one query a line; - for stdin."
)
@click.option("--vectors", type=options.FILE, help="A .npy file of query vectors, [n, D], of the space searched.")
@options.answering
def command(
    collection: Path,
    texts: tuple[str, ...],
    named: tuple[str, ...],
    queries: TextIO | None,
    vectors: Path | None,
    how: options.Answering,
) -> None:
    """Find the pictures that match a text.

    What stands behind COLLECTION is one query, quoted or not; several are given by -q or --queries. A picture file in
    its place is asked with as by `nestvec similar`. Words, picture files and id:NUMBER with + or - between them are
    added and subtracted, each with a weight before it or without. Answers that were good or bad are marked, and the
    query asked again. With --json it prints one object a query, in query order.

    \b
    Example:
        nestvec search photos.nest "a red bicycle" -k 10
        nestvec search photos.nest -q "a red bicycle" -q "the sea"
        nestvec search photos.nest --queries captions.txt --json
        nestvec search photos.nest "red bicycle" + 0.5:./wheel.jpg - "child" + id:4711
        nestvec search photos.nest --words "IMG_2031"
        nestvec search photos.nest "sunset in Italy" --hybrid
        nestvec search photos.nest "sunset" --group-by folder --distinct --html answers.html
        nestvec search photos.nest "sunset" --session sunset.json --good 12,40 --bad 7
        nestvec search photos.nest "sunset" --paths0 | xargs -0 cp -t CHOSEN
    """
    from engine.query.reader import Reader
    from engine.query.terms import Term, as_likeness

    check_order(collection, texts)
    check_printing(how)
    terms = terms_of_sum(texts) if is_sum(texts) else []
    query = understood(() if terms else texts)
    sentences = [*([query.sentence] if query.sentence else []), *named]
    likes = terms_beside(how)
    ways = bool(sentences or queries) + bool(query.pictures) + bool(vectors) + bool(terms)
    marking = Marking(how.good, how.bad, how.session)
    if ways > 1 or not (ways or likes or how.words or marking):
        raise click.UsageError("give texts (a sentence, -q or --queries), pictures, --vectors or --words: one of them")
    wanted = question(how)
    hint_at_negation([*sentences, *(str(term.value) for term in terms if term.kind == "text")])
    with Reader.open(collection, device=how.device, space=how.space, encoder=how.encoder) as opened:
        if query.pictures and not marking:
            present_like(query.pictures, liking(opened, wanted, likes, how), how, opened)
            return
        several = [[Term.of_text(text)] for text in [*sentences, *(read_queries(queries) if queries else [])]]
        several = [[Term.of_vector(row)] for row in load_vectors(vectors)] if vectors else several or [terms]
        if marking:
            several = [[as_likeness(picture)] for picture in query.pictures] or several
            found = marking.ask(opened, wanted, several, likes, how)
        else:
            found = opened.ask_all([with_its_words(wanted, [*one, *likes], how) for one in several])
        if not present(found, how, opened):
            raise click.exceptions.Exit(SKIPPED)


def read_queries(file: TextIO) -> list[str]:
    """Read one query a line; blank lines are passed over.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    from indexers.errors import InvalidInput

    try:
        return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name} is not a UTF-8 text: {error}") from error


def load_vectors(path: Path) -> NDArray[Any]:
    """Map query vectors, [n, D].

    Raises:
        InvalidVectors: not a `.npy` file of numbers.
    """
    import numpy as np

    from engine.storage.regular import opened_regular
    from indexers.errors import InvalidVectors
    from indexers.npy import map_array

    try:
        with opened_regular(path) as file:
            return np.atleast_2d(map_array(file))
    except (OSError, ValueError) as error:
        raise InvalidVectors(f"{path} is not a .npy file of vectors: {error}") from error
