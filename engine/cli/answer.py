"""Print answers, and draw them if a contact sheet was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli import SKIPPED
from engine.cli.options import Answering
from engine.cli.output import Name, Styled, is_terminal, line, named, print_bytes, print_json, say
from engine.storage.names import path_name
from indexers.errors import ItemNotFound, PictureError

if TYPE_CHECKING:
    from engine.query.answers import Answers
    from engine.query.reader import Reader

MOST_NOTES = 5
MOST_FACETS, SHOWN_FACETS = 10_000, 20
"""Values of a column that are counted, and that are printed."""


def check_printing(how: Answering) -> None:
    """Refuse more than one way to print answers, and counts among paths.

    Raises:
        click.UsageError: there is.
    """
    if how.as_json + how.paths + how.paths0 > 1:
        raise click.UsageError("--json, --paths and --paths0 exclude each other: each of them says how to print")
    if how.facet is not None and (how.paths or how.paths0):
        raise click.UsageError("--facet prints counts, and --paths and --paths0 paths alone: ask for counts by --json")
    if how.table is not None:
        from engine.cli.leaving import check_table

        check_table(how.table)


def present(answers: Sequence[Answers], how: Answering, opened: Reader) -> bool:
    """Print answers on stdout and write the contact sheet; return whether all of them could be printed."""
    from engine.query.chance import is_above

    counts = {} if how.facet is None else opened.facets(how.facet, how.where, most=MOST_FACETS)
    left: list[str] = []
    if how.paths or how.paths0:
        left = print_paths(answers, null=how.paths0)
        above = [is_above(one) for one in answers]
        for cursor in [one.cursor for one in answers if one.cursor is not None]:
            say(f"the next page: --after {cursor}")
    else:
        above = print_answers(answers, as_json=how.as_json)
    say_notes(answers)
    say_chance(answers, above)
    if answers and not any(map(len, answers)):
        _say_why_none(how, opened)
    if how.facet is not None:
        print_facets(how.facet, counts, as_json=how.as_json)
    whole = _leave(answers, how, opened)
    for one in left:
        say(one)
    return whole and not left


def _say_why_none(how: Answering, opened: Reader) -> None:
    """Say what left no answer to any query, where an option did."""
    given = {"--at-least": how.at_least, "--min-score": how.min_score, "--offset": how.offset or None}
    left = [name for name, value in given.items() if value is not None]
    if not len(opened):
        say("the collection has no items")
    elif how.where is not None and not len(opened.matching(how.where)):
        say("no item matches --where")
    elif left:
        say(f"no answer is left by {' and '.join(left)}")
    elif how.words is not None:
        say("no item has any of these words")
    elif how.where is not None:
        say("no other item matches --where")


def _leave(answers: Sequence[Answers], how: Answering, opened: Reader) -> bool:
    """Write answers where options say; return whether all of them could be."""
    if how.table is not None:
        from engine.cli.leaving import write_table

        write_table(answers, how.table)
    if how.html is None and how.copy_to is None and how.link_to is None:
        return True
    from engine.collection.originals import Originals

    whole = True
    originals = Originals(opened.root, opened.snapshot.manifest.sources, how.pictures_from)
    if how.html is not None:
        from engine.cli.sheet import write_sheet

        write_sheet(how.html, answers, originals, max_pixels=how.max_pixels)
        say(f"wrote {how.html}")
    for folder, link in ((how.copy_to, False), (how.link_to, True)):
        if folder is not None:
            from engine.cli.leaving import put_files

            whole = put_files(answers, folder, originals, link=link) and whole
    if originals.unnamed:
        say(how_to_confirm(sorted(map(path_name, originals.unnamed))))
    return whole


def present_like(items: Sequence[str], ask: Callable[[str | list[str]], Any], how: Answering, opened: Reader) -> None:
    """Ask what is like items, print the answers of those that have any, and say what is wrong with the others.

    Raises:
        click.exceptions.Exit: there are others, or an answer that could not be printed.
    """
    wrong: list[str] = []
    try:
        answers: Sequence[Answers] = ask(list(items))
    except (PictureError, ItemNotFound):
        answers, wrong = _one_by_one(ask, items)
    whole = present(answers, how, opened)
    for one in wrong:
        say(one)
    if wrong or not whole:
        raise click.exceptions.Exit(SKIPPED)


def _one_by_one(ask: Callable[[str], Any], items: Sequence[str]) -> tuple[list[Answers], list[str]]:
    """Return the answers of the items that have any, and what is wrong with the others; raise where none has."""
    answers, errors, wrong = [], [], []
    for item in items:
        try:
            answers.append(ask(item))
        except (PictureError, ItemNotFound) as error:
            errors.append(error)
            wrong.append(str(error) if item in str(error) else f"{item}: {error}")
    if not answers:
        raise errors[0] if len(errors) == 1 else type(errors[-1])("; ".join(wrong))
    return answers, wrong


def how_to_confirm(folders: Sequence[str], done: str = "shown") -> str:
    """Say in one line why pictures are not shown."""
    more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    return (
        f"pictures below {folders[0]}{more} are not {done}: the collection says that they are its own, and "
        "nobody has indexed them into it on this machine. To take those below a folder: --pictures-from FOLDER"
    )


def answers_json(answers: Answers) -> dict[str, Any]:
    """Return answers in the stable shape of `--json`."""
    from engine.collection.cells import as_json

    chance = [None] * len(answers) if answers.chance is None else [float(f"{one:.4g}") for one in answers.chance]
    results = [
        {
            "rank": rank,
            "id": item.id,
            **named("uri", item.uri),
            "score": None if score != score else round(float(score), 6),
            "chance": chance[rank - 1],
            "caption": item.caption,
            "meta": {name: as_json(value) for name, value in item.meta.items()},
            **({} if copies is None else {"copies": copies}),
            **({} if answers.groups is None else {"group": as_json(group)}),
            **({} if words is None else {"words": round(words, 6)}),
            **({} if fused is None else {"fused": round(fused, 6)}),
        }
        for rank, (item, score, copies, group, words, fused) in enumerate(answers, start=1)
    ]
    notes = {"notes": list(answers.notes)} if answers.notes else {}
    cursor = {} if answers.cursor is None else {"cursor": answers.cursor}
    return {"query": answers.query, **notes, "results": results, **cursor}


def print_facets(column: str, counts: dict[Any, int], *, as_json: bool) -> None:
    """Print how often each value of a column comes."""
    from engine.collection.cells import as_json as written

    if as_json:
        print_json({"facet": column, "counts": [{"value": written(one), "count": n} for one, n in counts.items()]})
        return
    line()
    line(Styled(column, bold=True))
    for value, count in [*counts.items()][:SHOWN_FACETS]:
        line(f"{count:8d}  ", "(no value)" if value is None else str(value))
    if (more := len(counts) - SHOWN_FACETS) > 0:
        line(Styled(f"and {more:,} more values; --json has them", dim=True))


def print_answers(found: Sequence[Answers], *, as_json: bool) -> list[bool | None]:
    """Print the answers to several queries, in query order; return of each whether any answer is above chance."""
    from engine.query.chance import is_above

    above: list[bool | None] = []
    for number, answers in enumerate(found):
        above.append(is_above(answers))  # here, where what it takes is there for `--json` too
        if as_json:
            print_json(answers_json(answers))
            continue
        if len(found) > 1:
            if number:
                line()
            line(Styled(f"query {number}" if answers.query is None else str(answers.query), bold=True))
        _print_one(answers)
    return above


def _print_one(answers: Answers) -> None:
    """Print the answers to one query."""
    before: list[Any] = []
    for rank, (item, _, copies, group, *_) in enumerate(answers, start=1):
        score = answers.ordered_by[rank - 1]
        if answers.groups is not None and before != [group]:
            line(Styled("(no value)" if group is None else str(group), bold=True))
            before = [group]
        caption = f"  {item.caption}" if item.caption else ""
        more = f"  and {copies:,} {'copy' if copies == 1 else 'copies'}" if copies else ""
        line(f"{rank:3d}  {score:6.3f}  ", Name(item.uri), Styled(caption + more, dim=True))
    if answers.cursor is not None:
        line(Styled(f"the next page: --after {answers.cursor}", dim=True))


def print_paths(found: Sequence[Answers], *, null: bool) -> list[str]:
    """Print the paths of the pictures that were found, each once, and nothing else.

    Args:
        found: answers, in query order.
        null: end each with a null, which no name has in it, and not with a line feed.

    Returns:
        what is to be said of the answers that were left out: no other program could make anything of them.
    """
    items = {item.uri: item for answers in found for item in answers.items}
    paths = [uri for uri, item in items.items() if item.width and uri.startswith("/") and "\0" not in uri]
    broken = [] if null else [path for path in paths if "\n" in path]
    for path in paths:
        if path in broken:
            continue
        if is_terminal():
            line(Name(path))
        else:
            print_bytes(os.fsencode(path) + (b"\0" if null else b"\n"))
    told = []
    if bare := len(items) - len(paths):
        told.append(f"{bare} of {len(items)} answers left out: they are no files, but vectors by a name; see --json")
    if broken:
        told.append(f"{len(broken)} of {len(items)} answers left out: line feeds are in their paths; use --paths0")
    return told


def say_chance(found: Sequence[Answers], above: Sequence[bool | None]) -> None:
    """Say of queries that no answer of theirs is above chance, in one line."""
    below = [number for number, is_above in enumerate(above) if is_above is False]
    if not below:
        return
    first = found[below[0]]
    named = f'"{first.query}": ' if len(found) > 1 and first.query is not None else ""
    by = "by their vectors " if first.words is not None else ""  # what words say of them has no chance
    more = f", nor of {len(below) - 1} more of {len(found)} queries" if len(below) > 1 else ""
    say(f"{named}{by}not above chance: the best of as many items that have nothing to do with it would score so{more}")


def say_notes(found: Sequence[Answers]) -> None:
    """Say what is to be said of queries, in a line for each of the first few."""
    notes = [note for answers in found for note in answers.notes]
    for note in notes[:MOST_NOTES]:
        say(note)
    if len(notes) > MOST_NOTES:
        say(f"and so for {len(notes) - MOST_NOTES} more of {len(found)} queries; --json says it beside each")
