"""MiniLM: the text tower of the `bundled` encoder, in plain torch.

all-MiniLM-L6-v2 is a six-layer BERT (Devlin et al., 2019, arXiv:1810.04805) distilled as in MiniLM
(Wang et al., 2020, arXiv:2002.10957) and trained on sentence pairs as in Sentence-BERT (Reimers and
Gurevych, 2019, arXiv:1908.10084): a sentence's vector is the mean over its tokens, at unit length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.encoders.base import Device
from indexers.errors import EncoderError
from indexers.vectors import FloatArray, normalize

if TYPE_CHECKING:
    from torch import Tensor

DIM = 384
LAYERS = 6
HEADS = 12
MAX_TOKENS = 256
LAYER_NORM_EPS = 1e-12
# Tokens, padding included, that go through the network at once: bounds memory to some 200 MB.
TOKENS_PER_BATCH = 8192


class MiniLM:
    """The network and its tokenizer, ready to run; calls from several threads at once are safe.

    Args:
        weights: the bytes of model.safetensors.
        tokenizer: the bytes of tokenizer.json.
        device: where it computes.

    Raises:
        EncoderError: the bytes are not those files.
    """

    def __init__(self, weights: bytes, tokenizer: bytes, device: Device) -> None:
        from safetensors.torch import load
        from tokenizers import Tokenizer

        try:
            state = load(weights)
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        except Exception as error:  # both libraries raise plain Exception for a malformed file
            raise EncoderError(f"expected MiniLM's weights and tokenizer, could not read: {error}") from error
        if state["embeddings.word_embeddings.weight"].shape[1] != DIM:
            raise EncoderError(f"expected a BERT of width {DIM}, found other weights")
        self._state = {key: value.to(device) for key, value in state.items() if key.split(".")[0] != "pooler"}
        self._device = device
        # The file asks for a fixed length of 128; the model takes 256, and we pad each batch by itself.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode sentences; what is beyond 256 tokens is cut off.

        Args:
            texts: n strings, of any length.

        Returns:
            float32 [n, 384] with unit rows, in the order of `texts`.
        """
        out = np.empty((len(texts), DIM), dtype=np.float32)
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        for rows in batches([len(ids) for ids in tokens]):
            out[rows] = self._encode_batch([tokens[row] for row in rows])
        return normalize(out) if len(texts) else out

    def _encode_batch(self, tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Encode token ids of similar lengths → mean-pooled float32 [n, 384], not normalised."""
        import torch

        longest = max(len(ids) for ids in tokens)
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in tokens], device=self._device)
        lengths = torch.tensor([len(ids) for ids in tokens], device=self._device)
        mask = torch.arange(longest, device=self._device)[None, :] < lengths[:, None]
        with torch.inference_mode():
            hidden = run_bert(self._state, padded, mask)
            pooled = (hidden * mask[:, :, None]).sum(dim=1) / lengths[:, None]
            return np.asarray(pooled.cpu().numpy(), dtype=np.float32)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar lengths, none above TOKENS_PER_BATCH once padded."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[row] > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def run_bert(state: Mapping[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    """Run embeddings and layers: ids int64 [n, L], mask bool [n, L] → float32 [n, L, 384]."""
    at = "embeddings"
    x = state[f"{at}.word_embeddings.weight"][ids]
    x = x + state[f"{at}.position_embeddings.weight"][: ids.shape[1]]
    x = x + state[f"{at}.token_type_embeddings.weight"][0]
    x = layer_norm(state, f"{at}.LayerNorm", x)
    for layer in range(LAYERS):
        x = run_layer(state, f"encoder.layer.{layer}", x, mask)
    return x


def run_layer(state: Mapping[str, Tensor], at: str, x: Tensor, mask: Tensor) -> Tensor:
    """Run one post-norm transformer layer: float32 [n, L, 384] → the same shape."""
    from torch.nn.functional import gelu

    attended = dense(state, f"{at}.attention.output.dense", attend(state, f"{at}.attention.self", x, mask))
    x = layer_norm(state, f"{at}.attention.output.LayerNorm", x + attended)
    wide = gelu(dense(state, f"{at}.intermediate.dense", x))
    return layer_norm(state, f"{at}.output.LayerNorm", x + dense(state, f"{at}.output.dense", wide))


def attend(state: Mapping[str, Tensor], at: str, x: Tensor, mask: Tensor) -> Tensor:
    """Run 12-headed self-attention over the unmasked tokens: [n, L, 384] → [n, L, 384]."""
    from torch.nn.functional import scaled_dot_product_attention

    n, length, _ = x.shape
    query, key, value = (
        dense(state, f"{at}.{part}", x).view(n, length, HEADS, DIM // HEADS).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    y = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
    return y.transpose(1, 2).reshape(n, length, DIM)


def dense(state: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    """Apply the linear layer stored at `at`."""
    from torch.nn.functional import linear

    return linear(x, state[f"{at}.weight"], state[f"{at}.bias"])


def layer_norm(state: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    """Apply the layer normalisation stored at `at`."""
    from torch.nn import functional

    return functional.layer_norm(x, (DIM,), state[f"{at}.weight"], state[f"{at}.bias"], LAYER_NORM_EPS)
