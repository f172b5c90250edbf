# SPDX-License-Identifier: Apache-2.0
"""The masks that ``python -m tilewright.bench --device cuda`` times: as Tilewright takes them, as FlexAttention does,
and as what they show."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional


class TorchCase(NamedTuple):
    """A mask of ``batch`` equal sequences, on one torch device.

    Row i sees the keys from ``begins[i]`` to before ``ends[i]``: int64 ``(seqlen,)``. Every case here is such an
    interval.
    """

    name: str
    causal: bool
    arguments: Dict[str, Any]  #: of flash_attn_func
    mask_mod: Optional[Callable[..., Any]]  #: for create_block_mask; None: hides nothing
    begins: Any
    ends: Any
    batch: int

    @property
    def pairs(self) -> int:
        """Visible (query, key) pairs of a head, over the batch."""
        return self.batch * int((self.ends - self.begins).sum())

    @property
    def plain(self) -> bool:
        """No more than what ``is_causal`` says."""
        return self.name in ("dense", "causal")

    def visible(self, rows: slice) -> Any:
        """bool ``(rows, seqlen)``: what some rows see."""
        import torch

        keys = torch.arange(len(self.ends), device=self.ends.device)
        return (keys >= self.begins[rows, None]) & (keys < self.ends[rows, None])


def make_torch_case(name: str, batch: int, seqlen: int, samples: int, break_share: float, device: Any) -> TorchCase:
    """``samples``: of a packed sequence, and documents of one, of equal length. ``break_share``: of the sequence is
    before the break point. ``window`` is causal and shows a quarter of the sequence's length, ``key_padding`` hides the
    last quarter of the keys, ``document`` is causal.
    """
    import torch

    def full(values: Any, dtype: Any) -> Any:
        return values.to(dtype).expand(batch, *values.shape).contiguous().to(device)

    rows = torch.arange(seqlen)
    begins, ends = torch.zeros(seqlen, dtype=torch.int64), rows + 1
    # Where a sample begins and the next one does: as many rows each as divide the sequence evenly.
    bounds = torch.arange(samples + 1) * seqlen // samples
    sample = torch.searchsorted(bounds[1:], rows, right=True)
    arguments: Dict[str, Any] = {"causal": True}
    mask_mod: Optional[Callable[..., Any]] = None
    if name == "dense":
        arguments = {}
        ends = torch.full_like(rows, seqlen)
    elif name == "causal":

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return k <= q

    elif name == "glm_break":
        point = int(seqlen * break_share)
        ends = ends.clamp(min=point)
        breaks = arguments["glm_mask"] = full(torch.tensor(point), torch.int32)

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return (k <= q) | (k < breaks[b])

    elif name == "glm_packed":
        contexts = bounds[:-1] + (bounds[1:] - bounds[:-1]) // 2
        ends = torch.maximum(ends, torch.where(rows < contexts[sample], contexts[sample], 0))
        arguments["glm_mask"] = full(torch.stack([bounds[:-1], contexts]), torch.int32)
        # One number a row, worked out beforehand: cheaper for FlexAttention than a loop over the pairs.
        limits = full(ends, torch.int32)

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return k < limits[b, q]

    elif name == "key_padding":
        arguments = {}
        last = seqlen - seqlen // 4
        ends = torch.full_like(rows, last)
        real = arguments["key_padding_mask"] = full(rows < last, torch.bool)

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return real[b, k]

    elif name == "window":
        left = max(1, seqlen // 4)
        begins = (rows - left).clamp(min=0)
        arguments["window_size"] = (left, 0)

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return (k <= q) & (q - k <= left)

    else:
        begins = bounds[sample]
        documents = arguments["document_ids"] = full(sample, torch.int32)

        def mask_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
            return (k <= q) & (documents[b, q] == documents[b, k])

    causal = bool(arguments.get("causal"))
    return TorchCase(name, causal, arguments, mask_mod, begins.to(device), ends.to(device), batch)
