"""Texts cut into words, folded: what is said of an item and what is looked for in it, in the same way.

A word is a run of letters, digits and their marks, as Unicode's segmentation (UAX #29) finds them, but that `_` and `.`
end one too: names of files are made of words. Scripts that put no blanks between words are cut letter by letter, and
what is looked for in them are letters that follow each other. Accents, capitals and forms of a letter do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexers.errors import DependencyMissing, InvalidInput, did_you_mean

RULES = 2
"""Of cutting and folding; what was cut by others is cut again."""

UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without blanks between words; a run of Katakana is a word."""

LONGEST = 128
"""Letters of a word that count: what is longer is no word, and a table of vectors has them by the million."""

# Accents, points of Hebrew, vowel signs of Arabic: text is written with them and without. What makes a syllable of a
# script of India is no such mark, and stays.
_ACCENTS = "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]+"
_SAME = (("ß", "ss"), ("æ", "ae"), ("œ", "oe"), ("ø", "o"), ("ł", "l"), ("đ", "d"), ("ð", "d"), ("þ", "th"), ("ı", "i"))
_APOSTROPHE = r"(\pL)['’ʼ＇](\pL)"
_LETTER = f"([{UNSPACED}]\\pM*)"
_BETWEEN = r"[^\pL\pN\pM]+"

Numbers = NDArray[np.int64]


def folded(texts: pa.Array) -> pa.Array:
    """Return texts in small letters without accents, blanks around each letter of a script that has none."""
    found = pc.utf8_normalize(texts, form="NFKD")
    found = pc.replace_substring_regex(found, pattern=_ACCENTS, replacement="")
    found = pc.utf8_lower(pc.utf8_normalize(found, form="NFKC"))
    for letter, instead in (*_SAME, ("ς", "σ")):
        found = pc.replace_substring(found, pattern=letter, replacement=instead)
    for _ in range(2):  # of rock'n'roll the second one only begins where the first has ended
        found = pc.replace_substring_regex(found, pattern=_APOSTROPHE, replacement=r"\1\2")
    return pc.replace_substring_regex(found, pattern=_LETTER, replacement=r" \1 ")


def words_of(texts: pa.Array) -> tuple[pa.Array, Numbers]:
    """Cut texts into words.

    Args:
        texts: of any Arrow type of texts; null is none.

    Returns:
        all words one after the other, and of each the number of its text, int64, ascending.
    """
    cut = pc.split_pattern_regex(folded(texts.cast(pa.large_string())), pattern=_BETWEEN)
    words = cut.flatten()
    offsets = np.asarray(cut.offsets)
    numbers = np.repeat(np.arange(len(texts)), np.diff(offsets)) if not cut.null_count else _numbers(cut)
    lengths = pc.utf8_length(words)
    kept = pc.and_(pc.greater(lengths, 0), pc.less_equal(lengths, LONGEST))
    return words.filter(kept), numbers[kept.to_numpy(zero_copy_only=False)]


def _numbers(cut: pa.Array) -> Numbers:
    lengths = pc.fill_null(pc.list_value_length(cut), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(cut)), lengths)


def cut_texts(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each of a few texts.

    Example:
        >>> from engine.collection.tokens import cut_texts
        >>> cut_texts(["The Dog’s Café", "IMG_2031.JPG"])
        [['the', 'dogs', 'cafe'], ['img', '2031', 'jpg']]
    """
    if all(text.isascii() for text in texts):  # Arrow takes milliseconds to read the expressions
        return [
            [word for word in _ASCII.findall(_INSIDE.sub("", text.lower())) if len(word) <= LONGEST] for text in texts
        ]
    found: list[list[str]] = [[] for _ in texts]
    words, numbers = words_of(pa.array(texts, pa.large_string()))
    for word, number in zip(words.to_pylist(), numbers.tolist(), strict=True):
        found[number].append(word)
    return found


_ASCII, _INSIDE = re.compile("[a-z0-9]+"), re.compile("(?<=[a-z])'(?=[a-z])")


Stem = Callable[[Sequence[str]], Sequence[str]]


@lru_cache
def stemmer(language: str | None) -> Stem:
    """Return what makes stems of words of a language by the Snowball algorithms (Porter 2001); of None the words.

    Raises:
        DependencyMissing: the package of the algorithms is not installed.
        InvalidInput: there is none for that language.
    """
    if language is None:
        return lambda words: words
    try:
        import snowballstemmer  # type: ignore[import-untyped]
    except ImportError as error:
        raise DependencyMissing(
            "stems are made by snowballstemmer, which is not installed: pip install 'nestvec[stems]'"
        ) from error
    known = snowballstemmer.algorithms()
    if language not in known:
        raise InvalidInput(f"no stems of {language!r}: there are {', '.join(known)}{did_you_mean(language, known)}")

    def stems(words: Sequence[str]) -> Sequence[str]:
        # One that is made holds the word it is at: each thread has its own.
        found: list[str] = snowballstemmer.stemmer(language).stemWords(words)
        return found

    return stems
