# SPDX-License-Identifier: Apache-2.0
"""Masks as objects: built from lengths or positions, combined with ``&``, turned into a call's arguments, drawn.

    mask = masks.packed_glm([[700, 300]], [[256, 100]]) & masks.sliding_window(512, 0)
    out = tilewright.flash_attn_func(q, k, v, **mask.arguments())

Builders take NumPy arrays, lists (which become NumPy arrays) or torch tensors. What they make of a torch tensor stays
on its device. Values on a CUDA device are never read back, so those are not checked but clamped, and the host waits
for nothing, except where a function's text says so.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ._mask_arrays import (
    arange,
    broken,
    device_name,
    empty_ids,
    int32,
    integers,
    is_torch,
    key_flags,
    length_table,
    module_of,
    numpy_of,
)
from ._features import UNBOUNDED, checked_int, checked_window
from .errors import InvalidArgument
from .functions import checked_bool
from .inspect import FULL, PARTIAL, SKIPPED, BlockMap

if TYPE_CHECKING:
    import os

    import numpy as np

__all__ = [
    "Mask",
    "Sample",
    "causal",
    "dense_mask",
    "document",
    "document_from_cu_seqlens",
    "document_from_lengths",
    "glm",
    "key_padding",
    "key_padding_from_lengths",
    "pack_pairs",
    "packed_glm",
    "prefix_lm",
    "sliding_window",
]

LONGEST = 2**31 - 1  # what a sequence length may be


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Which keys each query row sees: the mask arguments of :func:`tilewright.flash_attn_func`, and nothing else.

    ``Mask()`` hides nothing. The functions of this module make masks from lengths; the constructor takes the arguments
    as they are. All arrays are NumPy arrays, or all are torch tensors on one device.

    ``a & b`` is the mask of one call with the arguments of both. A key is visible where both masks have it visible,
    with one exception, which is the contract's: a GLM mask raises the right limit that ``causal`` and a window set, so
    ``glm(p) & causal()`` is ``glm(p)``. Two windows give the narrower limit on each side, two key padding masks hide
    what either hides. Two GLM masks, two document masks, and different alignments are errors.

    Raises:
        InvalidArgument: an argument is wrong, arguments do not fit each other, or ``glm_mask`` is given without
            ``causal``.
    """

    causal: bool = False  #: rows see keys up to their own position
    causal_align: Optional[str] = None  #: "bottom_right", "top_left"; None: what it is combined with, or bottom_right
    glm_mask: Optional[Any] = None  #: int32 (batch,) break points or (batch, 2, N) pairs; needs ``causal``
    window_size: Tuple[int, int] = UNBOUNDED  #: keys to the left and to the right of a row's position; -1: unbounded
    document_ids: Optional[Any] = None  #: int32 (batch, seqlen_k), not decreasing; -1, at the end only, is padding
    key_padding_mask: Optional[Any] = None  #: bool (batch, seqlen_k), True is a real key

    def __post_init__(self) -> None:
        object.__setattr__(self, "causal", checked_bool("causal", self.causal))
        if self.causal_align not in (None, "bottom_right", "top_left"):
            _invalid("causal_align", f'is {self.causal_align!r}, must be "bottom_right", "top_left" or None')
        object.__setattr__(self, "window_size", checked_window(self.window_size))
        if self.glm_mask is not None:
            _check_array("glm_mask", self.glm_mask, (1, 3), "int32", "(batch,) or (batch, 2, N)")
            _check_glm(self.glm_mask)
            if not self.causal:
                _invalid("glm_mask", "is given, but causal is False: a GLM mask extends the causal mask")
        if self.document_ids is not None:
            _check_array("document_ids", self.document_ids, (2,), "int32", "(batch, seqlen_k)")
            _check_documents(self.document_ids)
        if self.key_padding_mask is not None:
            _check_array("key_padding_mask", self.key_padding_mask, (2,), "bool", "(batch, seqlen_k)")
        _check_together(self._arrays())

    def arguments(self) -> Dict[str, Any]:
        """Keyword arguments for :func:`tilewright.flash_attn_func`: those that are not at their defaults."""
        found: Dict[str, Any] = {"causal": True} if self.causal else {}
        if self.causal_align is not None:
            found["causal_align"] = self.causal_align
        if self.window_size != UNBOUNDED:
            found["window_size"] = self.window_size
        found.update(self._arrays())
        return found

    @property
    def batch(self) -> Optional[int]:
        """Batch entries that the mask's arrays are for; None without arrays: any number."""
        return next((int(array.shape[0]) for array in self._arrays().values()), None)

    def __and__(self, other: Any) -> "Mask":
        if not isinstance(other, Mask):
            return NotImplemented
        if None not in (self.causal_align, other.causal_align) and self.causal_align != other.causal_align:
            both = f'"{self.causal_align}" in one mask and "{other.causal_align}" in the other'
            _invalid("causal_align", f"is {both}, and a call has one")
        padding = [mask.key_padding_mask for mask in (self, other) if mask.key_padding_mask is not None]
        if len(padding) == 2:
            _check_together({"key_padding_mask": padding[0], "the other key_padding_mask": padding[1]})
            padding = [padding[0] & padding[1]]
        return Mask(
            self.causal or other.causal,
            self.causal_align or other.causal_align,
            _only("glm_mask", self.glm_mask, other.glm_mask),
            tuple(max(a, b) if -1 in (a, b) else min(a, b) for a, b in zip(self.window_size, other.window_size)),
            _only("document_ids", self.document_ids, other.document_ids),
            padding[0] if padding else None,
        )

    def __repr__(self) -> str:
        shown = []
        for name, value in self.arguments().items():
            array = name in self._arrays()
            shown.append(f"{name}={f'<{value.dtype} {tuple(value.shape)}>' if array else repr(value)}")
        return f"Mask({', '.join(shown)})"

    def to_dense(self, seqlen_q: int, seqlen_k: int, *, like: Optional[Any] = None) -> Any:
        """The mask entry by entry, from its definition. Takes memory for each of them.

        Args:
            like: an array of the kind and on the device of which the result is made, for a mask without arrays; None:
                NumPy. A mask with arrays makes its own kind.

        Returns:
            bool ``(batch, seqlen_q, seqlen_k)``, True where row i sees key j; a batch of 1 for a mask without arrays.

        Raises:
            InvalidArgument: a length is negative or does not fit the mask's arrays, or the GLM mask holds a value above
                ``seqlen_k`` (on CUDA devices it is clamped).
        """
        self._check_lengths(seqlen_q, seqlen_k)
        like = self._like(like)
        return self._visible(arange(0, seqlen_q, like), arange(0, seqlen_k, like), seqlen_q, seqlen_k)

    def block_map(self, seqlen_q: int, seqlen_k: int, block_m: int, block_n: int) -> BlockMap:
        """Which blocks of ``block_m`` rows by ``block_n`` keys hold no visible entry (skipped), only such (full), both.

        It is counted from the definition, so it is what a kernel with such blocks can skip at best.
        :func:`tilewright.inspect.block_map` says what one does skip. Needs NumPy; the memory is that of one row of
        blocks. A mask on a CUDA device is worked out there, and the host waits for it.

        Raises:
            InvalidArgument: as :meth:`to_dense`; a block size is below 1.
        """
        import numpy as np

        self._check_lengths(seqlen_q, seqlen_k)
        for name, size in (("block_m", block_m), ("block_n", block_n)):
            _checked_length(name, size, 1)
        like = self._like(None)
        shape = (1 if self.batch is None else self.batch, -(-seqlen_q // block_m), -(-seqlen_k // block_n))
        kinds = np.full(shape, SKIPPED, np.uint8)
        starts = np.arange(0, seqlen_k, block_n)
        widths = np.minimum(starts + block_n, seqlen_k) - starts
        columns = arange(0, seqlen_k, like)
        for at in range(shape[1] if shape[0] and shape[2] else 0):
            rows = arange(at * block_m, min((at + 1) * block_m, seqlen_q), like)
            seen = np.add.reduceat(numpy_of(self._visible(rows, columns, seqlen_q, seqlen_k).sum(1)), starts, axis=1)
            kinds[:, at][seen > 0] = PARTIAL
            kinds[:, at][seen == len(rows) * widths] = FULL
        return BlockMap(block_m, block_n, shape, kinds.tobytes())

    def plot(
        self,
        seqlen_q: int,
        seqlen_k: int,
        path: Optional["os.PathLike[str] | str"] = None,
        *,
        block_m: Optional[int] = None,
        block_n: Optional[int] = None,
        entry: int = 0,
        axes: Optional[Any] = None,
    ) -> Any:
        """Draws one batch entry of the mask; with ``block_m`` and ``block_n``, coloured by kinds of blocks.

        At most 1024 rows and 1024 columns are drawn, of a longer mask every so many.

        Args:
            path: a file to write, its type by its ending (``.png``, ``.svg``, ``.pdf``).
            entry: the batch entry.
            axes: a matplotlib ``Axes`` to draw into; None: a new figure, in no window.

        Returns:
            The matplotlib ``Figure``.

        Raises:
            ImportError: matplotlib is not installed; ``pip install tilewright[plot]`` brings it.
            InvalidArgument: as :meth:`block_map`; one block size without the other; no such batch entry.
        """
        from ._mask_plot import draw

        self._check_lengths(seqlen_q, seqlen_k)
        return draw(self, seqlen_q, seqlen_k, path, block_m, block_n, entry, axes)

    def _arrays(self) -> Dict[str, Any]:
        names = ("glm_mask", "document_ids", "key_padding_mask")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _like(self, like: Optional[Any]) -> Any:
        return next(iter(self._arrays().values()), like)

    def _check_lengths(self, seqlen_q: int, seqlen_k: int) -> None:
        for name, length in (("seqlen_q", seqlen_q), ("seqlen_k", seqlen_k)):
            _checked_length(name, length)
        for name in ("document_ids", "key_padding_mask"):
            array = getattr(self, name)
            if array is not None and array.shape[1] != seqlen_k:
                _invalid(name, f"has shape {tuple(array.shape)}, but seqlen_k is {seqlen_k}")
        if self.glm_mask is not None and broken(self.glm_mask, self.glm_mask > seqlen_k):
            _invalid("glm_mask", f"holds {int(self.glm_mask.max())}, must be at most seqlen_k, {seqlen_k}")

    def _visible(self, rows: Any, columns: Any, seqlen_q: int, seqlen_k: int) -> Any:
        """bool (batch, rows, columns): the contract's formulas on a grid of indices."""
        offset = 0 if self.causal_align == "top_left" else seqlen_k - seqlen_q
        position = rows[None, :, None] + offset
        key = columns[None, None, :]
        left, right = (min(side, 2 * LONGEST) for side in self.window_size)  # positions plus it fit in 64 bits
        if self.causal:
            seen = key <= position
        elif right >= 0:
            seen = key <= position + right
        else:
            seen = (key >= 0) & (rows[None, :, None] >= 0)
        if self.glm_mask is not None:
            glm = self.glm_mask.clip(0, seqlen_k)  # -1 pairs become the empty [0, 0)
            if glm.ndim == 1:
                seen = seen | (key < glm[:, None, None])
            else:
                seen = seen & (glm[:, 0, :0].sum(1) == 0)[:, None, None]  # gets its batch, also without pairs
                for n in range(glm.shape[2]):
                    start, end = glm[:, 0, n, None, None], glm[:, 1, n, None, None]
                    seen = seen | ((start <= position) & (position < end) & (key < end))
        if left >= 0:
            seen = seen & (key >= position - left)
        if self.document_ids is not None:
            ids = self.document_ids
            if seqlen_k == 0:
                return seen & (ids[:, None, :] >= 0)
            inside = (position >= 0) & (position < seqlen_k)
            own = ids[:, position[0, :, 0].clip(0, seqlen_k - 1)][:, :, None]
            seen = seen & inside & (own >= 0) & (own == ids[:, None, columns])
        if self.key_padding_mask is not None:
            seen = seen & self.key_padding_mask[:, None, columns]
        return seen


def causal(causal_align: Optional[str] = None) -> Mask:
    """Row i sees keys up to its own position: ``i + seqlen_k - seqlen_q`` (bottom_right) or ``i`` (top_left)."""
    return Mask(causal=True, causal_align=causal_align)


def glm(glm_mask: Any, causal_align: Optional[str] = None) -> Mask:
    """Causal, and beyond it what a GLM mask shows.

    Args:
        glm_mask: integers: break points ``(batch,)``, where every row sees keys ``j < glm_mask[b]``; or pairs ``(batch,
            2, N)``, where a row whose position is in ``[start, end)`` sees keys up to that end. A pair of -1 is unused.
    """
    array = integers("glm_mask", glm_mask, (1, 3), "(batch,) or (batch, 2, N)")
    return Mask(causal=True, causal_align=causal_align, glm_mask=int32("glm_mask", array))


def prefix_lm(prefix_lengths: Any, causal_align: Optional[str] = None) -> Mask:
    """Prefix-LM: every row sees the first ``prefix_lengths[b]`` keys, ``(batch,)``, and those up to its own position.

    It is the GLM mask of these break points.
    """
    array = integers("prefix_lengths", prefix_lengths, (1,), "(batch,)")
    if broken(array, array < 0):
        _invalid("prefix_lengths", f"holds {int(array.min())}, must hold no negative length")
    return Mask(causal=True, causal_align=causal_align, glm_mask=int32("prefix_lengths", array))


def packed_glm(sample_lengths: Any, context_lengths: Any, causal_align: Optional[str] = None) -> Mask:
    """Samples end to end in each sequence, whose context parts see themselves whole; all else is causal.

    A row sees everything before it, earlier samples too: ``& document_from_lengths(...)`` keeps samples apart.

    Args:
        sample_lengths: ``(batch, N)``, tokens of each sample, context and generated; 0: no sample. Or a list of lists
            of any lengths.
        context_lengths: as ``sample_lengths``: how many tokens of each are context, at the sample's start.
    """
    samples, lengths = length_table("sample_lengths", sample_lengths)
    contexts, context_counts = length_table("context_lengths", context_lengths)
    _check_together({"sample_lengths": samples, "context_lengths": contexts})
    if samples.shape != contexts.shape or None not in (lengths, context_counts) and lengths != context_counts:
        shown = [tuple(samples.shape) if lengths is None else lengths]
        shown += [tuple(contexts.shape) if context_counts is None else context_counts]
        _invalid("context_lengths", f"has shape or lengths of lists {shown[1]}, but sample_lengths has {shown[0]}")
    if broken(samples, contexts > samples):
        _invalid("context_lengths", "holds more tokens for a sample than sample_lengths, must be at most as many")
    library = module_of(samples)
    starts = library.cumsum(samples, 1) - samples
    pairs = library.stack([starts, starts + library.minimum(contexts, samples)], 1)
    pairs = library.where((samples > 0)[:, None, :], pairs, -1)
    return Mask(causal=True, causal_align=causal_align, glm_mask=int32("sample_lengths", pairs))


def document(document_ids: Any, causal_align: Optional[str] = None) -> Mask:
    """Rows see the keys of their own document only; ``& causal()`` of those the ones up to their own position.

    Args:
        document_ids: integers ``(batch, seqlen_k)``, the document of each key position, not decreasing along a
            sequence; -1, only at the end, is padding. Query row i belongs to the document at its own position, and sees
            nothing if that is outside of ``[0, seqlen_k)``.
    """
    array = integers("document_ids", document_ids, (2,), "(batch, seqlen_k)")
    return Mask(causal_align=causal_align, document_ids=int32("document_ids", array))


def document_from_lengths(
    sample_lengths: Any, seqlen_k: Optional[int] = None, causal_align: Optional[str] = None
) -> Mask:
    """:func:`document` from the lengths of the documents, which stand end to end.

    Args:
        sample_lengths: ``(batch, N)``, 0: no document; or a list of lists of any lengths.
        seqlen_k: length of a sequence; what the documents leave of it is padding, and on a CUDA device what is beyond
            it is cut off. None: the longest sum, for which the host waits if the lengths are on a CUDA device.
    """
    lengths, _ = length_table("sample_lengths", sample_lengths)
    return Mask(causal_align=causal_align, document_ids=_document_ids("sample_lengths", lengths, seqlen_k))


def document_from_cu_seqlens(
    cu_seqlens: Any, seqlen_k: Optional[int] = None, causal_align: Optional[str] = None
) -> Mask:
    """:func:`document` from the positions at which documents start and end inside one sequence.

    Args:
        cu_seqlens: ``(N + 1,)`` for a batch of one, or ``(batch, N + 1)``: from 0, not decreasing; document n has the
            positions ``cu_seqlens[n]`` to ``cu_seqlens[n + 1]``. Repeated values are empty documents.
        seqlen_k: as for :func:`document_from_lengths`.
    """
    bounds = integers("cu_seqlens", cu_seqlens, (1, 2), "(N + 1,) or (batch, N + 1)")
    if bounds.shape[-1] == 0:
        _invalid("cu_seqlens", f"has shape {tuple(bounds.shape)}, must hold at least the 0 at its start")
    if bounds.ndim == 1:
        bounds = bounds[None, :]
    lengths = bounds[:, 1:] - bounds[:, :-1]
    if broken(bounds, bounds[:, 0] != 0) or broken(bounds, lengths < 0):
        _invalid("cu_seqlens", "must start with 0 and not decrease")
    return Mask(causal_align=causal_align, document_ids=_document_ids("cu_seqlens", lengths.clip(0), seqlen_k))


def sliding_window(left: int, right: int, causal_align: Optional[str] = None) -> Mask:
    """A row at position p sees keys from ``p - left`` to ``p + right``; -1: unbounded on that side.

    With ``causal`` the causal limit, which GLM may raise, stands in place of the right one.
    """
    return Mask(causal_align=causal_align, window_size=(left, right))


def key_padding(key_padding_mask: Any) -> Mask:
    """Hides keys: bool ``(batch, seqlen_k)``, in any pattern, True is a real key."""
    return Mask(key_padding_mask=key_flags("key_padding_mask", key_padding_mask))


def key_padding_from_lengths(lengths: Any, seqlen_k: int) -> Mask:
    """Hides the keys of each sequence after its first ``lengths[b]``; ``lengths`` is ``(batch,)``."""
    counts = integers("lengths", lengths, (1,), "(batch,)")
    _checked_length("seqlen_k", seqlen_k)
    if broken(counts, (counts < 0) | (counts > seqlen_k)):
        _invalid("lengths", f"must be in [0, seqlen_k], [0, {seqlen_k}]")
    return Mask(key_padding_mask=arange(0, seqlen_k, counts)[None, :] < counts[:, None])


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
    """:meth:`Mask.to_dense` of a GLM mask, int32 ``(batch,)`` or ``(batch, 2, N)``."""
    return glm(glm_mask, causal_align).to_dense(seqlen_q, seqlen_k)


def _invalid(name: str, what: str) -> None:
    raise InvalidArgument(f"{name}: {what}", name)


def _checked_length(name: str, value: Any, low: int = 0) -> int:
    return checked_int(name, value, low, LONGEST)


def _check_array(name: str, array: Any, ranks: Tuple[int, ...], dtype: str, shape: str) -> None:
    module_of(array, name)
    if str(array.dtype).replace("torch.", "") != dtype:
        _invalid(name, f"dtype is {array.dtype}, must be {dtype}")
    if array.ndim not in ranks or (array.ndim == 3 and array.shape[1] != 2):
        _invalid(name, f"has shape {tuple(array.shape)}, must be {shape}")


def _check_glm(glm_mask: Any) -> None:
    if glm_mask.ndim == 1:
        if broken(glm_mask, glm_mask < 0):
            _invalid("glm_mask", f"holds the break point {int(glm_mask.min())}, must be 0 or more")
        return
    unused = (glm_mask == -1).all(1)
    if broken(glm_mask, (glm_mask < 0).any(1) & ~unused):
        _invalid("glm_mask", "holds a pair with one negative number; a pair is (start, end), or (-1, -1) if unused")


def _check_documents(ids: Any) -> None:
    if broken(ids, ids < -1):
        _invalid("document_ids", f"holds {int(ids.min())}, must be -1 for padding, or 0 or more")
    before, after = ids[:, :-1], ids[:, 1:]
    if broken(ids, (after != -1) & ((before == -1) | (after < before))):
        _invalid("document_ids", "must not decrease along a sequence, but to -1, which is padding up to the end")


def _check_together(arrays: Dict[str, Any]) -> None:
    """One kind, one device, one batch size, one length of keys."""
    named: List[Tuple[str, Any]] = list(arrays.items())
    for name, array in named[1:]:
        first_name, first = named[0]
        if device_name(array) != device_name(first):
            _invalid(name, f"is {device_name(array)}, but {first_name} is {device_name(first)}")
        if array.shape[0] != first.shape[0]:
            _invalid(name, f"has batch {array.shape[0]}, but {first_name} has {first.shape[0]}")
    by_key = [(name, array) for name, array in named if "document_ids" in name or "key_padding_mask" in name]
    for name, array in by_key[1:]:
        if array.shape[1] != by_key[0][1].shape[1]:
            _invalid(name, f"has seqlen_k {array.shape[1]}, but {by_key[0][0]} has {by_key[0][1].shape[1]}")


def _only(name: str, a: Optional[Any], b: Optional[Any]) -> Optional[Any]:
    if a is not None and b is not None and a is not b:
        _invalid(name, "both masks have one, and a call takes one")
    return b if a is None else a


def _document_ids(name: str, lengths: Any, seqlen_k: Optional[int]) -> Any:
    library = module_of(lengths)
    ends = library.cumsum(lengths, 1)
    totals = lengths.sum(1)
    if seqlen_k is None:
        seqlen_k = int(totals.max()) if len(totals) else 0
    else:
        _checked_length("seqlen_k", seqlen_k)
    if broken(lengths, totals > seqlen_k):
        _invalid(name, f"documents have {int(totals.max())} positions in a sequence, but seqlen_k is {seqlen_k}")
    positions = arange(0, seqlen_k, lengths)[None, :]
    if is_torch(lengths):
        many = positions.expand(len(lengths), seqlen_k).contiguous()
        ids = library.searchsorted(ends.contiguous(), many, right=True)
    else:
        ids = empty_ids(len(lengths), seqlen_k)
        for b, bounds in enumerate(ends):
            ids[b] = library.searchsorted(bounds, positions[0], side="right")
    return int32(name, library.where(positions < totals[:, None], ids, -1))
