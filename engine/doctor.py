"""What is installed on this machine, and what is wrong with it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from indexers.threads import available_cores

PACKAGES = ("nestvec", "numpy", "pyarrow", "torch", "torchvision", "open_clip_torch", "timm", "pillow", "tokenizers")


def examine() -> dict[str, Any]:
    """Look at packages, FAISS, devices and bundled weights.

    Returns:
        {"facts": {name: text}, "problems": [text]}.
    """
    facts: dict[str, str] = {"python": f"{platform.python_version()} on {platform.platform()}"}
    facts["cores"] = str(available_cores())
    problems: list[str] = []
    for name in PACKAGES:
        facts[name] = _version(name) or "not installed"
    for look in (_faiss, _torch, _bundled):
        look(facts, problems)
    return {"facts": facts, "problems": problems}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def faiss_packages() -> dict[str, str]:
    """Return the installed packages that provide the module `faiss`, with their versions."""
    names = set(metadata.packages_distributions().get("faiss", ()))
    return {name: version for name in sorted(names) if (version := _version(name))}


def _faiss(facts: dict[str, str], problems: list[str]) -> None:
    packages = faiss_packages()
    facts["faiss"] = ", ".join(f"{name} {version}" for name, version in packages.items()) or "not installed"
    if len(packages) > 1:
        problems.append(
            f"{' and '.join(packages)} are both installed and overwrite each other's files: "
            f"pip uninstall {' '.join(packages)}, then install one of them"
        )
    _try("indexes on", _faiss_device, facts, problems)
    _try("exact search", _exact_search, facts, problems)
    _try("ivf-pq search", _probing, facts, problems)


def _exact_search() -> str:
    from indexers.pruned import is_available

    if is_available():
        return "by pruning, compiled"
    return "by scanning everything: nestvec was installed without a C compiler, and without the scan that prunes"


def _probing() -> str:
    from indexers.probing import is_available

    if is_available():
        return "in one call, compiled"
    return "by FAISS: nestvec was installed without a C compiler, or this processor has no AVX2"


def _faiss_device() -> str:
    import faiss

    from indexers.gpu import gpu_count

    options = faiss.get_compile_options().strip()
    count = gpu_count()
    return f"{f'{count} GPU' if count else 'the CPU: FAISS sees no GPU'} ({options})"


def _torch(facts: dict[str, str], problems: list[str]) -> None:
    def devices() -> str:
        from engine.encoders.device import choose_device, describe_device

        return describe_device(choose_device("auto"))

    def operators() -> str:
        import torchvision

        return f"{torchvision.__version__} loads"

    _try("encoding on", devices, facts, problems)
    _try("torchvision", operators, facts, problems)


def _bundled(facts: dict[str, str], problems: list[str]) -> None:
    def weights() -> str:
        from engine.encoders.registry import list_encoders

        found = next(one for one in list_encoders() if one.spec == "bundled")
        return "weights present" if found.available else f"weights missing: {found.note}"

    _try("bundled", weights, facts, problems)


def _try(name: str, look: Callable[[], str], facts: dict[str, str], problems: list[str]) -> None:
    """Note what a look found; whatever a broken installation raises is its finding."""
    try:
        facts[name] = look()
    except Exception as error:
        facts[name] = "broken"
        problems.append(f"{name}: {type(error).__name__}: {error}")
