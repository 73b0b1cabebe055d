"""Plain prompts that stand for the text queries people send, where a collection has too few captions.

They train cells that lie where texts lie, and the default plan is measured with them.
"""

from __future__ import annotations

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from indexers.vectors import FloatArray

SAMPLE = 256
SEED = 0

TEMPLATES = ("{}", "a photo of a {}", "a drawing of a {}", "a {} outdoors", "two of them: a {}", "close-up of a {}")

NOUNS = (
    "dog|cat|horse|bird|fish|cow|sheep|elephant|butterfly|bear|flower|tree|forest|mountain|beach|river|lake|waterfall|"
    "sunset|sky|cloud|snow|rain|storm|city|street|house|bridge|castle|church|tower|garden|park|road|car|bicycle|train|"
    "bus|boat|aeroplane|motorcycle|truck|child|woman|man|crowd|family|wedding|birthday cake|concert|football match|"
    "runner|swimmer|dancer|guitar|piano|violin|drum|book|newspaper|computer|telephone|camera|clock|chair|table|bed|"
    "lamp|window|door|kitchen|bathroom|office|classroom|hospital|factory|market|restaurant|cup of coffee|glass of wine|"
    "bottle of beer|pizza|hamburger|bowl of soup|salad|bread|cheese|apple|banana|strawberry|ice cream|chocolate|shoe|"
    "dress|hat|umbrella|bag|ring|map|poster|painting|statue|mask|toy|kite|balloon|firework|candle|flag|coin|key|knife|"
    "hammer|bolt|wheel|robot|rocket|planet|moon|star|microscope picture|diagram|screenshot|handwritten letter"
).split("|")


def text_sample(encoder: Encoder, snapshot: Snapshot, size: int = SAMPLE) -> FloatArray | None:
    """Encode a sample of captions, filled up with prompts.

    Args:
        encoder: the collection's.
        snapshot: the version whose captions are drawn from.
        size: texts wanted; there may be fewer.

    Returns:
        unit float32 [size, D], or None where the encoder has no text tower.
    """
    if "text" not in encoder.modalities:
        return None
    rng = np.random.default_rng(SEED)
    captions = sorted(_captions(snapshot))
    half = size // 2
    drawn = [captions[i] for i in rng.permutation(len(captions))[:half]]
    prompts = [template.format(noun) for noun in NOUNS for template in TEMPLATES]
    drawn += [prompts[i] for i in rng.permutation(len(prompts))[: size - len(drawn)]]
    return encoder.encode_texts(drawn)


def _captions(snapshot: Snapshot) -> set[str]:
    """Collect distinct captions of live items from the newest shards, as many as are worth drawing from."""
    found: set[str] = set()
    for shard in reversed(range(len(snapshot.manifest.items))):
        captions = next(snapshot.item_tables(["caption"], first=shard)).column("caption").to_pylist()
        found.update(captions[row] for row in snapshot.live_in(shard).numbers if captions[row])
        if len(found) > 10 * SAMPLE:
            break
    return found
