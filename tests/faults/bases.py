"""Collections that hostile files are put into, and pictures that are changed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from PIL import Image
from safetensors.numpy import save as save_tensors

from engine.api import Collection
from engine.collection.commit import current_version, read_version
from engine.collection.manifest import Manifest
from engine.encoders.base import Fingerprint
from engine.heads.model import Head, Tower
from engine.jobs.build import BuildOptions, build_indexes
from engine.jobs.create import create
from engine.progress import Silent
from engine.storage import layout
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.vectors import FloatArray
from tests.faults.mutate import rehashed
from tests.helpers import clustered

N, D, TAIL = 150, 20, 9
MOST_PIXELS = 1 << 20
TABLE_MEMORY = 1 << 30  # a shard may be a few hundred MB
SPECS = (
    *("flat@8", "flat@20", "sq@8", "sq@12:bits=4", "sq@16:bits=6", "sq@20:bits=16", "ivf-flat@8:nlist=4"),
    *("ivf-pq@8:m=4,nlist=4", "ivf-pq@12:nlist=3,residual=1", "ivf-pq@16:axes=1,nlist=4,residual=1"),
    *(
        "ivf-pq@10:m=5,nlist=3,refine=8",
        "ivf-pq@20:m=5,nlist=2,rotate=0",
        "hnsw@8:efConstruction=20,m=4",
        "hnsw@20:efConstruction=20,m=2",
    ),
)
SOME = ("sq@8", "ivf-pq@12")
VECTOR_SHARDS = ("main.embeddings", "turned.embeddings")
PLAIN, CANARY = "plain.nest", "canary.nest"


class Letters:
    """An encoder without weights, for canaries."""

    name, dim, device, image_size = "letters", 8, "cpu", 4
    modalities = frozenset({"text"})
    trained_dims = ()
    fingerprint = Fingerprint("letters", "none", "none", 8)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        rows = np.array([list(blake3(text.encode()).digest(length=8)) for text in texts], dtype=np.float32)
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def prepare(self, picture: Any) -> Any:
        raise NotImplementedError

    encode_images = prepare


Image.init()  # before anything is forked


@dataclass(frozen=True)
class Seed:
    """A file as it should be, from which hostile ones are made.

    Attributes:
        slot: which file of the collection it stands in for; of a picture its kind.
        data: its bytes.
    """

    slot: str
    data: bytes


def build(folder: Path) -> None:
    """Make the collections that hostile files are put into."""
    with Collection.create(folder / PLAIN, encoder="precomputed:fuzz", dim=D) as made:
        rows = clustered(N + TAIL, D)
        half, names = N // 2, [f"row-{i}.jpg" for i in range(N + TAIL)]
        meta: list[dict[str, Any]] = [{"rating": i % 5, "place": "Lyon"} if i % 3 else {} for i in range(N)]
        captions = [f"caption of {i}" if i % 2 else None for i in range(N)]
        for part in (slice(half), slice(half, N)):
            made.add_vectors(rows[part], names=names[part], captions=captions[part], meta=meta[part])
        tower = Tower(np.roll(np.eye(D, dtype=np.float32), 1, axis=0))
        head = Head("rotation", D, D, (4, 8), tower, tower, made.space.fingerprint.to_json(), {"made": "here"})
        head.save(folder / "rotation.safetensors")
        made.apply_head(folder / "rotation.safetensors", "turned", specs=["flat@8"])
        wanted = [IndexSpec.parse(spec) for spec in SPECS]
        build_indexes(made.root, "main", BuildOptions(wanted, device="cpu", prune_from=1), Silent())
        made.refresh()
        late = np.vstack([rows[N:], np.zeros((1, D), np.float32)])  # a row that fails
        made.add_vectors(late, names=[*names[N:], "zero"])
        with pytest.MonkeyPatch.context() as patch:  # in a file, and not in the version
            patch.setattr("engine.collection.tombstones.MOST_DEAD", 0)
            made.remove(["row-3.jpg", "row-149.jpg", names[N]])
    create(folder / CANARY, Letters())


def slots(manifest: Manifest) -> dict[str, FileRef]:
    """Name every file of a version by what it is, and not by its hash."""
    found: dict[str, FileRef | None] = {f"items-{i}": ref for i, ref in enumerate(manifest.items)}
    found |= {"deletes": manifest.deletes, "failures": manifest.failures}
    found["lookup"] = manifest.lookup.file if manifest.lookup else None
    for name, space in manifest.spaces.items():
        found |= {f"{name}.embeddings-{i}": ref for i, ref in enumerate(space.embeddings)}
        found |= {f"{name}.canaries": space.canaries, f"{name}.head": space.head}
        found[f"{name}.vectors"] = space.vectors.file if space.vectors else None
        found[f"{name}.pruned"] = space.pruned.file if space.pruned else None
        found |= {f"{name}.{one.spec.key}": one.covering.file for one in space.indexes}
    return {name: ref for name, ref in found.items() if ref is not None}


@dataclass(frozen=True)
class Base:
    """The collections in a folder, which `work` changes and `restore` puts back."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / PLAIN

    @cached_property
    def manifest(self) -> Manifest:
        return read_version(self.root, current_version(self.root))

    @cached_property
    def canaries(self) -> Manifest:
        return read_version(self.folder / CANARY, 1)

    @cached_property
    def slots(self) -> dict[str, FileRef]:
        return slots(self.manifest)

    @cached_property
    def kept(self) -> dict[Path, bytes]:
        """Every file, before anything was changed."""
        return {path: path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    @cached_property
    def body(self) -> str:
        """The newest version without its hash."""
        text = (self.root / layout.version_file(self.manifest.version)).read_text()
        return text[text.index('"body":') + len('"body":') : text.rindex("}")]

    def restore(self) -> list[Path]:
        """Put everything back as it was; return what was there beside it."""
        more = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path not in self.kept:
                more.append(path)
                path.unlink()
        version = self.root / layout.version_file(self.manifest.version)
        version.write_bytes(self.kept[version])
        version = self.folder / CANARY / layout.version_file(1)
        version.write_bytes(self.kept[version])
        return more

    def _names(self) -> Iterator[tuple[str, str]]:
        for slot, ref in self.slots.items():
            yield ref.blake3, f"<hash of {slot}>"
            yield ref.blake3[: layout.HASH_DIGITS], f"<name of {slot}>"
        for shards in range(len(self.manifest.items) + 1):
            yield self.manifest.shards_digest(range(shards)), f"<digest of {shards}>"

    def portable(self, slot: str, data: bytes) -> bytes:
        """Return a hostile file as it can be kept: names of files differ each time a collection is made."""
        for found, name in self._names() if slot == "version" else ():
            data = data.replace(found.encode(), name.encode())
        return data

    def local(self, slot: str, data: bytes) -> bytes:
        """Return a kept file as it is for these collections."""
        for found, name in self._names() if slot == "version" else ():
            data = data.replace(name.encode(), found.encode())
        if slot == "version" and b'"body":' in data:  # the hash of the names it had elsewhere
            text = data.decode("latin-1")
            return rehashed(text[text.index('"body":') + len('"body":') : text.rindex("}")])
        return data


def pictures(base: Base) -> list[Seed]:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(24), np.arange(32))[..., None] * [4, 3, 2] + rng.integers(0, 9, (24, 32, 3))
    rgb = Image.fromarray(smooth.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        ("jpeg", "JPEG", rgb, {"exif": exif}),
        ("jpeg-progressive", "JPEG", rgb, {"progressive": True, "icc_profile": bytes(64)}),
        ("jpeg-grey", "JPEG", rgb.convert("L"), {}),
        ("jpeg-cmyk", "JPEG", rgb.convert("CMYK"), {}),
        ("mpo", "MPO", rgb, {"save_all": True, "append_images": [rgb]}),
        ("png", "PNG", rgb, {}),
        ("png-palette", "PNG", rgb.convert("P"), {"transparency": 3}),
        ("png-deep", "PNG", Image.fromarray((smooth[..., 0] * 200).astype(np.uint16)), {}),
        ("png-animated", "PNG", rgb, {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)]}),
        ("webp", "WEBP", rgb, {}),
        ("webp-lossless", "WEBP", rgb.convert("RGBA"), {"lossless": True}),
        ("gif", "GIF", rgb.convert("P"), {"save_all": True, "append_images": [rgb.convert("L")]}),
        ("bmp", "BMP", rgb, {}),
        ("bmp-palette", "BMP", rgb.convert("P"), {}),
        ("tiff", "TIFF", rgb, {}),
        ("tiff-lzw", "TIFF", rgb, {"compression": "tiff_lzw"}),
        ("tiff-deflate", "TIFF", rgb, {"compression": "tiff_adobe_deflate"}),
        ("tiff-jpeg", "TIFF", rgb, {"compression": "jpeg"}),
        ("tiff-fax", "TIFF", rgb.convert("1"), {"compression": "group4"}),
        ("tiff-float", "TIFF", rgb.convert("F"), {}),
        ("ppm", "PPM", rgb, {}),
        ("pgm", "PPM", rgb.convert("L"), {}),
        ("pfm", "PPM", rgb.convert("F"), {}),
        ("ico", "ICO", rgb, {"sizes": [(16, 16), (24, 24)]}),
        ("avif", "AVIF", rgb, {"speed": 10}),
        ("heif", "HEIF", rgb, {}),
        ("jxl", "JXL", rgb, {}),
        ("jp2", "JPEG2000", rgb, {}),
    ]
    seeds = []
    for slot, kind, image, options in ways:
        if kind in Image.SAVE:
            out = io.BytesIO()
            image.save(out, kind, **options)
            seeds.append(Seed(slot, out.getvalue()))
    return seeds


