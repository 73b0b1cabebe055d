"""Print answers, and draw them if a contact sheet was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.options import Answering
from engine.cli.output import print_answers, say

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
        write_sheet(how.html, answers, originals)
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
