"""The folder in which examples run: what photos.nest, vectors.nest and the other files they name are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
from blake3 import blake3

import engine
from engine.encoders.bundled import shipped
from engine.encoders.precomputed import PrecomputedEncoder
from engine.jobs.create import create
from tests.helpers import clustered

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
DRAWINGS = "bicycle bus dog cat horse banana red_apple pizza anchor guitar umbrella owl rainbow sailboat hammer".split()


def furnish() -> None:
    """Make everything in the current folder."""
    _pictures()
    with engine.Collection.create("photos.nest", encoder="bundled", device="cpu") as photos:
        photos.index("PHOTOS", engine.RunOptions(device="cpu", table=engine.TableOptions(Path("captions.csv"))))
    x = clustered(1200, 32)
    np.save("vectors.npy", x)
    with engine.Collection.create("vectors.nest", encoder="precomputed", dim=32) as vectors:
        kinds = [{"kind": "abcd"[i // 20 % 4]} for i in range(len(x))]
        vectors.add_vectors(x, names=[f"row-{i}" for i in range(len(x))], meta=kinds)
        vectors.build(["ivf-pq@16", "flat@8"])
    shutil.copytree("vectors.nest", "tuned.nest")
    with engine.Collection.open("tuned.nest") as tuned:
        tuned.tune(engine.TuneOptions(recall=0.9))
    Path("nested.safetensors").write_bytes(shipped.SHIPPED["nested"].read())
    _elsewhere()
    _newer()


def _pictures() -> None:
    with (SAMPLE / "captions.csv").open(newline="") as file:
        rows = {row["file"]: row["caption"] for row in csv.DictReader(file)}
    chosen = {file: text for file, text in rows.items() if "photos/" in file or Path(file).stem in DRAWINGS}
    for file in chosen:
        (Path("PHOTOS") / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / file, Path("PHOTOS") / file)
    with Path("captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *chosen.items()])


def _elsewhere() -> None:
    """Make a collection that names a file of its maker's machine."""
    encoder = PrecomputedEncoder(name="", dim=4)
    encoder._label = "clip:ViT-B-32/./weights.safetensors"
    create(Path("elsewhere.nest"), encoder)


def _newer() -> None:
    """Make a collection of a format that is not there yet."""
    engine.Collection.create("newer.nest", encoder="precomputed", dim=4).close()
    file = next(Path("newer.nest/versions").iterdir())
    body = json.dumps({**json.loads(file.read_bytes())["body"], "format": 99}).encode()
    file.chmod(0o644)
    file.write_bytes(b'{"blake3":"%s","body":%s}' % (blake3(body).hexdigest().encode(), body))
