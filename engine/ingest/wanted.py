"""What of a folder is wanted: patterns of gitignore, which the user names or keeps in `.nestvecignore` files.

The last rule that speaks of something counts: nestvec's own come first (`folders.is_not_wanted`), then those of the
`.nestvecignore` files, from the source's folder down, then those the user named, in the order of the runs.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pathspec import GitIgnoreSpec

from engine.collection.manifest import Source
from engine.storage.kinds import MOST_SIDE, PAIRS
from engine.storage.names import path_bytes
from engine.storage.regular import read_regular
from indexers import checks
from indexers.errors import InvalidInput, SourceError

IGNORE = b".nestvecignore"
MOST_BYTES, MOST_LINES = 1 << 16, 1000
# How long a pattern takes grows with the length of a name to the power of these.
MOST_STARS, MOST_DOUBLE_STARS = 3, 2


@dataclass(frozen=True)
class WantedOptions:
    """What of folders is passed over, and what is not; sources remember it.

    Example:
        >>> options = engine.RunOptions(wanted=engine.WantedOptions(exclude=["*.gif"], include=[".thumbnails/"]))
        >>> engine.Collection.open("photos.nest").index("PHOTOS", options).unchanged
        33

    Attributes:
        exclude: patterns of gitignore of what is passed over from now on.
        include: patterns of what is not, whatever was said before, or nestvec passes over by itself.
        forget: whether the patterns of the runs before are dropped.
        min_size: pixels of the shorter side below which a picture is passed over; None for what it was.
        pairs: which is wanted of the raw file and the JPEG or HEIC of one shot: "jpeg", "raw" or "both"; None likewise.
    """

    exclude: Sequence[str] = ()
    include: Sequence[str] = ()
    forget: bool = False
    min_size: int | None = None
    pairs: str | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            exclude=tuple(checks.one_or_several("exclude", self.exclude, _pattern)),
            include=tuple(checks.one_or_several("include", self.include, _pattern)),
            forget=checks.truth("forget", self.forget),
            min_size=checks.optional("min_size", self.min_size, _pixels),
            pairs=checks.optional("pairs", self.pairs, _pairs),
        )
        for one in self.include:
            if one.startswith("!"):
                raise InvalidInput(
                    f"include: {one!r} is said to be wanted and not to be; leave the ! out, or exclude it"
                )


def _pixels(name: str, value: object) -> int:
    return checks.whole(name, value, 0, MOST_SIDE)


def _pairs(name: str, value: object) -> str:
    return checks.one_of(name, value, PAIRS)


def _pattern(name: str, value: object) -> str:
    """Return a pattern as a line of a `.gitignore`: on a command line nothing is a comment.

    Raises:
        InvalidInput: it is none.
    """
    text = checks.text(name, value)
    line = f"\\{text}" if text.startswith("#") else text
    try:
        if "\n" in text or "\r" in text or any("\udc80" <= one <= "\udcff" for one in text):
            raise ValueError("it has line breaks or bytes that are not UTF-8, for which a ? may stand")
        if not any(one.include is not None for one in spec_of([line]).patterns):
            raise ValueError("it matches nothing")
    except ValueError as error:
        raise InvalidInput(f"{name}: {checks.brief(text)} is no pattern as in a .gitignore: {error}") from error
    return line


def spec_of(lines: Iterable[str]) -> GitIgnoreSpec:
    """Read patterns.

    Raises:
        ValueError: one is none, or would take too long.
    """
    # What is below a folder is not looked at where the folder is passed over, and where it is not, is asked for itself.
    lines = [re.sub(r"(?<=[^*/])/\*\*$", "/*", line.rstrip("\r")) for line in lines]
    for number, line in enumerate(lines, start=1):
        _check_stars(number, line)
    try:
        return GitIgnoreSpec.from_lines(lines, backend="simple")
    except re.error as error:
        raise ValueError(f"not a pattern: {error}") from error


def _check_stars(number: int, line: str) -> None:
    segments = line.split("/")
    if line.startswith("#"):
        return
    if segments.count("**") > MOST_DOUBLE_STARS or any(one != "**" and one.count("*") > MOST_STARS for one in segments):
        raise ValueError(
            f"the pattern of line {number} has more than {MOST_STARS} stars in a name, or more than "
            f"{MOST_DOUBLE_STARS} times **: it would take too long"
        )


@dataclass(frozen=True)
class Rules:
    """The rules that hold in a folder of a source.

    Paths are those in the source, whose bytes are decoded with `surrogateescape`; folders end in a slash.

    Attributes:
        named: those the user named.
        ways: folders on the way to what the user named by its path, so that they are entered though passed over.
        files: those of `.nestvecignore` files, the deepest first: the folder of each, and what it says.
    """

    named: GitIgnoreSpec
    ways: GitIgnoreSpec
    files: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Rules:
        """Return the rules of a source's folder."""
        paths = [one[1:].strip("/").split("/") for one in patterns if one.startswith("!")]
        ways = {"/" + "/".join(path[:end]) + "/" for path in paths for end in range(1, len(path))}
        return cls(spec_of(patterns), spec_of(sorted(way for way in ways if way.strip("*/"))))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.files) or bool(self.named.patterns)

    def below(self, folder: str, location: bytes) -> Rules:
        """Return the rules in a folder that has a `.nestvecignore`.

        Raises:
            OSError: it cannot be read.
        """
        data = read_regular(location, most=MOST_BYTES)
        lines = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
        try:
            if len(lines) > MOST_LINES:
                raise ValueError(f"more than {MOST_LINES:,} lines")
            return replace(self, files=((folder, spec_of(lines)), *self.files))
        except ValueError as error:
            raise OSError(None, f"is not like a .gitignore: {error}") from error

    def has_file(self, folder: str) -> bool:
        """Whether a `.nestvecignore` of a folder is among them."""
        return any(one == folder for one, _ in self.files)

    def say(self, path: str) -> bool | None:
        """Return whether something is wanted, or None where no rule speaks of it."""
        said = self.named.check_file(path).include if self.named.patterns else None
        for folder, spec in self.files:
            if said is not None:
                break
            said = spec.check_file(path[len(folder) :]).include
        return None if said is None else not said

    def want(self, path: str, *, usual: bool) -> bool:
        """Whether something is wanted.

        Args:
            path: of it.
            usual: whether it is where no rule speaks of it. What is not, like `.git`, is only if one speaks of itself,
                and not of a folder it lies in.
        """
        if not self:
            return usual
        said = self.say(path)
        if usual or not said:
            return said is not False and usual
        folder = path.rstrip("/").rpartition("/")[0]
        # A name that no file has: whatever speaks of that speaks of all that is there.
        return not self.say(f"{folder}/\0/" if folder else "\0/")

    def include(self, path: str) -> bool:
        """Whether the user named something as wanted."""
        return self.named.check_file(path).include is False

    def lead_to(self, folder: str) -> bool:
        """Whether a folder is on the way to something that the user named as wanted by its path."""
        return bool(self.ways.patterns) and self.ways.check_file(folder).include is True


