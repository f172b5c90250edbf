# SPDX-License-Identifier: Apache-2.0
"""Draws masks. Needs matplotlib, which only the package's extra ``plot`` brings."""

from __future__ import annotations

from typing import Any, Optional

from ._mask_arrays import arange, numpy_of
from .errors import InvalidArgument
from .inspect import FULL, PARTIAL, SKIPPED

MOST = 1024  # rows and columns that are drawn
COLOURS = {"skipped": "#e8e8e8", "full": "#3b78b5", "visible": "#f0902b", "hidden": "#fbe3c4"}
PLAIN = {"visible": "#3b78b5", "hidden": "#e8e8e8"}


def draw(
    mask: Any,
    seqlen_q: int,
    seqlen_k: int,
    path: Optional[Any],
    block_m: Optional[int],
    block_n: Optional[int],
    entry: int,
    axes: Optional[Any],
) -> Any:
    """:meth:`Mask.plot`; lengths are checked."""
    try:
        from matplotlib.colors import to_rgb
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ImportError("Mask.plot needs matplotlib: pip install tilewright[plot]") from error
    import numpy as np

    if (block_m is None) != (block_n is None):
        name = "block_m" if block_m is None else "block_n"
        raise InvalidArgument(f"{name}: is None, must be given with the other block size", name)
    entries = 1 if mask.batch is None else mask.batch
    if not 0 <= entry < entries:
        raise InvalidArgument(f"entry: is {entry}, must be in [0, {entries})", "entry")
    if min(seqlen_q, seqlen_k) == 0:
        name = "seqlen_q" if seqlen_q == 0 else "seqlen_k"
        raise InvalidArgument(f"{name}: is 0, must be at least 1 to be drawn", name)

    like = mask._like(None)
    row_step, column_step = -(-seqlen_q // MOST), -(-seqlen_k // MOST)
    rows, columns = arange(0, seqlen_q, like)[::row_step], arange(0, seqlen_k, like)[::column_step]
    seen = numpy_of(mask._visible(rows, columns, seqlen_q, seqlen_k)[entry])
    image = np.empty((*seen.shape, 3), np.float32)
    title = f"{int(seen.sum()) / seen.size:.1%} visible"
    if block_m is None:
        colours = PLAIN
        image[seen], image[~seen] = to_rgb(colours["visible"]), to_rgb(colours["hidden"])
        labels = {name: name for name in colours}
    else:
        colours = COLOURS
        kinds = mask.block_map(seqlen_q, seqlen_k, block_m, block_n).array()[entry]
        cells = kinds[numpy_of(rows)[:, None] // block_m, numpy_of(columns)[None, :] // block_n]
        image[cells == SKIPPED], image[cells == FULL] = to_rgb(colours["skipped"]), to_rgb(colours["full"])
        image[(cells == PARTIAL) & seen] = to_rgb(colours["visible"])
        image[(cells == PARTIAL) & ~seen] = to_rgb(colours["hidden"])
        title += f"; blocks of {block_m} x {block_n}: " + ", ".join(
            f"{int((kinds == kind).sum()) / kinds.size:.0%} {name}"
            for name, kind in (("skipped", SKIPPED), ("full", FULL), ("partial", PARTIAL))
        )
        labels = {
            "skipped": "skipped block",
            "full": "full block",
            "visible": "partial block, visible",
            "hidden": "partial block, hidden",
        }
    if axes is None:
        axes = Figure(figsize=(7.2, 7.8), layout="constrained").add_subplot()
    axes.imshow(image, extent=(0, seqlen_k, seqlen_q, 0), interpolation="nearest", aspect="auto")
    axes.set(xlabel="key position", ylabel="query row")
    axes.set_title(title, fontsize=10)
    patches = [Patch(facecolor=colours[key], edgecolor="#999999", label=label) for key, label in labels.items()]
    axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncol=2, frameon=False)
    figure = axes.get_figure()
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure
