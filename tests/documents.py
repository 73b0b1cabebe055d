"""The documents, as what they say can be compared with: their code, their links, the page of public names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import engine

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")),
    *sorted(path for folder in ("docs", "scripts") for path in (ROOT / folder).rglob("*.md")),
]
PYTHON = ROOT / "docs" / "python.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}.*\n|\n(?= {4}))+")
_INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# Which part of the page of public names those of a room belong to; the longest of these that fits.
_PARTS = {
    "engine.api": "A collection",
    "engine.query": "Asking and answers",
    "engine.ingest": "Changing a collection",
    "engine.jobs": "Changing a collection",
    "engine.progress": "Changing a collection",
    "engine.heads": "Encoders and heads",
    "engine.encoders": "Encoders and heads",
    "engine.jobs.train": "Encoders and heads",
    "engine.jobs.examples": "Encoders and heads",
    "engine.evaluation": "Evaluating",
    "engine.collection": "What a version holds",
    "engine.storage": "What a version holds",
    "engine.retrieval": "Searching arrays",
    "engine.planning": "Searching arrays",
    "indexers": "Searching arrays",
    "indexers.errors": "Errors",
}
_HEAD = """\
# Every public name

What can be imported from `engine`, a line each: the first of its own documentation, where an example stands as well
(`help(engine.Answers)`). Examples take `import engine` and `import numpy as np` for granted. They are run by
`tests/test_examples.py`; what `photos.nest`, `vectors.nest` and the other files in them are, `tests/examples.py` says.
`python -m tests.documents` makes this page, and a test compares it with what is there.
"""


def named(page: Path) -> str:
    """Return what a page is called in a message."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[str]:
    """Yield the blocks of code of a page, fenced or indented."""
    text = page.read_text(encoding="utf-8")
    yield from (found[2] for found in _FENCE.finditer(text))
    yield from (inspect.cleandoc("\n" + found[0]) for found in _INDENTED.finditer(_FENCE.sub("", text)))


def snippets(page: Path) -> Iterator[str]:
    """Yield the blocks of a page that say they are Python."""
    yield from (found[2] for found in _FENCE.finditer(page.read_text(encoding="utf-8")) if found[1] == "python")


def inline(page: Path) -> Iterator[str]:
    """Yield what stands between single backquotes."""
    text = _INDENTED.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    yield from (found[1].replace("\n", " ") for found in _INLINE.finditer(text))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of links that lead to a file or a heading of ours."""
    text = _INLINE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    yield from (target for target in _LINK.findall(text) if not re.match(r"\w+:", target))


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as links say them."""
    heads = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def first_line(one: object) -> str:
    """Return the first line of the documentation of a public object, which must be a sentence."""
    return (inspect.getdoc(one) or "").partition("\n")[0]


def python_page() -> str:
    """Return the page of public names as it should be."""
    parts: dict[str, list[str]] = {part: [] for part in _PARTS.values()}
    for name in engine.__all__:
        home = engine._HOME[name]
        room = max((one for one in _PARTS if home == one or home.startswith(f"{one}.")), key=len)
        parts[_PARTS[room]].append(f"| `{name}` | {_cell(getattr(engine, name))} |")
    methods = [
        f"| `Collection.{name}` | {_cell(member)} |"
        for name, member in inspect.getmembers(engine.Collection)
        if not name.startswith("_")
    ]
    tables = {part: [*lines, *(methods if part == "A collection" else [])] for part, lines in parts.items()}
    return _HEAD + "".join(
        f"\n## {part}\n\n| name | |\n|---|---|\n" + "\n".join(lines) + "\n" for part, lines in tables.items()
    )


def _cell(one: object) -> str:
    return first_line(one).replace("|", "\\|")


if __name__ == "__main__":
    PYTHON.write_text(python_page(), encoding="utf-8")