def with_wanted(source: Source, options: WantedOptions, *, part: str = "") -> Source:
    """Return a source with what is wanted of it from now on.

    Args:
        source: as the collection knows it.
        options: what was asked for.
        part: the folder in it that was named, if not all: patterns are meant for that.

    Raises:
        SourceError: something is said of a part that can only be said of the source.
    """
    if part and (options.forget or options.min_size is not None or options.pairs is not None):
        raise SourceError(
            f"{posixpath.join(source.location, part)} is a part of the source {source.location}; name that to drop its "
            "patterns, or to say how small its pictures may be and which of a pair are wanted"
        )
    if source.kind == "containers" and options.min_size:
        raise SourceError(
            f"{source.location} holds its pictures in tar, zip or Parquet files: all of them are taken, however small"
        )
    named = [*options.exclude, *(f"!{one}" for one in options.include)]
    lines = [*(() if options.forget else source.patterns), *(_in_part(one, part) for one in named)]
    return replace(
        source,
        patterns=tuple(reversed(dict.fromkeys(reversed(lines)))),  # of one that was named twice the last
        pairs=source.pairs if options.pairs is None else options.pairs,
        min_size=source.min_size if options.min_size is None else options.min_size,
    )


def _in_part(line: str, part: str) -> str:
    """Return a pattern that means in a source what another means in a part of it."""
    if not part:
        return line
    sign, pattern = ("!", line[1:]) if line.startswith("!") else ("", line)
    raw = path_bytes(part).decode("utf-8", "surrogateescape")
    escaped = "".join("?" if "\udc80" <= one <= "\udcff" else re.sub(r"[\\\[\]*?!# ]", r"\\\g<0>", one) for one in raw)
    anchored = "/" in pattern.rstrip("/")
    return f"{sign}/{escaped}/{'' if anchored else '**/'}{pattern.removeprefix('/')}"
