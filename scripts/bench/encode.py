"""Measure how fast pictures become vectors, and write docs/benchmarks/encode.md.

python -m scripts.bench encode --pictures 10000
"""

from __future__ import annotations

import io
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from engine.encoders.base import Encoder
from engine.encoders.device import describe_device, set_torch_threads
from engine.encoders.pictures import DEFAULT_MAX_PIXELS, decode_picture
from engine.encoders.registry import load_encoder
from engine.ingest.pipeline import PipelineStats, encode_pictures
from indexers.threads import available_cores
from scripts import ROOT
from scripts.bench import DOCS
from scripts.bench.machine import peak_bytes
from scripts.markdown_table import table

PHOTOS = ROOT / "data" / "sample" / "photos"
LARGE = (4032, 3024)  # 12 megapixels, as phones make them


@dataclass(frozen=True)
class Point:
    """What the run looked like after some number of pictures."""

    pictures: int
    rate: float
    resident_mb: float
    peak_mb: float


@dataclass(frozen=True)
class Reduced:
    """What decoding large JPEGs at a reduced scale changes."""

    kind: str
    full_ms: float
    reduced_ms: float
    cosine_mean: float
    cosine_min: float


def originals() -> list[Image.Image]:
    found = []
    for path in sorted(PHOTOS.glob("*")):
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    if not found:
        raise click.ClickException(f"no photos in {PHOTOS}")
    return found


def noisy(image: Image.Image, rng: np.random.Generator, sigma: float) -> Image.Image:
    """Add sensor noise: an enlarged photo is smoother than a real one, and its JPEG too small."""
    noise = rng.normal(0, sigma, (image.height, image.width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def augmented(photos: list[Image.Image], rng: np.random.Generator) -> bytes:
    """One picture of 640 to 1,600 pixels: a random crop of a photo, flipped and recoloured."""
    photo = photos[rng.integers(len(photos))]
    share = rng.uniform(0.5, 1.0)
    w, h = int(photo.width * share), int(photo.height * share)
    x, y = rng.integers(photo.width - w + 1), rng.integers(photo.height - h + 1)
    image = photo.crop((int(x), int(y), int(x) + w, int(y) + h))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.6, 1.4))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))
    scale = rng.integers(640, 1601) / max(image.size)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    image = noisy(image.resize(size, Image.Resampling.BICUBIC), rng, sigma=4.0)
    return jpeg(image, int(rng.integers(82, 93)))


def make_ring(folder: Path, count: int, seed: int) -> list[Path]:
    rng, photos = np.random.default_rng(seed), originals()
    paths = []
    for i in range(count):
        path = folder / f"{i:06d}.jpg"
        path.write_bytes(augmented(photos, rng))
        paths.append(path)
    return paths


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def others_seconds() -> float:
    """CPU seconds that everything but this process has used since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()


def measure(
    encoder: Encoder, ring: list[Path], pictures: int, batch_size: int, workers: int
) -> tuple[PipelineStats, list[Point], float]:
    stats, others = PipelineStats(), others_seconds()
    marks = [mark for mark in (1_000, 5_000, 10_000, 50_000, 100_000) if mark < pictures] + [pictures]
    points: list[Point] = []
    batches = encode_pictures(
        encoder,
        (ring[i % len(ring)] for i in range(pictures)),
        Path.read_bytes,
        reuse=lambda content: False,
        batch_size=batch_size,
        workers=workers,
        max_pixels=DEFAULT_MAX_PIXELS,
        stats=stats,
    )
    done = 0
    for batch in batches:
        done += len(batch)
        while len(points) < len(marks) and done >= marks[len(points)]:
            points.append(Point(done, stats.pictures_per_second, resident_mb(), peak_bytes() / 1e6))
            print(f"{points[-1]}", file=sys.stderr)
    taken = (others_seconds() - others) / (stats.cores * stats.total_seconds)
    return stats, points, max(0.0, taken)


def large_pictures(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Two kinds of 12-megapixel JPEG: enlarged photos with noise, and mosaics of photos at full detail."""
    rng, photos = np.random.default_rng(seed), originals()
    for i in range(count):
        photo = ImageOps.fit(photos[i % len(photos)], LARGE, Image.Resampling.BICUBIC)
        yield "enlarged photo", jpeg(noisy(photo, rng, sigma=4.0), 90)
        mosaic = Image.new("RGB", LARGE)
        for x in range(0, LARGE[0], 504):
            for y in range(0, LARGE[1], 378):
                mosaic.paste(ImageOps.fit(photos[rng.integers(len(photos))], (504, 378)), (x, y))
        yield "mosaic", jpeg(mosaic, 90)


def measure_reduced(encoder: Encoder, count: int, seed: int) -> list[Reduced]:
    set_torch_threads(1)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for kind, data in large_pictures(count, seed):
        vectors, seconds = [], []
        for min_side in (0, encoder.image_size):
            started = time.thread_time()
            prepared = encoder.prepare(decode_picture(data, min_side=min_side))
            seconds.append(time.thread_time() - started)
            vectors.append(encoder.encode_images(prepared[None])[0])
        rows.setdefault(kind, []).append((seconds[0], seconds[1], float(vectors[0] @ vectors[1])))
    found = []
    for kind, measured in rows.items():
        full, reduced, cosine = np.array(measured).T
        found.append(Reduced(kind, np.median(full) * 1e3, np.median(reduced) * 1e3, cosine.mean(), cosine.min()))
    return found


