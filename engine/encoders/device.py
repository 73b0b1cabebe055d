"""Where an encoder computes: choosing a device, naming it, and counting the cores it may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.encoders.base import Device
from indexers.errors import InvalidInput
from indexers.threads import available_cores

# Fastest first: `auto` takes the first one that is there.
_PREFERENCE: tuple[Device, ...] = ("cuda", "mps", "cpu")


def choose_device(wanted: str = "auto") -> Device:
    """Return the device to compute on.

    Args:
        wanted: "auto" (cuda, then mps, then cpu), or one of "cpu", "cuda" and "mps".

    Raises:
        InvalidInput: another word, or a device that this machine (or this torch) does not have.
    """
    if wanted == "cpu":
        return "cpu"
    if wanted == "auto":
        return next(device for device in _PREFERENCE if _is_there(device))
    for device in _PREFERENCE:
        if wanted == device:
            if _is_there(device):
                return device
            raise InvalidInput(f"device {device} was asked for, but {_why_not(device)}. Use cpu or auto.")
    raise InvalidInput(
        f"device: expected auto, cpu, cuda or mps, found {wanted!r}. "
        "To pick one of several GPUs set CUDA_VISIBLE_DEVICES and ask for cuda."
    )


def _is_there(device: Device) -> bool:
    if device == "cpu":
        return True
    import torch

    if device == "cuda":
        return torch.cuda.is_available()
    return torch.backends.mps.is_available()


def _why_not(device: Device) -> str:
    import torch

    if device == "mps":
        return "this is not a Mac whose GPU torch can use"
    if torch.version.cuda is None and torch.version.hip is None:
        return f"the installed torch {torch.__version__} was built without GPU support"
    return f"torch {torch.__version__} finds no GPU driver or no GPU (nvidia-smi should list one)"


def describe_device(device: Device) -> str:
    """Return one line for people, such as "cuda (NVIDIA H100 80GB HBM3)" or "cpu (2 cores)"."""
    if device == "cuda":
        import torch

        return f"cuda ({torch.cuda.get_device_name(0)})"
    if device == "mps":
        return "mps (Apple GPU)"
    cores = available_cores()
    return f"cpu ({cores} {'core' if cores == 1 else 'cores'})"


def set_torch_threads(count: int) -> None:
    """Give torch operations called from *this* thread `count` threads.

    torch keeps the number per calling thread, and also as the default of threads that have
    not used torch yet: `torch_threads` puts that default back.
    """
    import torch

    torch.set_num_threads(count)


@contextmanager
def torch_threads() -> Iterator[int]:
    """Yield the caller's torch thread count and restore it, and the default, on the way out."""
    import torch

    before = torch.get_num_threads()
    try:
        yield before
    finally:
        torch.set_num_threads(before)
