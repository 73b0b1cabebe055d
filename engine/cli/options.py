"""Options several verbs share, handed to the verb as one object."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from engine.query.shape import AUTO, SAME
from engine.storage.kinds import DEFAULT_MAX_PIXELS, MOST_SIDE, PAIRS
from indexers import checks


class NamedPath(click.Path):
    """A path that says something: an empty one, as an unset variable of a shell leaves it, is the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not os.fspath(value):
            self.fail("expected a path, found an empty text", param, ctx)
        return super().convert(value, param, ctx)


class Unlikely(click.ParamType[float | str]):
    """A probability between 0 and 1, or `auto`."""

    name = "probability"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Read it."""
        if value == AUTO:
            return AUTO
        try:
            return BETWEEN.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected a probability between 0 and 1, or auto; found {value!r}", param, ctx)


EXISTING = NamedPath(path_type=Path)
FILE = NamedPath(path_type=Path, dir_okay=False)
FOLDER = NamedPath(path_type=Path, file_okay=False)
COUNT = click.IntRange(1, checks.MOST)
ID = click.IntRange(0, checks.MOST_ID)
SEED = click.IntRange(0, checks.MOST_SEED)
SHARE = click.FloatRange(0, 1, min_open=True)
BETWEEN = click.FloatRange(0, 1, min_open=True, max_open=True)

Command = Callable[..., None]

collection = click.argument("collection", type=EXISTING)
sources = click.argument("sources", nargs=-1, required=True, type=EXISTING, metavar="SOURCE...")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)

space = click.option("--space", metavar="NAME", help="The space to search; see info. The collection's default if none.")
encoder = click.option(
    "--encoder", metavar="SPEC", help="The collection's encoder, where its files are now; needed once on a machine."
)
max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1, checks.MOST_BYTES),
    default=DEFAULT_MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures.",
)
index_specs = click.option(
    "--index",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="A prefix index, such as flat@64 or ivf-pq@128:nlist=1000; may be repeated.",
)


where = click.option(
    "--where",
    metavar="EXPRESSION",
    help="Only items of which this is true: SQL over their columns, such as \"taken >= '2019-01-01' AND rating > 3\".",
)

pictures_from = click.option(
    "--pictures-from",
    type=NamedPath(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="FOLDER",
    help="Where pictures leave the collection, with --html, --copy-to, --link-to and export: take those below this "
    "folder too; repeatable.",
)


marking = (
    click.option(
        "--good",
        multiple=True,
        metavar="ITEM",
        help="This answer was good: an item's path, or ids with commas between them; answers become more like the good "
        "ones, and what is marked is not among them again; repeatable.",
    ),
    click.option("--bad", multiple=True, metavar="ITEM", help="Likewise, an answer that was not; repeatable."),
    click.option(
        "--session",
        type=FILE,
        help="A file that keeps the query and its marks: --good and --bad are added to it, and where nothing else is "
        "asked with, its query is.",
    ),
)


@dataclass(frozen=True)
class Answering:
    """How queries are answered and printed; see `answering`."""

    k: int
    dim: int | None
    plan: str | None
    exact: bool
    recall: float | None
    where: str | None
    words: str | None
    hybrid: bool
    blend: float | None
    like: tuple[str, ...]
    unlike: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    session: Path | None
    offset: int
    pages: bool
    after: str | None
    min_score: float | None
    at_least: float | str | None
    distinct: bool
    distinct_from: float | None
    group_by: str | None
    diverse: float | None
    sort: str | None
    facet: str | None
    copy_to: Path | None
    link_to: Path | None
    table: Path | None
    html: Path | None
    pictures_from: tuple[Path, ...]
    max_pixels: int
    space: str | None
    encoder: str | None
    device: str
    as_json: bool
    paths: bool
    paths0: bool


@dataclass(frozen=True)
class Running:
    """How a run encodes and builds; see `running`."""

    encoder: str | None
    pool: str | None
    table: Path | None
    no_table: bool
    exclude: tuple[str, ...]
    include: tuple[str, ...]
    no_exclude: bool
    min_size: int | None
    pairs: str | None
    name_column: str | None
    caption_column: str | None
    vectors: str | None
    spaces: tuple[str, ...]
    key: str | None
    batch_size: int
    workers: int | None
    max_pixels: int
    metadata: bool | None
    location: bool | None
    specs: tuple[str, ...]
    rebuild: bool
    strict: bool
    device: str
    as_json: bool


_ANSWERING = (
    click.option("-k", type=COUNT, default=10, show_default=True, help="Answers a query."),
    click.option("--dim", type=COUNT, help="Answer by the first DIM numbers alone."),
    click.option("--plan", help="How to search, e.g. 'ivf-pq@64:nprobe=32 | 100@512'; see explain."),
    click.option("--exact", is_flag=True, help="Find precisely the best, whatever it takes."),
    click.option("--recall", type=SHARE, help="Search by the fastest plan that keeps this recall; see tune."),
    where,
    click.option(
        "--words",
        metavar="WORDS",
        help='Words in captions, names and other texts, beside the rest of the query or alone: \'red "mountain bike" '
        "IMG_20*'. See `nestvec words`.",
    ),
    click.option("--hybrid", is_flag=True, help="Look for the words of the text itself too, in captions and names."),
    click.option("--blend", type=click.FloatRange(0, 1), help="What words count beside the rest, from 0 to 1."),
    click.option(
        "--like",
        multiple=True,
        metavar="ITEM",
        help="Answers are to be like this as well: a picture file, the path or id of an item, or words; 0.5:ITEM for a "
        "weight other than 1; repeatable.",
    ),
    click.option("--unlike", multiple=True, metavar="ITEM", help="Likewise, what they are to be unlike; repeatable."),
    *marking,
    click.option("--min-score", type=click.FloatRange(-1, 1), help="Only answers that score at least this."),
    click.option(
        "--at-least",
        type=Unlikely(),
        metavar="P",
        help="Only answers that are at least so unlikely by chance: by 0.95 what would be found by chance with at most "
        "5 %. auto: by the cut-off that tune --cutoff found.",
    ),
    click.option("--distinct", is_flag=True, help="No copies: of answers that are the same the best stands for all."),
    click.option(
        "--distinct-from",
        type=SHARE,
        metavar="COSINE",
        help=f"Likewise, of answers whose cosine is at least this; {SAME} is what --distinct means.",
    ),
    click.option(
        "--group-by",
        metavar="COLUMN[:N]",
        help="The best of each value of a column, or the N best: -k counts groups then.",
    ),
    click.option(
        "--diverse",
        type=SHARE,
        metavar="WEIGHT",
        help="Answers that are unlike each other: what the score counts against that, such as 0.7.",
    ),
    click.option("--sort", metavar="[-]COLUMN", help="Order the answers by a column; with a - the largest first."),
    click.option("--facet", metavar="COLUMN", help="Count the values of a column among all that --where lets by."),
    click.option("--offset", type=click.IntRange(0, checks.MOST), default=0, help="Pass over so many answers."),
    click.option("--pages", is_flag=True, help="Print a cursor behind the answers, for the next page."),
    click.option("--after", metavar="CURSOR", help="The next page, in the version of the one before."),
    click.option("--copy-to", type=FOLDER, help="Copy the pictures that were found to this folder, called by rank."),
    click.option("--link-to", type=FOLDER, help="Likewise, as symbolic links."),
    click.option("--table", type=FILE, help="Write the answers to this file as a table, .csv or .parquet."),
    click.option("--html", type=FILE, help="Write a contact sheet of the answers to this file."),
    pictures_from,
    max_pixels,
    space,
    encoder,
    device,
    as_json,
    click.option("--paths", is_flag=True, help="Print the pictures' absolute paths alone, one a line, each once."),
    click.option("--paths0", is_flag=True, help="The same with a null behind each and not a line feed, for xargs -0."),
)

_RUNNING = (
    click.option("--encoder", help="What makes the vectors; see `nestvec encoders`. For pictures: bundled."),
    click.option("--pool", help="Pooling of a resnet encoder: avg, max or gem."),
    click.option(
        "--table",
        type=FILE,
        help="CSV, JSONL or Parquet with captions and columns, joined by file name. A source remembers its tables.",
    ),
    click.option("--no-table", is_flag=True, help="Drop the tables a source remembers, and what they said."),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Pass over what matches, as a line of a .gitignore does: '*.gif', 'private/', '/2019/raw/'; repeatable. A "
        "source remembers it, and what is in the collection already is taken out by index.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Do not pass over what matches, though it was excluded before, or always is: '.thumbnails/'; repeatable, "
        "and remembered too.",
    ),
    click.option("--no-exclude", is_flag=True, help="Drop the patterns that a source remembers."),
    click.option(
        "--min-size",
        type=click.IntRange(0, MOST_SIDE),
        metavar="PIXELS",
        help="Pass over icons and thumbnails, whose shorter side has fewer pixels; remembered, 0 takes it back.",
    ),
    click.option(
        "--pairs",
        type=click.Choice(PAIRS),
        help="Of the raw file and the JPEG or HEIC of one shot take the one or both; remembered, jpeg at first.",
    ),
    click.option("--name-column", help="The table's column of file names."),
    click.option("--caption-column", help="The table's column of captions."),
    click.option(
        "--vectors",
        metavar="COLUMN",
        help="The column or array of vectors, where there are several; 'f*' for columns f0, f1, … of one number each. "
        "A source remembers it.",
    ),
    click.option(
        "--space",
        "spaces",
        multiple=True,
        metavar="NAME=COLUMN",
        help="Take the vectors of a further column into a space of its own beside the main one; for a new collection, "
        "repeatable, and remembered. main=COLUMN is as --vectors.",
    ),
    click.option(
        "--key", metavar="COLUMN", help="Of vectors: the column of keys that name the rows; it is kept as a column too."
    ),
    click.option("--batch-size", type=COUNT, default=32, show_default=True, help="Pictures a batch."),
    click.option(
        "--workers", type=click.IntRange(1, checks.MOST_THREADS), help="Decoding threads; one a core by default."
    ),
    max_pixels,
    click.option(
        "--metadata/--no-metadata",
        default=None,
        help="Whether EXIF, XMP and IPTC, in pictures and beside them, become columns. A collection remembers it, "
        "and at first they do.",
    ),
    click.option(
        "--location/--no-location", default=None, help="Likewise of where a picture was taken, where the rest does."
    ),
    index_specs,
    click.option(
        "--rebuild", is_flag=True, help="Build the indexes even if they are not due, and try again what failed before."
    ),
    click.option("--strict", is_flag=True, help="Exit with 3 for whatever failed, not only for what is new."),
    device,
    as_json,
)


def _gathered(kind: type[Any], options: tuple[Callable[[Any], Any], ...], name: str) -> Callable[[Command], Command]:
    """Make a decorator that adds options and passes them on as one `kind` called `name`."""

    def decorate(function: Command) -> Command:
        def call(**given: Any) -> None:
            own = {field: given.pop(field) for field in kind.__dataclass_fields__}
            function(**given, **{name: kind(**own)})

        wrapped: Command = update_wrapper(call, function)
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


answering = _gathered(Answering, _ANSWERING, "how")
running = _gathered(Running, _RUNNING, "how")


def marked(function: Command) -> Command:
    """Add the options that say what was judged of answers."""
    for option in reversed(marking):
        function = option(function)
    return function
