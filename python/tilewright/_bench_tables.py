# SPDX-License-Identifier: Apache-2.0
"""The reports of ``python -m tilewright.bench`` as text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from typing import Any, Dict, List

from ._bench_common import head_dims

_LEFT = ("case", "dtype", "schedule")  # columns of words


def text_report(report: Dict[str, Any], markdown: bool) -> str:
    """The tables, aligned for a terminal or as Markdown."""
    parts = [_facts(report["machine"], markdown)]
    if "forward" in report:
        rows = _cuda_rows(report) if "peers" in report else _forward_rows(report)
        parts.append(_table("Forward, TFLOP/s" if "peers" in report else "Forward", rows, markdown))
    if report.get("refused"):
        parts.append(_refusals(report["refused"], markdown))
    if "compile" in report:
        parts.append(_table("Compile, ms a stage", _compile_rows(report["compile"]), markdown))
    if "call" in report:
        rows = [["call of (1, 1, 1, 16)", "us"], *([row["what"], f"{row['us']:.1f}"] for row in report["call"])]
        parts.append(_table("Cost of a call", rows, markdown))
    return "\n".join(parts)


def _facts(machine: Dict[str, Any], markdown: bool) -> str:
    if markdown:
        return "".join(f"- {name.replace('_', ' ')}: {value}\n" for name, value in machine.items())
    width = max(map(len, machine))
    return "".join(f"{name.replace('_', ' '):<{width}}  {value}\n" for name, value in machine.items())


def _forward_rows(report: Dict[str, Any]) -> List[List[str]]:
    compared = any(row["ratio"] is not None for row in report["forward"])
    header = ["case", "dtype", "b", "h", "s", "d", "ms", "GFLOP/s"]
    rows = [header + (["torch ms", "torch GFLOP/s", "ratio"] if compared else [])]
    for row in report["forward"]:
        ours, theirs = row["tilewright"], row.get("torch")
        cells = [row["case"], row["dtype"], *(str(row[name]) for name in ("batch", "heads", "seqlen", "head_dim"))]
        cells += [f"{ours['ms']:.2f}", f"{ours['gflops']:.1f}"]
        if compared:
            cells += [f"{theirs['ms']:.2f}", f"{theirs['gflops']:.1f}", f"{row['ratio']:.2f}"]
        rows.append(cells)
    return rows


def _cuda_rows(report: Dict[str, Any]) -> List[List[str]]:
    """TFLOP/s of each function; an empty cell where a peer has no figure."""
    rows, peers = report["forward"], report["peers"]
    causal = any("by_causal" in row for row in rows)
    header = ["case", "dtype", "b", "h", "s", "d", *peers.values(), "Tilewright", "ms", *(["ratio"] if peers else [])]
    table = [header + (["by causal"] if causal else []) + ["schedule"]]
    for row in rows:
        cells = [row["case"], row["dtype"], *(str(row[name]) for name in ("batch", "heads", "seqlen")), head_dims(row)]
        cells += [f"{row[name]['tflops']:.0f}" if name in row else "" for name in peers]
        cells += [f"{row['tilewright']['tflops']:.0f}", f"{row['tilewright']['ms']:.3f}"]
        if peers:
            cells.append("" if row["ratio"] is None else f"{row['ratio']:.2f}")
        if causal:
            cells.append(f"{row['by_causal']:.2f}" if "by_causal" in row else "")
        key = dict(field.split("=", 1) for field in row["key"].split() if "=" in field)
        table.append([*cells, f"{key['target'].split(':')[0]} {key['schedule']}"])
    return table


def _refusals(refused: Dict[str, str], markdown: bool) -> str:
    """Which peers have no figure for which problems, by reason."""
    by_reason: Dict[str, List[str]] = {}
    for what, reason in refused.items():
        by_reason.setdefault(reason, []).append(what)
    lines = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"- {names[0]}{more}: {reason}\n")
    return ("### Left out\n\n" if markdown else "Left out\n") + "".join(lines)


def _compile_rows(compiled: List[Dict[str, Any]]) -> List[List[str]]:
    stages = list(compiled[0]["stages_ms"])
    rows = [["case", "d", *stages, "total", "first"]]
    for row in compiled:
        times = [*(row["stages_ms"][stage] for stage in stages), row["total_ms"], row["first_ms"]]
        rows.append([row["case"], str(row["head_dim"]), *(f"{ms:.1f}" for ms in times)])
    return rows


def _table(title: str, rows: List[List[str]], markdown: bool) -> str:
    left = [index for index, name in enumerate(rows[0]) if name in _LEFT or name.startswith("call of")]
    if markdown:
        rule = ["---" if index in left else "--:" for index in range(len(rows[0]))]
        lines = ["| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:])]
        return f"### {title}\n\n" + "\n".join(lines) + "\n"
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        lines.append("  " + "  ".join(cells).rstrip() + "\n")
    return f"{title}\n" + "".join(lines)
