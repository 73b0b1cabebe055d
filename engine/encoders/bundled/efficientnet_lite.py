"""EfficientNet-Lite0: the picture tower of the `bundled` encoder, in plain torch.

The architecture is EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze-and-excitation
and with ReLU6, as its authors published it for mobile processors in 2020. The weights are the published
TensorFlow ones converted to torch, so padding is TensorFlow's "SAME": uneven where the stride is 2.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.encoders.base import Device
from indexers.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor

INPUT_SIZE = 224
FEATURES = 1280
CLASSES = 1000
BATCH_NORM_EPS = 1e-3
# Stages of (repeats, stride of the first block); kernels and widths are read off the weights.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
STRIDES = tuple(stride if i == 0 else 1 for repeats, stride in STAGES for i in range(repeats))


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with its batch normalisation folded in: weight [out, in, k, k], bias [out]."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    groups: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve [n, in, H, W] → [n, out, ⌈H/stride⌉, ⌈W/stride⌉] with "SAME" padding."""
        from torch.nn import functional

        (top, bottom), (left, right) = (same_padding(size, self.weight.shape[-1], self.stride) for size in x.shape[-2:])
        # Even padding is free inside the convolution; uneven padding costs a copy.
        even = top == bottom and left == right
        if not even:
            x = functional.pad(x, (left, right, top, bottom))
        padding = (top, left) if even else (0, 0)
        return functional.conv2d(x, self.weight, self.bias, stride=self.stride, padding=padding, groups=self.groups)


@dataclass(frozen=True)
class Block:
    """One inverted residual: widen (but for the first block), filter each channel, narrow, add."""

    expand: FoldedConv | None
    depthwise: FoldedConv
    project: FoldedConv

    def __call__(self, x: Tensor) -> Tensor:
        """Map [n, in, H, W] → [n, out, H', W']."""
        from torch.nn.functional import relu6

        y = x if self.expand is None else relu6(self.expand(x), inplace=True)
        y = self.project(relu6(self.depthwise(y), inplace=True))
        return y + x if y.shape == x.shape else y


class EfficientNetLite0:
    """The network with its weights, ready to run; calls from several threads at once are safe.

    Args:
        weights: the bytes of the checkpoint, a state dict with the key names of EfficientNet-PyTorch.
        device: where it computes.

    Raises:
        EncoderError: the bytes are not that state dict.
    """

    def __init__(self, weights: bytes, device: Device) -> None:
        state = read_state(weights, device)
        self._stem = fold(state, "_conv_stem", "_bn0", stride=2)
        self._blocks = tuple(make_block(state, i, stride) for i, stride in enumerate(STRIDES))
        self._head = fold(state, "_conv_head", "_bn1")
        self._classifier = (state["_fc.weight"], state["_fc.bias"])

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            x: float32 [n, 3, 224, 224], values (byte − 127) / 128.

        Returns:
            Pooled features, float32 [n, 1280], and ImageNet logits, float32 [n, 1000].
        """
        import torch
        from torch.nn.functional import linear, relu6

        # Channels last is twice as fast on a CPU: the depthwise convolutions are bound by memory.
        x = relu6(self._stem(x.to(memory_format=torch.channels_last)), inplace=True)
        for block in self._blocks:
            x = block(x)
        features = relu6(self._head(x), inplace=True).mean(dim=(2, 3))
        return features, linear(features, *self._classifier)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "SAME" padding before and after an axis of `size`; the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def read_state(weights: bytes, device: Device) -> Mapping[str, Tensor]:
    """Read a state dict without running any code it may hold.

    Raises:
        EncoderError: not a state dict, or one of another network.
    """
    import torch

    try:
        state = torch.load(io.BytesIO(weights), map_location=device, weights_only=True)
        shape = tuple(state["_fc.weight"].shape)
    except Exception as error:  # torch raises a dozen types for a malformed file
        raise EncoderError(f"expected EfficientNet-Lite0 weights, could not read them: {error}") from error
    if shape != (CLASSES, FEATURES) or f"_blocks.{len(STRIDES) - 1}._depthwise_conv.weight" not in state:
        raise EncoderError(f"expected the weights of EfficientNet-Lite0, found a classifier of shape {shape}")
    return {str(key): value for key, value in state.items()}


def fold(state: Mapping[str, Tensor], conv: str, norm: str, *, stride: int = 1, groups: int = 1) -> FoldedConv:
    """Fold the batch normalisation `norm` into the convolution `conv`: one pass over memory less each."""
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
    weight = state[f"{conv}.weight"] * scale[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return FoldedConv(weight.contiguous(), bias, stride, groups)


def make_block(state: Mapping[str, Tensor], index: int, stride: int) -> Block:
    """Build block `index` from its weights."""
    at = f"_blocks.{index}"
    expand = None
    if f"{at}._expand_conv.weight" in state:
        expand = fold(state, f"{at}._expand_conv", f"{at}._bn0")
    channels = state[f"{at}._depthwise_conv.weight"].shape[0]
    depthwise = fold(state, f"{at}._depthwise_conv", f"{at}._bn1", stride=stride, groups=channels)
    return Block(expand, depthwise, fold(state, f"{at}._project_conv", f"{at}._bn2"))
