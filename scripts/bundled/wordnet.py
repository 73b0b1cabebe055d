"""WordNet as sentences with labels and second views: real data that anyone can get (`apt install wordnet-base`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from engine.encoders.registry import load_encoder
from indexers.vectors import FloatArray

PARTS = ("noun", "verb", "adj", "adv")
AT_ONCE = 8192


@dataclass(frozen=True)
class WordNet:
    """The synsets, each gloss once, in the order of the files.

    Attributes:
        glosses: definition and examples.
        words: the words that share the sense, with commas between them.
        files: number of the lexicographer file, the label: 45 of them, such as noun.animal.
    """

    glosses: list[str]
    words: list[str]
    files: NDArray[np.int64]


def read_wordnet(folder: Path) -> WordNet:
    """Read the four `data.*` files of WordNet 3.0 (format: wndb(5WN))."""
    found: dict[str, tuple[str, int]] = {}
    for part in PARTS:
        path = folder / f"data.{part}"
        if not path.exists():
            raise click.ClickException(f"{path} does not exist; WordNet 3.0 is Debian's package wordnet-base")
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):  # the licence
                continue
            left, _, gloss = line.partition(" | ")
            fields = left.split()
            words = [fields[4 + 2 * number].partition("(")[0].replace("_", " ") for number in range(int(fields[3], 16))]
            found.setdefault(gloss.strip(), (", ".join(words), int(fields[1])))
    return WordNet(
        list(found), [words for words, _ in found.values()], np.array([number for _, number in found.values()])
    )


def encoded(texts: list[str], cache: Path) -> FloatArray:
    """Return MiniLM's vectors of texts, unit float32 [n, 384], kept in a file from the first time on."""
    if cache.exists():
        kept: FloatArray = np.load(cache)
        if len(kept) == len(texts):
            return kept
    encoder = load_encoder("bundled")
    with click.progressbar(range(0, len(texts), AT_ONCE), label=cache.stem) as blocks:
        vectors = np.concatenate([encoder.encode_texts(texts[at : at + AT_ONCE]) for at in blocks])
    np.save(cache, vectors)
    return vectors
