"""Print answers, and draw them if a contact sheet was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.cli.options import Answering
from engine.cli.output import Styled, line, print_json, say

if TYPE_CHECKING:
    from engine.query.answers import Answers
    from engine.query.reader import Reader


def present(answers: Sequence[Answers], how: Answering, opened: Reader) -> None:
    """Print answers on stdout and write the contact sheet."""
    print_answers(answers, as_json=how.as_json)
    if how.html is not None:
        from engine.cli.sheet import write_sheet
        from engine.collection.originals import Originals

        originals = Originals(opened.root, opened.snapshot.manifest.sources, how.pictures_from)
        write_sheet(how.html, answers, originals, max_pixels=how.max_pixels)
        say(f"wrote {how.html}")
        if originals.unnamed:
            say(_how_to_confirm(sorted(originals.unnamed)))


def _how_to_confirm(folders: list[str]) -> str:
    """Say in one line why pictures are not shown."""
    more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    return (
        f"pictures below {folders[0]}{more} are not shown: the collection says that they are its own, and "
        "nobody has indexed them into it on this machine. To show those below a folder: --pictures-from FOLDER"
    )


def answers_json(answers: Answers) -> dict[str, Any]:
    """Return answers in the stable shape of `--json`."""
    from engine.collection.cells import as_json

    results = [
        {
            "rank": rank,
            "id": item.id,
            "uri": item.uri,
            "score": round(float(score), 6),
            "caption": item.caption,
            "meta": {name: as_json(value) for name, value in item.meta.items()},
        }
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1)
    ]
    return {"query": answers.query, "results": results}


def print_answers(found: Sequence[Answers], *, as_json: bool) -> None:
    """Print the answers to several queries, in query order."""
    for number, answers in enumerate(found):
        if as_json:
            print_json(answers_json(answers))
            continue
        if len(found) > 1:
            if number:
                line()
            line(Styled(f"query {number}" if answers.query is None else str(answers.query), bold=True))
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1):
            caption = f"  {item.caption}" if item.caption else ""
            line(f"{rank:3d}  {score:6.3f}  {item.uri}", Styled(caption, dim=True))
