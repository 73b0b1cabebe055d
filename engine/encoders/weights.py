"""Weight files: finding them, fetching them once, and reading them without running anything.

A checkpoint is safetensors, or a state dict that `torch.load(weights_only=True)` accepts;
everything else is refused, because an ordinary pickle runs code when it is read.
"""

from __future__ import annotations

import os
import pickle
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.encoders.base import hash_arrays
from engine.storage.regular import check_regular
from indexers.errors import EncoderError, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

# How long to wait for a first answer before deciding that there is no network.
CONNECT_SECONDS = 8.0
_PATH_STARTS = ("/", "./", "../", "~")
# Where training scripts keep the weights inside a checkpoint, averaged ones first, as timm does.
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")


def is_path(text: str) -> bool:
    """Tell a path (it begins with "/", "./", "../" or "~") from the name of published weights."""
    return text.startswith(_PATH_STARTS)


def absolute(text: str) -> str:
    """Return the path `text` names as one that means the same from every directory."""
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH111


def local_file(text: str, *, what: str) -> Path:
    """Return the existing file that `text` names, "~" expanded.

    Raises:
        WeightsMissing: there is no such file.
    """
    path = Path(text).expanduser()
    try:
        check_regular(path)
    except OSError as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else f"what {error.strerror}"
        raise WeightsMissing(
            f"{what}: expected a file at {path}, found {found}. Correct the path in the spec; a "
            "collection learns where the file is now from: nestvec index SOURCE COLLECTION --encoder SPEC"
        ) from error
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from anything torch.load reads with weights_only.

    A training checkpoint's `state_dict` or `model` entry is taken, averaged weights before plain
    ones, and the `module.` prefix of a data-parallel run is removed.

    Raises:
        EncoderError: the file is cut short, is not a state dict, or would have to run code to be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            check_regular(path)
            return load_file(path, device="cpu")
        except (SafetensorError, OSError) as error:
            raise EncoderError(f"weights {path}: expected safetensors, found: {error}") from error
    return _without_prefix(_unnest(path, _torch_load(path)))


def _torch_load(path: Path) -> object:
    import torch

    try:
        check_regular(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"weights {path}: expected a plain state dict, found a pickle that holds more or is damaged. "
            "It was not run. Save the model's state_dict(), best as safetensors, and use that."
        ) from error
    except Exception as error:  # on bytes that are no checkpoint its parser fails in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EncoderError(f"weights {path}: expected a state dict, and reading failed: {reason}") from error


def _unnest(path: Path, loaded: object) -> dict[str, Tensor]:
    from torch import Tensor

    if isinstance(loaded, Mapping):
        for key in _NESTED:
            if isinstance(loaded.get(key), Mapping):
                return _unnest(path, loaded[key])
        if loaded and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
            return dict(loaded)
    raise EncoderError(
        f"weights {path}: expected names with tensors (a state dict), found {type(loaded).__name__}"
        + (f" with {', '.join(str(key) for key in list(loaded)[:5])}" if isinstance(loaded, Mapping) else "")
        + ". Save the model's state_dict()."
    )


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def check_finite(state: Mapping[str, Tensor], *, what: str) -> None:
    """Refuse weights with NaN or infinite values.

    Raises:
        EncoderError: names the first such tensor.
    """
    import torch

    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise EncoderError(
                f"{what}: {name} has NaN or infinite values. The training run diverged, or the file was "
                "written half; use another checkpoint."
            )


def hash_state(state: Mapping[str, Tensor]) -> str:
    """Hash a state dict by its values, so that the same weights in another file hash the same."""
    return hash_arrays((name, tensor.detach().cpu().numpy()) for name, tensor in state.items())


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict as safetensors; tensors that share memory are written apart."""
    from safetensors.torch import save_file

    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)


def cached_hub_file(repo: str, names: tuple[str, ...], revision: str | None = None) -> Path | None:
    """Return the first of a hub repository's files that is on this machine, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def hub_file(repo: str, names: tuple[str, ...], *, what: str, revision: str | None = None) -> Path:
    """Return the first of a hub repository's files that exists, downloading it once.

    Args:
        repo: "organisation/model".
        names: the same weights under several names, the best first.
        what: the encoder's spec, for messages.
        revision: a branch, tag or commit; the main branch if None.

    Raises:
        WeightsMissing: not on this machine, and there is no network or no such file.
    """
    cached = cached_hub_file(repo, names, revision)
    if cached is not None:
        return cached
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    wanted, cache = f"{repo}/{names[0]}", constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        raise _missing(what, wanted, cache, "HF_HUB_OFFLINE is set")
    # The hub's client tries an unreachable host six times over half a minute: ask once, first.
    _require_answer(hf_hub_url(repo, names[0], revision=revision), what, wanted, cache)
    for name in names:
        try:
            return Path(hf_hub_download(repo, name, revision=revision, etag_timeout=CONNECT_SECONDS))
        except LocalEntryNotFoundError as error:
            raise _missing(what, wanted, cache, f"the download failed: {error}") from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            raise _missing(what, wanted, cache, f"the download failed: {error}") from error
    raise _missing(what, wanted, cache, f"the repository has none of {', '.join(names)}")


def url_file(url: str, *, what: str) -> Path:
    """Return torch's cached copy of a published file, downloading it once.

    The file name's hash, where it has one ("resnet18-f37072fd.pth"), is checked.

    Raises:
        WeightsMissing: not on this machine, and it cannot be downloaded.
    """
    cached = torch_cache() / url.rsplit("/", 1)[-1]
    if cached.is_file():
        return cached
    _require_answer(url, what, url, str(cached.parent))
    from torch.hub import HASH_REGEX, download_url_to_file

    marked = HASH_REGEX.search(cached.name)
    cached.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_url_to_file(url, str(cached), marked.group(1) if marked else None, progress=True)
    except (OSError, RuntimeError) as error:
        raise _missing(what, url, str(cached.parent), f"the download failed: {error}") from error
    return cached


def torch_cache() -> Path:
    """Return the folder where torch and torchvision keep downloaded weights."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME") or str(Path(base) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _require_answer(url: str, what: str, wanted: str, cache: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # an answer; what it means is for the download to say
    except (OSError, ValueError) as error:
        reason: Any = getattr(error, "reason", error)
        raise _missing(what, wanted, cache, f"the network gave no answer: {reason}") from error


def _missing(what: str, wanted: str, cache: str, why: str) -> WeightsMissing:
    return WeightsMissing(
        f"{what} needs the weights {wanted}. They are not in {cache}, and {why}. "
        "Connect once to download them, give a local file in the spec instead, "
        "or use the encoder `bundled`, which works offline."
    )