def report(
    command: str,
    about: str,
    stats: PipelineStats,
    points: list[Point],
    taken: float,
    reduced: list[Reduced],
) -> str:
    per = 1e3 / max(stats.pictures, 1)
    figures = {
        "pictures": f"{stats.pictures:,}",
        "pictures per second": f"{stats.pictures_per_second:.1f}",
        "CPU time per picture: read, decode, prepare": f"{stats.decode_cpu_seconds * per:.1f} ms",
        "CPU time per picture: encode": f"{stats.encode_cpu_seconds * per:.1f} ms",
        f"ideal: {stats.cores} cores ÷ CPU time per picture": f"{stats.ideal_pictures_per_second:.1f} a second",
        "share of the ideal": f"{stats.efficiency:.1%}",
        "share of the cores that other processes took meanwhile": f"{taken:.1%}",
        "share of the ideal for the cores that were left": f"{stats.efficiency / (1 - taken):.1%}",
        "encoder threads idle": f"{stats.encoder_idle_share:.1%}",
    }
    lines = [
        "# Encoding pictures",
        "",
        f"Made by `{command}`, Python {platform.python_version()}.",
        about,
        "The encoder's weights are loaded before the clock starts; reading, hashing, decoding, resizing",
        "and encoding are in the figures.",
        "",
        *table(("", ""), figures.items(), left=(0, 1)),
        "Memory does not grow with the number of pictures:",
        "",
        *table(
            ("pictures", "per second so far", "resident", "peak"),
            ([f"{p.pictures:,}", f"{p.rate:.1f}", f"{p.resident_mb:.0f} MB", f"{p.peak_mb:.0f} MB"] for p in points),
            left=(),
        ),
    ]
    if reduced:
        lines += [
            "Decoding 12-megapixel JPEGs at a reduced scale, as the pipeline does (read to prepared, one thread;",
            "cosine between the vectors of the fully decoded and the reduced picture):",
            "",
            *table(("picture", "full", "reduced", "faster", "cosine mean", "cosine min"), map(reduced_line, reduced)),
        ]
    return "\n".join(lines)


def reduced_line(one: Reduced) -> list[str]:
    faster = f"{one.full_ms / one.reduced_ms:.1f}×"
    cosines = [f"{one.cosine_mean:.5f}", f"{one.cosine_min:.5f}"]
    return [one.kind, f"{one.full_ms:.0f} ms", f"{one.reduced_ms:.0f} ms", faster, *cosines]


@click.command()
@click.option("--pictures", default=10_000, show_default=True, help="Pictures to encode.")
@click.option("--files", default=1_000, show_default=True, help="Different files, used in turn.")
@click.option("--encoder", "spec", default="bundled", show_default=True, help="Encoder spec.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--batch-size", default=0, help="Pictures in a batch [default: 16 on a CPU, 256 on a GPU].")
@click.option("--workers", default=0, help="Threads [default: one per core].")
@click.option("--large", default=36, show_default=True, help="12-megapixel pictures of each kind; 0 for none.")
@click.option("--seed", default=0, show_default=True, help="Seed of the augmentation.")
@click.option("--out", default=str(DOCS / "encode.md"), help="Markdown file to write.")
def main(
    pictures: int,
    files: int,
    spec: str,
    device: str,
    batch_size: int,
    workers: int,
    large: int,
    seed: int,
    out: str,
) -> None:
    """Encode augmented sample photos and report speed, memory and how busy the cores were."""
    encoder = load_encoder(spec, device=device)
    batch_size = batch_size or (16 if encoder.device == "cpu" else 256)
    workers = workers or available_cores()
    encoder.encode_images(np.stack([encoder.prepare(photo) for photo in originals()[:2]]))
    with tempfile.TemporaryDirectory(prefix="nestvec-bench-") as folder:
        ring = make_ring(Path(folder), min(files, pictures), seed)
        size = sum(path.stat().st_size for path in ring)
        print(f"{len(ring)} files, {size / 1e6:.0f} MB; {describe_device(encoder.device)}", file=sys.stderr)
        stats, points, taken = measure(encoder, ring, pictures, batch_size, workers)
    reduced = measure_reduced(encoder, large, seed) if large else []
    where, mean_kb = describe_device(encoder.device), size / len(ring) / 1e3
    about = (
        f"On {where}: {len(ring):,} JPEGs of 640 to 1,600 pixels (mean {mean_kb:.0f} kB), augmented from "
        f"data/sample and used in turn; batches of {batch_size}, {workers} threads."
    )
    blas = os.environ.get("OPENBLAS_NUM_THREADS")
    command = f"OPENBLAS_NUM_THREADS={blas} " if blas else ""
    command += f"python -m scripts.bench encode --pictures {pictures} --files {files} --encoder {spec} "
    command += f"--large {large} --seed {seed}"
    text = report(command, about, stats, points, taken, reduced)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(text, encoding="utf-8")
    print(text)
