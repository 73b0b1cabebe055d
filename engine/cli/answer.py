"""Print answers, and draw them if a contact sheet was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.options import Answering
from engine.cli.output import print_answers, say

if TYPE_CHECKING:
    from engine.answers import Answers


def present(answers: Sequence[Answers], how: Answering) -> None:
    """Print answers on stdout and write the contact sheet."""
    print_answers(answers, as_json=how.as_json)
    if how.html is not None:
        from engine.cli.sheet import write_sheet

        write_sheet(how.html, answers)
        say(f"wrote {how.html}")
