# SPDX-License-Identifier: Apache-2.0
"""``python -m tilewright.bench``: times of this machine, beside PyTorch's in the same run.

Three tables: the forward pass against PyTorch's attention on the CPU, the time of every compile stage, and what a call
costs when there is next to nothing to compute. Each is preceded by the facts of the machine, for a time means nothing
without them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import inspect, masks, reference
from ._arguments import bounded
from .engine import Engine
from .errors import TilewrightError
from .functions import flash_attn_func

CASES = ("dense", "causal", "glm_break", "glm_packed")
DTYPES = ("float32", "float16", "bfloat16")
SECTIONS = ("forward", "compile", "call")

_STEP = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_BLOCK = 5  # timed calls before another function has its turn
_BUSY = 0.5  # load average from which on somebody else's work is in the times


class Case(NamedTuple):
    """A mask, as Tilewright takes it and as PyTorch does."""

    name: str
    causal: bool
    glm_mask: Any  # int32, or None
    dense: Any  # bool (batch, seqlen, seqlen), True is visible; None where PyTorch needs no mask tensor
    pairs: int  # visible (query, key) pairs of a head, over the batch


class ResultDiffers(Exception):
    """A result that was to be timed is wrong."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measures and prints. Returns the exit status: 0, 1 if a result is wrong or an error occurred, 2 if something
    needed is missing."""
    options = _parser().parse_args(argv)
    problem = _missing(options)
    if problem:
        print(f"tilewright.bench: {problem}", file=sys.stderr)
        return 2
    torch = None
    if not options.no_torch and importlib.util.find_spec("torch") is not None:
        import torch
    try:
        report = measure(options, torch)
    except (ResultDiffers, TilewrightError) as error:
        print(f"tilewright.bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(text_report(report, options.markdown), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tilewright.bench",
        description="Measures Tilewright on this machine: the forward pass beside PyTorch's CPU attention in the same "
        "process, the stages of a compile, and the cost of a small call. Tables go to standard output, progress to "
        "standard error. Kernels are compiled into memory: no cache folder is read or written.",
        epilog="Every time is a median after untimed calls. GFLOP/s counts 4 * head_dim operations for each visible "
        "(query, key) pair, for PyTorch as well. 'ratio' is PyTorch's time by Tilewright's: above 1, Tilewright is "
        "faster. PyTorch gets contiguous (batch, heads, seqlen, head_dim) tensors, is_causal for the causal case and a "
        "bool mask for the GLM cases. Before anything is timed, both results are compared with the float64 reference. "
        "Exit status: 0 done; 1 a result is wrong or an error occurred; 2 something needed is missing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    everything = ",".join(SECTIONS)
    parser.add_argument(
        "--sections", type=_choices(SECTIONS), default=everything, metavar="LIST", help=_listed("tables", SECTIONS)
    )
    parser.add_argument("--threads", type=bounded(0), default=0, metavar="N", help="of both; 0: the CPUs available")
    parser.add_argument(
        "--schedule",
        default=argparse.SUPPRESS,
        metavar="TEXT",
        help="schedule of every forward kernel, such as kq:64x64:8x2 (default: the schedule table's choice)",
    )
    parser.add_argument(
        "--cpu-level",
        default=argparse.SUPPRESS,
        metavar="LEVEL",
        help="x86-64-v2, x86-64-v3 or x86-64-v4 (default: the best of this machine)",
    )
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch, even if it is installed")
    parser.add_argument("--seed", type=bounded(0), default=0, metavar="N", help="of the random inputs")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    output.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    forward = parser.add_argument_group("table 'forward'")
    forward.add_argument(
        "--cases", type=_choices(CASES), default=",".join(CASES), metavar="LIST", help=_listed("masks", CASES)
    )
    forward.add_argument(
        "--dtype", type=_choices(DTYPES), default="float32", metavar="LIST", help=_listed("types", DTYPES)
    )
    forward.add_argument("--batch", type=bounded(1), default=1, metavar="N", help="sequences")
    forward.add_argument("--heads", type=bounded(1), default=8, metavar="N", help="heads")
    forward.add_argument("--seqlen", type=_numbers(1), default="512,2048", metavar="LIST", help="queries, and keys")
    forward.add_argument(
        "--head-dim", type=_numbers(1, 256), default="64,128", metavar="LIST", help="dimensions of a head, 1 to 256"
    )
    forward.add_argument(
        "--pairs", type=bounded(1), default=8, metavar="N", help="samples of a packed GLM sequence, each half context"
    )
    forward.add_argument("--repeats", type=bounded(1), default=15, metavar="N", help="timed calls of each")

    compiling = parser.add_argument_group("table 'compile'")
    compiling.add_argument(
        "--compile-head-dim", type=_numbers(1, 256), default="32,64,72,128,256", metavar="LIST", help="head dims"
    )
    compiling.add_argument(
        "--compile-cases", type=_choices(CASES), default="causal", metavar="LIST", help=_listed("masks", CASES)
    )
    compiling.add_argument(
        "--compile-repeats", type=bounded(1), default=5, metavar="N", help="compiles of each kernel"
    )

    calling = parser.add_argument_group("table 'call'")
    calling.add_argument("--calls", type=bounded(10), default=5000, metavar="N", help="timed calls of each")
    return parser


def _numbers(low: int, high: Optional[int] = None) -> Callable[[str], List[int]]:
    one = bounded(low, high)

    def parse(text: str) -> List[int]:
        return [one(part) for part in text.split(",")]

    parse.__name__ = "list of int"
    return parse


def _choices(allowed: Sequence[str]) -> Callable[[str], List[str]]:
    def parse(text: str) -> List[str]:
        parts = text.split(",")
        for part in parts:
            if part not in allowed:
                raise argparse.ArgumentTypeError(f"has {part!r}; expected some of {','.join(allowed)}")
        return parts

    return parse


def _listed(what: str, allowed: Sequence[str]) -> str:
    return f"{what}, separated by commas: some of {', '.join(allowed)}"


def _missing(options: argparse.Namespace) -> str:
    """What keeps the measurement from running, or ''."""
    needed = ["numpy"] + (["ml_dtypes"] if "bfloat16" in options.dtype and "forward" in options.sections else [])
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}: pip install {' '.join(absent)}" if absent else ""


# --- Measuring ---------------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace, torch: Any) -> Dict[str, Any]:
    """The whole report, as ``--json`` prints it. ``torch`` is the package, or None."""
    engine = Engine(
        cache_dir="",
        num_threads=options.threads,
        cpu_level=getattr(options, "cpu_level", None),
        schedule=getattr(options, "schedule", None),
    )
    threads = engine.info()["devices"]["cpu"]["threads"]
    if torch is not None:
        torch.set_num_threads(threads)
    machine = machine_facts(engine, torch, options.no_torch)
    if machine["load_average_before"] >= _BUSY:
        # Seen on two busy cores: 16 ms instead of 0.2 ms for a small problem.
        _progress(
            f"warning: the load average is {machine['load_average_before']}: other programs are running. PyTorch's "
            "threads wait for each other at the end of every parallel loop and suffer most: the ratios mean nothing"
        )
    report: Dict[str, Any] = {
        "machine": machine,
        "options": {name: value for name, value in vars(options).items() if name not in ("json", "markdown")},
    }
    if "compile" in options.sections:  # first: its first compile is the first of the process
        report["compile"] = list(measure_compile(options, engine))
    if "forward" in options.sections:
        report["forward"] = list(measure_forward(options, engine, torch))
    if "call" in options.sections:
        report["call"] = measure_call(options, engine, torch)
    return report


def machine_facts(engine: Engine, torch: Any, torch_unwanted: bool) -> Dict[str, Any]:
    import numpy as np

    info = engine.info()
    cpu = info["devices"]["cpu"]
    if torch is not None:
        torch_text = f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    else:
        torch_text = "left out" if torch_unwanted else "not installed: no comparison"
    return {
        "cpu": _cpu_model(),
        "cpus_available": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 2),
        "threads": cpu["threads"],
        "tilewright": f"{info['version']}, build {info['build_id']}, compiles for {cpu['level']}",
        "llvm": info["llvm"],
        "torch": torch_text,
        "python": f"{platform.python_version()}, numpy {np.__version__}",
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def in_turns(functions: Dict[str, Callable[[], Any]], repeats: int) -> Dict[str, List[float]]:
    """Seconds of ``repeats`` calls of each function.

    They take turns in short blocks, so that a slow spell of the machine meets all of them. Each block starts with an
    untimed call: the previous function's threads may still be spinning, and its data is in the caches.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in functions}
    while any(len(times) < repeats for times in seconds.values()):
        for name, function in functions.items():
            function()
            for _ in range(min(_BLOCK, repeats - len(seconds[name]))):
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def make_case(name: str, batch: int, seqlen: int, samples: int) -> Case:
    """``samples`` is the number of equal samples in a packed sequence."""
    import numpy as np

    if name == "dense":
        return Case(name, False, None, None, batch * seqlen * seqlen)
    if name == "causal":
        return Case(name, True, None, None, batch * seqlen * (seqlen + 1) // 2)
    if name == "glm_break":
        glm_mask = np.full(batch, seqlen // 2, np.int32)
    else:
        bounds = [seqlen * n // samples for n in range(samples + 1)]
        lengths = [end - start for start, end in zip(bounds, bounds[1:])]
        glm_mask = masks.pack_pairs([[masks.Sample(n // 2, n - n // 2) for n in lengths]] * batch)
    dense = masks.dense_mask(glm_mask, seqlen, seqlen)
    return Case(name, True, glm_mask, dense, int(dense.sum()))


def measure_forward(options: argparse.Namespace, engine: Engine, torch: Any):
    import numpy as np

    for dtype_name in options.dtype:
        if dtype_name == "bfloat16":
            import ml_dtypes

            dtype = np.dtype(ml_dtypes.bfloat16)
        else:
            dtype = np.dtype(dtype_name)
        for seqlen in options.seqlen:
            cases = [make_case(name, options.batch, seqlen, options.pairs) for name in options.cases]
            for head_dim in options.head_dim:
                rng = np.random.default_rng(options.seed)
                shape = (options.batch, seqlen, options.heads, head_dim)
                inputs = tuple(rng.standard_normal(shape, np.float32).astype(dtype) for _ in "qkv")
                for case in cases:
                    _progress(f"forward: {case.name}, {dtype_name}, seqlen {seqlen}, head_dim {head_dim}")
                    row = {"case": case.name, "dtype": dtype_name, "batch": options.batch, "heads": options.heads,
                           "seqlen": seqlen, "head_dim": head_dim}  # fmt: skip
                    yield {**row, **time_forward(inputs, case, options.repeats, engine, torch)}


def time_forward(inputs: Tuple[Any, Any, Any], case: Case, repeats: int, engine: Engine, torch: Any) -> Dict[str, Any]:
    """One row of the table. Raises ResultDiffers if there is nothing worth timing."""
    import numpy as np

    q, k, v = inputs
    mask = {"causal": case.causal, "glm_mask": case.glm_mask}
    out = np.full(q.shape, np.nan, q.dtype)
    functions: Dict[str, Callable[[], Any]] = {"tilewright": lambda: flash_attn_func(*inputs, **mask, engine=engine)}
    flash_attn_func(*inputs, **mask, out=out, engine=engine)
    errors = {"tilewright": check(case, inputs, out, "Tilewright")}
    if torch is not None:
        functions["torch"] = torch_attention(torch, inputs, case)
        errors["torch"] = check(case, inputs, to_numpy(functions["torch"](), q.dtype), "PyTorch")
    seconds = in_turns(functions, repeats)

    flops = 4.0 * q.shape[3] * q.shape[2] * case.pairs
    row: Dict[str, Any] = {"visible_pairs": case.pairs, "repeats": repeats}
    for name, times in seconds.items():
        median = statistics.median(times)
        row[name] = {"ms": median * 1e3, "ms_min": min(times) * 1e3, "ms_max": max(times) * 1e3,
                     "gflops": flops / median / 1e9, "max_error": errors[name]}  # fmt: skip
    row["ratio"] = row["torch"]["ms"] / row["tilewright"]["ms"] if torch is not None else None
    row["key"] = inspect.plan(*inputs, **mask, engine=engine)["steps"][-1]["key"]
    return row


def torch_attention(torch: Any, inputs: Tuple[Any, Any, Any], case: Case) -> Callable[[], Any]:
    import numpy as np

    def tensor(array: Any) -> Any:
        array = np.ascontiguousarray(array.transpose(0, 2, 1, 3))
        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    q, k, v = (tensor(array) for array in inputs)
    mask = None if case.dense is None else torch.from_numpy(case.dense)[:, None]
    is_causal = case.name == "causal"
    attention = torch.nn.functional.scaled_dot_product_attention

    def run() -> Any:
        with torch.no_grad():
            return attention(q, k, v, attn_mask=mask, is_causal=is_causal)

    return run


def to_numpy(out: Any, dtype: Any) -> Any:
    """A torch result as a NumPy array of ``dtype``, (batch, seqlen, heads, head_dim)."""
    import torch

    out = out.transpose(1, 2).contiguous()
    return out.view(torch.int16).numpy().view(dtype) if dtype.name == "bfloat16" else out.numpy()


def check(case: Case, inputs: Tuple[Any, Any, Any], out: Any, whose: str) -> float:
    """Largest error of the first and last rows against the float64 reference."""
    import numpy as np

    q, k, v = inputs
    rows = min(16, q.shape[1])
    step = _STEP[q.dtype.name]
    # One rounding step of the weights (which PyTorch keeps in the inputs' type), a few of the result, float32 sums.
    limit = 2 * step * float(np.abs(v.astype(np.float32)).max()) + 64 * 2.0**-23
    largest = 0.0
    for part, align in ((slice(0, rows), "top_left"), (slice(q.shape[1] - rows, None), "bottom_right")):
        exact = reference.attention(q[:, part], k, v, causal=case.causal, glm_mask=case.glm_mask, causal_align=align)
        error = float(np.abs(out[:, part].astype(np.float64) - exact).max())
        if not error <= limit:  # NaN fails too
            raise ResultDiffers(
                f"{whose}'s result is wrong, and its time worthless: {case.name}, {q.dtype.name}, shape {q.shape}: "
                f"error {error:.2e} against the float64 reference, limit {limit:.2e}"
            )
        largest = max(largest, error)
    return largest


def measure_compile(options: argparse.Namespace, engine: Engine):
    import numpy as np

    for name in options.compile_cases:
        case = make_case(name, 1, 64, 1)
        for head_dim in options.compile_head_dim:
            _progress(f"compile: {name}, head_dim {head_dim}")
            q = np.zeros((1, 64, 1, head_dim), np.float32)
            key = inspect.plan(q, q, q, causal=case.causal, glm_mask=case.glm_mask, engine=engine)["steps"][-1]["key"]
            runs = [inspect.compile(key, "obj").stage_ms for _ in range(options.compile_repeats)]
            totals = [sum(stages.values()) for stages in runs]
            yield {
                "case": name,
                "head_dim": head_dim,
                "repeats": options.compile_repeats,
                "first_ms": totals[0],
                "total_ms": statistics.median(totals),
                "stages_ms": {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]},
                "key": key,
            }


def measure_call(options: argparse.Namespace, engine: Engine, torch: Any) -> List[Dict[str, Any]]:
    import numpy as np

    _progress("call")
    q = np.random.default_rng(options.seed).standard_normal((1, 1, 1, 16), np.float32)
    out = np.empty_like(q)
    functions: Dict[str, Callable[[], Any]] = {
        "Tilewright, NumPy": lambda: flash_attn_func(q, q, q, engine=engine),
        "Tilewright, NumPy, out given": lambda: flash_attn_func(q, q, q, out=out, engine=engine),
    }
    if torch is not None:
        tensor, torch_out = torch.from_numpy(q), torch.from_numpy(out)
        functions["Tilewright, torch"] = lambda: flash_attn_func(tensor, tensor, tensor, engine=engine)
        functions["Tilewright, torch, out given"] = lambda: flash_attn_func(
            tensor, tensor, tensor, out=torch_out, engine=engine
        )
        functions["PyTorch SDPA"] = lambda: torch.nn.functional.scaled_dot_product_attention(tensor, tensor, tensor)
    groups, size = 10, options.calls // 10

    def group_of(function: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(size):
                function()

        return run

    seconds = in_turns({name: group_of(function) for name, function in functions.items()}, groups)
    return [
        {"what": name, "calls": groups * size, "us": statistics.median(times) / size * 1e6}
        for name, times in seconds.items()
    ]


def _progress(what: str) -> None:
    print(f"tilewright.bench: {what}", file=sys.stderr, flush=True)


# --- Printing ----------------------------------------------------------------------------------------------------


def text_report(report: Dict[str, Any], markdown: bool) -> str:
    """The tables, aligned for a terminal or as Markdown."""
    parts = [_facts(report["machine"], markdown)]
    if "forward" in report:
        parts.append(_table("Forward", _forward_rows(report), markdown))
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


def _compile_rows(compiled: List[Dict[str, Any]]) -> List[List[str]]:
    stages = list(compiled[0]["stages_ms"])
    rows = [["case", "d", *stages, "total", "first"]]
    for row in compiled:
        times = [*(row["stages_ms"][stage] for stage in stages), row["total_ms"], row["first_ms"]]
        rows.append([row["case"], str(row["head_dim"]), *(f"{ms:.1f}" for ms in times)])
    return rows


def _table(title: str, rows: List[List[str]], markdown: bool) -> str:
    left = [index for index, name in enumerate(rows[0]) if name in ("case", "dtype") or name.startswith("call of")]
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


if __name__ == "__main__":
    sys.exit(main())
