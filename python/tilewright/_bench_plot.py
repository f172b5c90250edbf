# SPDX-License-Identifier: Apache-2.0
"""Draws the forward table of ``python -m tilewright.bench``. Needs matplotlib, which the extra ``plot`` brings."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Tuple

from ._bench_common import head_dims
from ._bench_peers import PEERS

OURS = "#3b78b5"
OTHERS = ("#f0902b", "#5aa469", "#b5533b", "#8d6cab", "#8a8a8a", "#c9a227", "#4bb3b3")


def problem_with(path: str) -> str:
    """What keeps a plot from being written to the file, or ''. Asked before anything is measured."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        return "--plot needs matplotlib: pip install tilewright[plot]"
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        return f"--plot is {path!r}, but there is no folder {folder!r}"
    ending = os.path.splitext(path)[1][1:].lower()
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    return "" if ending in known else f"--plot is {path!r}; expected a name that ends in one of {', '.join(known)}"


def panels(report: Dict[str, Any]) -> Dict[Tuple[str, str, str], Dict[str, List[Tuple[int, float]]]]:
    """(dtype, head dims, case) to: name of a function to its (seqlen, TFLOP/s), by seqlen."""
    found: Dict[Tuple[str, str, str], Dict[str, List[Tuple[int, float]]]] = {}
    for row in report["forward"]:
        panel = found.setdefault((row["dtype"], head_dims(row), row["case"]), {})
        for name, label in (("tilewright", "Tilewright"), ("torch", "PyTorch SDPA"), *PEERS.items()):
            if row.get(name) is not None:
                rate = row[name]["tflops"] if "tflops" in row[name] else row[name]["gflops"] / 1e3
                panel.setdefault(label, []).append((row["seqlen"], rate))
    for lines in found.values():
        for points in lines.values():
            points.sort()
    return found


def draw(report: Dict[str, Any], path: str) -> None:
    """TFLOP/s against seqlen, a panel for each head dim and mask; the file's type is by its ending."""
    from matplotlib.figure import Figure

    found = panels(report)
    # A column for each mask, a row for each head dim (and type).
    columns = list(dict.fromkeys(case for _, _, case in found))
    rows = list(dict.fromkeys((dtype, dims) for dtype, dims, _ in found))
    figure = Figure(figsize=(3.4 * len(columns) + 0.6, 2.7 * len(rows) + 1.0), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    names = list(dict.fromkeys(name for lines in found.values() for name in lines))
    colours = {name: OURS if name == "Tilewright" else OTHERS[(n - 1) % len(OTHERS)] for n, name in enumerate(names)}
    handles: Dict[str, Any] = {}
    for (dtype, dims, case), lines in found.items():
        axes = grid[rows.index((dtype, dims))][columns.index(case)]
        for name, points in lines.items():
            width = 2.2 if name == "Tilewright" else 1.4
            (line,) = axes.plot(*zip(*points), marker="o", markersize=4, color=colours[name], linewidth=width)
            handles[name] = line
        lengths = sorted({seqlen for points in lines.values() for seqlen, _ in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [f"{n // 1024}k" if n % 1024 == 0 else str(n) for n in lengths])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_title(f"d {dims}, {case}" + (f", {dtype}" if len({t for t, _ in rows}) > 1 else ""), fontsize=10)
        axes.grid(alpha=0.3)
    for row in grid:
        row[0].set_ylabel("TFLOP/s")
    for axes in grid[-1]:
        axes.set_xlabel("seqlen")
    for row in grid:
        for axes in row:
            axes.set_visible(axes.has_data())
    machine = report["machine"]
    figure.suptitle(f"{machine.get('gpu', machine.get('cpu'))}, {machine['date']}", fontsize=10)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
