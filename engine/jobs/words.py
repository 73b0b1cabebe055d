"""Which words of the items are known: of which columns, and whether by their stems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.manifest import Manifest, Words
from engine.collection.postings import PATH, has_words, save_postings
from engine.collection.shards import CAPTION, META
from engine.collection.snapshot import Snapshot
from engine.collection.tokens import RULES, stemmer
from engine.progress import Listener
from engine.storage.disk import writing
from indexers import checks
from indexers.errors import CommitConflict, InvalidInput, did_you_mean


def index_words(root: Path, columns: Sequence[str] | None, stem: str | None, listener: Listener) -> Manifest:
    """Find the words of all items, and keep where they come, as one version.

    Args:
        root: the collection.
        columns: whose words: `caption`, `path`, or columns of the user's, of texts or lists of texts; the usual ones
            (`postings.USUAL`) if None. It is remembered for what is added later.
        stem: the language whose stems count instead of words; None for the words as they are.
        listener: hears about it.

    Returns:
        the version.

    Raises:
        InvalidInput: there is no such column, or nothing in it is text; or no stems of that language.
        DependencyMissing: stems are wanted, and the package for them is not installed.
        CommitConflict: the items were relabelled or compacted meanwhile.
    """
    stemmer(stem)
    with Snapshot.open(root) as snapshot, writing(root):
        wanted = Words(() if columns is None else _checked(snapshot, columns), stem, RULES)
        shards = snapshot.manifest.items
        if not shards:
            return commit(root, lambda base: replace(base, words=wanted), operation="words")
        listener.say("finding the words of the items")
        file = save_postings(root, shards, wanted)

        def change(base: Manifest) -> Manifest:
            if base.items[: len(shards)] != shards:
                raise CommitConflict(f"{root} was changed while its words were looked for; run this again")
            return replace(base, words=replace(wanted, covering=changes.cover(base, file, range(len(shards)))))

        return commit(root, change, operation="words")


def _checked(snapshot: Snapshot, columns: Sequence[str]) -> tuple[str, ...]:
    """Return columns that hold texts, each once."""
    kinds = snapshot.lookup.schema
    there = [
        CAPTION,
        PATH,
        *(one.name.removeprefix(META) for one in kinds if one.name.startswith(META) and has_words(one.type)),
    ]
    wanted = tuple(dict.fromkeys(checks.texts("columns", columns)))
    for name in wanted:
        if name not in there:
            raise InvalidInput(
                f"no column of texts {name!r} to look for words in; there are {', '.join(sorted(there))}"
                f"{did_you_mean(name, there)}"
            )
    if not wanted:
        raise InvalidInput(f"columns: expected at least one, such as {CAPTION}; None is for the usual ones")
    return wanted
