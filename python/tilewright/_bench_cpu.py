# SPDX-License-Identifier: Apache-2.0
"""``python -m tilewright.bench`` on the CPU: the forward pass beside PyTorch's, compile stages, the cost of a call."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from . import inspect, masks, reference
from ._bench_common import STEP, ResultDiffers, progress
from .engine import Engine
from .functions import flash_attn_func

_BLOCK = 5  # timed calls before another function has its turn
_BUSY = 0.5  # load average from which on somebody else's work is in the times


class Case(NamedTuple):
    """A mask, as Tilewright takes it and as PyTorch does."""

    name: str
    causal: bool
    glm_mask: Any  # int32, or None
    dense: Any  # bool (batch, seqlen, seqlen), True is visible; None where PyTorch needs no mask tensor
    pairs: int  # visible (query, key) pairs of a head, over the batch


def measure(options: argparse.Namespace, torch: Any) -> Dict[str, Any]:
    """The whole report, as ``--json`` prints it. ``torch`` is the package, or None."""
    engine = Engine(
        cache_dir="",
        num_threads=options.threads,
        cpu_level=options.cpu_level,
        schedule=options.schedule,
    )
    threads = engine.info()["devices"]["cpu"]["threads"]
    if torch is not None:
        torch.set_num_threads(threads)
    machine = machine_facts(engine, torch, options.no_torch)
    if machine["load_average_before"] >= _BUSY:
        # Seen on two busy cores: 16 ms instead of 0.2 ms for a small problem.
        progress(
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
                    progress(f"forward: {case.name}, {dtype_name}, seqlen {seqlen}, head_dim {head_dim}")
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
    step = STEP[q.dtype.name]
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
            progress(f"compile: {name}, head_dim {head_dim}")
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

    progress("call")
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
