# SPDX-License-Identifier: Apache-2.0
"""GLM masks: from samples to pairs, and from pairs to the dense mask that they stand for. Needs NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    import numpy as np


class Sample(NamedTuple):
    """A training sample inside a packed sequence.

    Its rows see everything before it, as GLM's packed masks define; its context part also sees itself whole.
    """

    context: int  #: tokens that are given: they see each other in both directions
    generated: int  #: tokens that are learnt: each sees what is before it


def pack_pairs(sequences: Sequence[Sequence[Sample]], pairs: Optional[int] = None) -> "np.ndarray":
    """The pairs of sequences that are their samples end to end.

    Args:
        sequences: for each sequence of the batch, its samples in order.
        pairs: N, the pairs that every sequence gets room for; None: as many as the longest list has.

    Returns:
        int32 ``(batch, 2, N)``: [start, end) of the context part of each sample, -1 where a sequence has fewer samples.

    Raises:
        ValueError: a part is negative, or a sequence has more than ``pairs`` samples.
    """
    import numpy as np

    longest = max((len(samples) for samples in sequences), default=0)
    if pairs is None:
        pairs = longest
    if longest > pairs:
        raise ValueError(f"pairs: is {pairs}, must be at least {longest}, the samples of the longest sequence")
    packed = np.full((len(sequences), 2, pairs), -1, np.int32)
    for b, samples in enumerate(sequences):
        start = 0
        for n, (context, generated) in enumerate(samples):
            if context < 0 or generated < 0:
                raise ValueError(f"sequences[{b}][{n}]: is ({context}, {generated}), must hold no negative length")
            packed[b, :, n] = start, start + context
            start += context + generated
    return packed


def dense_mask(
    glm_mask: "np.ndarray", seqlen_q: int, seqlen_k: int, causal_align: str = "bottom_right"
) -> "np.ndarray":
    """The dense mask that a GLM mask stands for, by its definition, one pair at a time.

    Args:
        glm_mask: int32 ``(batch,)`` break points or ``(batch, 2, N)`` pairs.

    Returns:
        bool ``(batch, seqlen_q, seqlen_k)``, True where the key is visible.

    Raises:
        ValueError: the shape or the alignment is none of those.
    """
    import numpy as np

    if causal_align not in ("bottom_right", "top_left"):
        raise ValueError(f'causal_align: is {causal_align!r}, must be "bottom_right" or "top_left"')
    offset = seqlen_k - seqlen_q if causal_align == "bottom_right" else 0
    position = np.arange(seqlen_q)[None, :, None] + offset
    column = np.arange(seqlen_k)[None, None, :]
    visible = np.broadcast_to(column <= position, (len(glm_mask), seqlen_q, seqlen_k)).copy()
    if glm_mask.ndim == 1:
        return visible | (column < glm_mask[:, None, None])
    if glm_mask.ndim != 3 or glm_mask.shape[1] != 2:
        raise ValueError(f"glm_mask: has shape {glm_mask.shape}, must be (batch,) or (batch, 2, N)")
    for n in range(glm_mask.shape[2]):
        start, end = (glm_mask[:, i, n, None, None] for i in (0, 1))
        visible |= (start <= position) & (position < end) & (column < end)
    return visible
