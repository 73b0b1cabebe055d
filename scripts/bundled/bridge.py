"""Make engine/encoders/assets/bundled_bridge.safetensors again, and measure it.

    python -m scripts.bundled.bridge FOLDER

FOLDER keeps the inputs and the features computed from them (about 700 MB). Inputs that are not there are
fetched (see scripts/bundled/inputs.py). Besides nestvec with its bundled weights this needs resvg-py, npm
and a Debian machine; about twenty minutes on two cores, seconds when the features are there.

docs/bundled.md explains the method. The constants in `fit` were chosen on the "dev" sets only. The "final" sets (an
emoji style, a package of drawings and cut-outs, photographs) are read to be reported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import save

from engine.encoders.bundled.bridge import ASSET
from engine.encoders.bundled.encoder import BundledEncoder
from scripts import ROOT
from scripts.bundled.fit import ALL_PARTS, Styles, codes_of, concept_vectors, fit, label_vectors, read_labels, tensors
from scripts.bundled.inputs import INPUTS, SEED, Concept, asked_folder, fetch, read_concepts, read_styles
from scripts.bundled.measure import (
    Embed,
    ask,
    by_features,
    embed_with,
    plain_conse,
    print_table,
    read_exams,
    recalls,
    texts_of,
)

TRAINED_ON = (
    "Twemoji (CC-BY-4.0), Fluent Emoji and Fluent Emoji Flat (MIT), EmojiOne 2 (CC-BY-4.0), Firefox OS Emoji "
    "(Apache-2.0); names and keywords: Unicode CLDR (Unicode-3.0) by way of emojibase (MIT); class names and "
    "glosses: WordNet 3.0 (WordNet licence) by way of timm (Apache-2.0)"
)


def main() -> None:
    """Fetch, compute features, fit, write the asset, and print every figure of docs/bundled.md."""
    folder = asked_folder(__doc__)
    fetch(folder, INPUTS)
    encoder = BundledEncoder()
    concepts = read_concepts(folder)
    styles = read_styles(folder, concepts, encoder)
    labels = read_labels()
    vectors = label_vectors(encoder, labels), concept_vectors(encoder, concepts)
    small = fit(*vectors, concepts, styles, codes=codes_of(concepts, "train"))
    whole = fit(*vectors, concepts, styles, codes=codes_of(concepts, *ALL_PARTS))
    plain = plain_conse(encoder, labels)
    figures = measure(folder, encoder, concepts, styles, (plain, embed_with(small), embed_with(whole)))
    # One entry only: safetensors writes several in no particular order.
    about = json.dumps({"seed": SEED, "trained_on": TRAINED_ON, "figures": figures})
    (ROOT / "engine/encoders/assets" / ASSET).write_bytes(save(tensors(whole), {"about": about}))
    print_table(figures)


def measure(
    folder: Path,
    encoder: BundledEncoder,
    concepts: Sequence[Concept],
    styles: Styles,
    embeds: tuple[Embed, Embed, Embed],
) -> dict[str, dict[str, float]]:
    """Return every figure; `embeds` are plain ConSE, ours without dev and test concepts, and ours."""
    plain, small, whole = embeds
    texts = texts_of(encoder)
    figures: dict[str, dict[str, float]] = {}
    for exam in read_exams(folder, encoder, concepts, styles):
        methods = {"plain ConSE": plain, "bundled": small if exam.fitted == "small" else whole}
        if exam.queries is not None:
            methods = {"features": by_features, **methods}
        for name, embed in methods.items():
            figures[f"{exam.title} | {name}"] = recalls(exam, *ask(exam, embed, texts))
    return figures


if __name__ == "__main__":
    main()
