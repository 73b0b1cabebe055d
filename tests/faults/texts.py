"""A collection every text of which somebody chose: names, captions, columns, reasons, and all that a version says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from engine.api import Collection
from engine.collection.commit import current_version
from engine.heads.model import Head, Tower
from engine.storage import layout
from tests.faults.mutate import readdress, rehashed
from tests.helpers import clustered, newest, save

N, D = 40, 8
HARMLESS = "harmless"
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\t\x7f\r\n  1   1.000  forged\x85\u2028\u202e\u2066\u200f\u061c\u200b\U000e0041"
)
"""A title, a cleared screen, colours, a line that looks like an answer, and letters that turn the others around."""

PLAN = "sq@8:bits=8 | 40@8"


def build(folder: Path, odd: str) -> None:
    """Make `c.nest` in a folder, and files beside it that a command may be given.

    Args:
        folder: an empty one.
        odd: begins or ends every text.
    """
    rows = clustered(N, D)
    rows[-1] = np.nan  # a row that fails, under its name
    names, captions = [f"{odd}row-{i}" for i in range(N)], [f"caption {i} {odd}\0" for i in range(N)]
    columns = [{f"{odd}column": f"{odd}\0{i % 2}", "kind": f"{odd}{i % 3}"} for i in range(N)]
    with Collection.create(folder / "c.nest", encoder="precomputed:made", dim=D) as made:
        made.add_vectors(rows[:-5], names=names[:-5], captions=captions[:-5], meta=columns[:-5], source=f"{odd}source")
        made.build(["sq@8"])
        tower = Tower(np.roll(np.eye(D, dtype=np.float32), 1, axis=0))
        head = Head("rotation", D, D, (4, 8), tower, tower, made.space.fingerprint.to_json(), {"made": odd})
        head.save(folder / f"{odd}.safetensors")
        made.apply_head(folder / f"{odd}.safetensors", "turned")
        made.add_vectors(rows[-5:], names=names[-5:], captions=captions[-5:], meta=columns[-5:], source=f"{odd}source")
        made.remove([names[3]])
    save(folder / f"{odd}.npy", rows[:3])
    (folder / f"{odd}.txt").write_bytes(f"one {odd} text\n".replace("\r\n", " ").encode())
    (folder / f"{odd}.csv").write_text(f'file,"{odd}"\na.jpg,"{odd}"\n')
    (folder / f"{odd}.run").write_text("1 Q0 a 1 2.0 t\n")
    (folder / f"{odd}.qrels").write_text("1 0 a 1\n")


def doctor(root: Path, odd: str) -> None:
    """Write odd texts wherever the newest version and its failures hold any, with hashes that are right."""
    failures = newest(root).failures
    assert failures is not None
    table, out = pq.read_table(root / failures.path, use_threads=False), io.BytesIO()
    reasons = table.set_column(2, table.schema.field(2), [[f"reason {odd}"] * table.num_rows])
    pq.write_table(reasons, out)
    readdress(root, failures.path, out.getvalue())

    def everywhere(body: dict[str, Any]) -> None:
        body |= {word: f"{odd}{word}" for word in ("created", "operation", "writer")}
        for source in body["sources"]:
            source["location"] = f"/{odd}{source['location']}"
        body["sources"].append({"name": f"{odd}other", "kind": f"{odd}kind", "location": f"{odd}\udcff"})
        for space in body["spaces"].values():
            space["fingerprint"] |= {odd: {odd: [odd]}}
            space["plans"] = [{"plan": PLAN, "k": 10, "recall": {f"{odd}kind": 0.5}, "queries": 9}, *space["plans"]]
            point = {"plan": PLAN, "recall": {f"{odd}kind": 0.5}, "microseconds": 1.0, "read": 9}
            kinds = {"fresh": {f"{odd}kind": [0.5, 0.1]}, "queries": {f"{odd}kind": 9}, "now": {f"{odd}kind": 0.1}}
            about = {"target": 0.9, "k": 10, "latency": "batch", "rows": N, "memory": 1, "curve": [point]}
            space["tuning"] = {**about, **kinds}
        body["spaces"]["turned"]["encoder"] = f"{odd}+head:{odd}"

    change_version(root, everywhere)


def doctor_encoder(root: Path, odd: str) -> None:
    """Write odd texts where they are what an encoder is known by."""

    def encoder(body: dict[str, Any]) -> None:
        main, turned = body["spaces"]["main"], body["spaces"]["turned"]
        main["encoder"] = f"precomputed:{odd}"
        for space in (main, turned):
            space["fingerprint"] |= {word: f"{odd}{word}" for word in ("model", "weights", "preprocess")}

    change_version(root, encoder)


def change_version(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the newest version says, with a hash that is right."""
    file = root / layout.version_file(current_version(root))
    body = json.loads(file.read_text())["body"]
    change(body)
    file.write_bytes(rehashed(json.dumps(body, separators=(",", ":"))))
