"""Whether a text is English, told by its letters and by common words: for encoders that know no other language.

Such an encoder turns whatever it does not know into much the same vector, and a search finds much the same pictures.
Whoever asks is told. A text that cannot be told from English is taken for it: names and loans are in every language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from engine.encoders.base import Encoder, languages_of
from engine.query.words import ENGLISH, FOREIGN, JOINING

ENGLISH_ALONE = frozenset(("en",))
WIDEST = 60
MOST_READ = 2000
"""Letters of a text that are looked at: encoders read no more."""

FEW = 2
"""So many words of a language say what a phrase is, though English texts may have each of them."""

_ODD = re.compile("[ğşıłąęćśźżńěščřžůýőűășțđơưß\u1ea0-\u1ef9]")
"""Letters of words that no loan in English has kept; those of names are capital, or stand beside a capital."""

_WORD = re.compile(r"[^\W\d_]+")
_CONTRACTED = re.compile(r"(?<=\w)['\u2019](?:s|t|d|m|re|ve|ll)\b", re.IGNORECASE)
ADVICE = (
    "ask in English, or index with an encoder of many languages, such as clip:xlm-roberta-base-ViT-B-32/"
    "laion5b_s13b_b90k"
)


def notes_on(texts: Sequence[str], encoder: Encoder) -> list[str]:
    """Return what is to be said of the texts of a query: a line for each that an encoder does not know the language of.

    Args:
        texts: what is searched with.
        encoder: what encodes them. One that does not say which languages it knows may know all of them.
    """
    if languages_of(encoder) != ENGLISH_ALONE:
        return []
    told = [(text, what_else(text)) for text in texts]
    name = encoder.name if len(encoder.name) <= WIDEST else f"{encoder.name[: WIDEST - 1]}\u2026"
    return [f'"{_cut(text)}" {why}, and {name} knows English alone: {ADVICE}' for text, why in told if why is not None]


def what_else(text: str) -> str | None:
    """Say what a text is if it is not English; None where it may be.

    Example:
        >>> from engine.query.language import what_else
        >>> what_else("ein roter Hund"), what_else("a red dog")
        ('looks like German', None)
    """
    text = unicodedata.normalize("NFKC", text[:MOST_READ])
    written = _WORD.findall(_CONTRACTED.sub("", text))
    words = [word.casefold() for word in written]
    if not words:
        return None if any(letter.isalnum() for letter in text) else "has no words in it"
    scripts = [script for word in words if (script := _script(word)) is not None]
    if scripts and 2 * len(scripts) >= len(words):
        most = max(dict.fromkeys(scripts), key=scripts.count)
        return f"is written in {most} letters"
    language = _language(words, is_name=any(word[0].isupper() for word in written[1:]))
    if language is None:
        odd = sum(word.islower() and _ODD.search(word) is not None for word in written)
        return "has letters that English has not" if 2 * odd >= len(words) else None
    return f"looks like {language}"


def _script(word: str) -> str | None:
    """Return what a word's letters are called, by its first; None for Latin ones, and for one Greek letter alone."""
    name = unicodedata.name(word[0], "").split(" ")[0]
    if name in ("LATIN", "MODIFIER", "") or (name == "GREEK" and len(word) == 1):
        return None
    return "Chinese or Japanese" if name == "CJK" else name.capitalize()


def _language(words: list[str], *, is_name: bool) -> str | None:
    """Return the language that most words are of, where something speaks for it and less for English."""
    english = sum(word in ENGLISH for word in words)
    best, most = None, (0, 0)
    for language, (own, shared) in FOREIGN.items():
        sure, maybe = sum(word in own for word in words), [word for word in words if word in shared]
        known = sure + len(maybe)
        phrase = not english and not is_name and known >= FEW and 2 * known >= len(words) >= 3
        speaks = sure or (phrase and any(word in JOINING for word in maybe))
        if speaks and known > english and 3 * known >= len(words) and (known, sure) > most:
            best, most = language, (known, sure)
    return best


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}\u2026"