def brought(base: Base) -> list[Seed]:
    """Vectors in every kind of file that somebody may bring."""
    x = clustered(30, 5)
    names, ids = np.array([f"n{row}" for row in range(len(x))]), np.arange(len(x)) * 3
    seeds = []
    for slot, save in (("plain.npz", np.savez), ("packed.npz", np.savez_compressed)):
        out = io.BytesIO()
        save(out, emb=x, names=names, ids=ids)
        seeds.append(Seed(slot, out.getvalue()))
    out = io.BytesIO()
    np.save(out, x)
    seeds.append(Seed("array.npy", out.getvalue()))
    seeds.append(Seed("tensors.safetensors", save_tensors({"emb": x, "ids": ids})))
    for slot, factory in (("flat.faiss", "Flat"), ("named.faiss", "IDMap2,Flat"), ("cells.faiss", "IVF4,Flat")):
        index = faiss.index_factory(5, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(x)
        index.add(x) if factory == "Flat" else index.add_with_ids(x, ids)
        seeds.append(Seed(slot, faiss.serialize_index(index).tobytes()))
    rows = [
        {"name": name, "emb": row.tolist(), "n": number}
        for number, (name, row) in enumerate(zip(names, x, strict=True))
    ]
    seeds.append(Seed("lines.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()))
    text = "name,emb\n" + "".join(f'{row["name"]},"{row["emb"]}"\n' for row in rows)
    seeds.append(Seed("table.csv", text.encode()))
    parquet = io.BytesIO()
    pq.write_table(pa.table({"name": names, "emb": pa.array(x.tolist(), pa.list_(pa.float32()))}), parquet)
    seeds.append(Seed("table.parquet", parquet.getvalue()))
    return seeds
