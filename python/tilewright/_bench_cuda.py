# SPDX-License-Identifier: Apache-2.0
"""``python -m tilewright.bench --device cuda``: the forward pass beside other attention functions of PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import platform
import shutil
import statistics
import subprocess
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from . import inspect
from ._bench_cases import TorchCase, make_torch_case
from ._bench_common import STEP, ResultDiffers, head_dims, progress
from ._bench_peers import DEFAULT_PEERS, PEERS, Prepared, Refused, missing_packages, prepare
from .engine import Engine
from .functions import flash_attn_func

_BLOCK = 5  # timed calls before another function has its turn
_CHECKED = 16  # rows at each end of a sequence that are compared with the reference
_LEAD_CYCLES = 4_000_000  # about 2 ms: the device waits so long ahead of a block, while the host queues it
_TRIES = 6  # of a block that the host was too slow for, each with twice the wait


def unavailable(options: argparse.Namespace) -> str:
    """Why nothing can be measured on the device, or ''."""
    try:
        import torch
    except ImportError:
        return f"--device {options.device} needs torch: pip install torch"
    found = inspect.info()["devices"]["cuda"]
    if not found["found"]:
        return f"--device {options.device} needs an NVIDIA GPU and its driver: {found['why']}"
    if not torch.cuda.is_available():
        return f"--device {options.device}: the driver finds devices, but PyTorch {torch.__version__} does not"
    index = device_index(options.device)
    if index >= torch.cuda.device_count():
        return f"--device is {options.device}, but PyTorch sees {torch.cuda.device_count()} CUDA devices, from 0 on"
    if torch.cuda.get_device_capability(index) < (8, 0):
        name = torch.cuda.get_device_name(index)
        return f"--device {options.device} is {name}; compute capability 8.0 or later is needed"
    absent = [] if options.peers is None else missing_packages(options.peers)
    return f"--peers needs {', '.join(absent)}, not installed" if absent else ""


def device_index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def measure_cuda(options: argparse.Namespace) -> Dict[str, Any]:
    """The whole report, as ``--json`` prints it."""
    import torch

    peers = list(DEFAULT_PEERS if options.peers is None else options.peers)
    left_out = {PEERS[name]: "not installed" for name in missing_packages(peers)}
    peers = [name for name in peers if PEERS[name] not in left_out]
    index = device_index(options.device)
    engine = Engine(cache_dir="", schedule=options.schedule, cuda_target=options.cuda_target)
    report: Dict[str, Any] = {
        "machine": machine_facts(torch, engine, index, peers),
        "options": {name: value for name, value in vars(options).items() if name not in ("json", "markdown")},
        "peers": {name: PEERS[name] for name in peers},
        "refused": Refusals(left_out),
    }
    with torch.cuda.device(index), torch.no_grad():
        report["forward"] = list(_forward(options, engine, torch, peers, report["refused"]))
    add_causal_ratios(report["forward"])
    report["machine"]["clocks_after"] = gpu_state(torch, index)
    return report


class Refusals(Dict[str, str]):
    """What peers do not compute, and why, by peer and problem; each reason of a peer is printed once."""

    def add(self, peer: str, problem: str, reason: str) -> None:
        said = any(name.startswith(f"{peer}, ") and other == reason for name, other in self.items())
        self[f"{peer}, {problem}"] = reason
        if not said:
            progress(f"{peer} leaves out {problem}: {reason}")


def machine_facts(torch: Any, engine: Engine, index: int, peers: Sequence[str]) -> Dict[str, Any]:
    info = engine.info()
    packages = []
    for name in peers:
        if name.startswith("flash_attn"):
            module = __import__(name)
            packages.append(f"{name} {getattr(module, '__version__', 'of unknown version')}")
    cudnn = torch.backends.cudnn.version()
    return {
        "gpu": torch.cuda.get_device_name(index),
        "clocks_before": gpu_state(torch, index),
        "tilewright": f"{info['version']}, build {info['build_id']}",
        "llvm": info["llvm"],
        "torch": ", ".join([f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}", *packages]),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def gpu_state(torch: Any, index: int) -> str:
    """Driver, clocks, power and temperature, as nvidia-smi tells them; or why it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown: nvidia-smi was not found"
    fields = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit",
              "temperature.gpu")  # fmt: skip
    device = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
    command = [program, "-i", device, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown: {error}"
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode != 0 or len(values) != len(fields):
        return f"unknown: nvidia-smi said {(done.stdout + done.stderr).strip()!r}"
    driver, sm, most, memory, draw, limit, degrees = values
    return f"driver {driver}, SM {sm} of {most}, memory {memory}, {draw} of {limit}, {degrees} C"


def shape_of(options: argparse.Namespace, case: str, seqlen: int, head_dim: int) -> Tuple[int, int]:
    """Batch and heads: 16k tokens and 2048 channels, or 4 and 16 for a mask, if the options do not say."""
    plain = case in ("dense", "causal")
    batch = options.batch if options.batch is not None else max(1, 16384 // seqlen) if plain else 4
    heads = options.heads if options.heads is not None else max(1, 2048 // head_dim) if plain else 16
    return batch, heads


def _forward(
    options: argparse.Namespace, engine: Engine, torch: Any, peers: Sequence[str], refused: Refusals
) -> Iterator[Dict[str, Any]]:
    for dtype in options.dtype:
        for head_dim in options.head_dim:
            for name in options.cases:
                for seqlen in options.seqlen:
                    batch, heads = shape_of(options, name, seqlen, head_dim)
                    row = {"case": name, "dtype": dtype, "batch": batch, "heads": heads, "seqlen": seqlen,
                           "head_dim": head_dim, "head_dim_v": options.head_dim_v or head_dim}  # fmt: skip
                    problem = Problem.make(options, row, torch)
                    yield {**row, **time_problem(problem, options, engine, peers, refused)}
                    del problem
                    torch.cuda.empty_cache()


class Problem(NamedTuple):
    """One row of the table: its tensors."""

    name: str
    case: TorchCase
    inputs: Tuple[Any, Any, Any]  #: (batch, seqlen, heads, head_dim), v with head_dim_v

    @classmethod
    def make(cls, options: argparse.Namespace, row: Dict[str, Any], torch: Any, device: Any = "cuda") -> "Problem":
        sizes = (("b", "batch"), ("h", "heads"), ("s", "seqlen"))
        name = ", ".join([row["case"], row["dtype"], *(f"{letter} {row[size]}" for letter, size in sizes)])
        name += f", d {head_dims(row)}"
        random = torch.Generator(device).manual_seed(options.seed)
        shape = (row["batch"], row["seqlen"], row["heads"])
        inputs = tuple(
            torch.randn((*shape, row[dims]), generator=random, device=device, dtype=torch.float32).to(
                getattr(torch, row["dtype"])
            )
            for dims in ("head_dim", "head_dim", "head_dim_v")
        )
        case = make_torch_case(
            row["case"], row["batch"], row["seqlen"], options.pairs, options.break_share, torch.device(device)
        )
        return cls(name, case, inputs)


def time_problem(
    problem: Problem, options: argparse.Namespace, engine: Engine, peers: Sequence[str], refused: Refusals
) -> Dict[str, Any]:
    """Raises ResultDiffers if Tilewright's result is wrong; a peer that is wrong, or fails, is left out."""
    case, inputs = problem.case, problem.inputs
    exact = exact_rows(problem)
    ours = Prepared(lambda: flash_attn_func(*inputs, **case.arguments, engine=engine), contextlib.nullcontext, {})
    poisoned = inputs[0].new_full((*inputs[0].shape[:3], inputs[2].shape[3]), float("nan"))
    flash_attn_func(*inputs, **case.arguments, out=poisoned, engine=engine)
    if not bool(poisoned.isfinite().all()):
        raise ResultDiffers(f"Tilewright's result is not finite, or not all was written: {problem.name}")
    functions, errors = {"tilewright": ours}, {"tilewright": check(problem, poisoned, exact, "Tilewright")}
    del poisoned
    for name in peers:
        try:
            prepared = prepare(name, inputs, case, options.flex_mode)
            with prepared.around():
                result = prepared.call()
            errors[name] = check(problem, result, exact, PEERS[name])
            functions[name] = prepared
        except (Refused, ResultDiffers) as error:
            refused.add(PEERS[name], problem.name, str(error))

    times = in_turns(functions, options.repeats)
    flops = 2.0 * (inputs[0].shape[3] + inputs[2].shape[3]) * inputs[0].shape[2] * case.pairs
    row: Dict[str, Any] = {"visible_pairs": case.pairs, "repeats": options.repeats}
    for name, milliseconds in times.items():
        median = statistics.median(milliseconds)
        row[name] = {"ms": median, "ms_min": min(milliseconds), "ms_max": max(milliseconds),
                     "tflops": flops / median / 1e9, "max_error": errors[name], **functions[name].setup}  # fmt: skip
    best = min((name for name in times if name != "tilewright"), key=lambda name: row[name]["ms"], default=None)
    row["best_peer"] = best
    row["ratio"] = None if best is None else row[best]["ms"] / row["tilewright"]["ms"]
    row["key"] = inspect.plan(*inputs, **case.arguments, engine=engine)["steps"][-1]["key"]
    rates = ", ".join(f"{PEERS[name]} {row[name]['tflops']:.0f}" for name in times if name != "tilewright")
    progress(f"{problem.name}: {row['tilewright']['tflops']:.0f} TFLOP/s" + (f"; {rates}" if rates else ""))
    return row


def checked_rows(seqlen: int) -> List[slice]:
    rows = min(_CHECKED, seqlen)
    return [slice(0, rows), slice(seqlen - rows, seqlen)]


def exact_rows(problem: Problem) -> List[Any]:
    """The first and the last rows in float64, from the definition: each (batch, heads, rows, head_dim_v)."""
    q, k, v = (x.transpose(1, 2) for x in problem.inputs)
    keys, values = k.double(), v.double()
    found = []
    for rows in checked_rows(q.shape[2]):
        scores = q[:, :, rows].double() @ keys.transpose(2, 3) * q.shape[3] ** -0.5
        scores = scores.masked_fill(~problem.case.visible(rows), float("-inf"))
        found.append(scores.softmax(-1) @ values)
    return found


def check(problem: Problem, out: Any, exact: List[Any], whose: str) -> float:
    """Largest error of the first and last rows. Raises ResultDiffers if it is too large."""
    # One rounding step of the weights, which are kept in the inputs' type, a few of the result, float32 sums.
    largest_value = float(problem.inputs[2].abs().max())
    limit = 2 * STEP[str(out.dtype).replace("torch.", "")] * largest_value + 64 * 2.0**-23
    largest = 0.0
    for rows, right in zip(checked_rows(out.shape[1]), exact):
        error = float((out[:, rows].transpose(1, 2).double() - right).abs().max())
        if not error <= limit:  # NaN fails too
            raise ResultDiffers(
                f"{whose}'s result is wrong, and its time worthless: {problem.name}: error {error:.2e} against "
                f"float64, limit {limit:.2e}"
            )
        largest = max(largest, error)
    return largest


def in_turns(functions: Dict[str, Prepared], repeats: int) -> Dict[str, List[float]]:
    """Milliseconds of ``repeats`` calls of each function, by events.

    They take turns in short blocks, so that a change of the GPU's clock meets all of them.
    """
    times: Dict[str, List[float]] = {name: [] for name in functions}
    while any(len(done) < repeats for done in times.values()):
        for name, function in functions.items():
            times[name] += _block(function, min(_BLOCK, repeats - len(times[name])))
    return times


def _block(function: Prepared, count: int) -> List[float]:
    """Milliseconds of ``count`` calls, after one that is not timed.

    The block is queued while the device waits, so what is timed is the device's work, not how soon the host sends it.
    If the device was done waiting before all was queued (a host with other work), the block does not count.
    """
    import torch

    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    for attempt in range(_TRIES):
        with function.around():
            torch.cuda._sleep(_LEAD_CYCLES << attempt)
            function.call()
            for start, end in events:
                start.record()
                function.call()
                end.record()
        in_time = not events[0][0].query()
        torch.cuda.synchronize()
        if in_time:
            break
    return [start.elapsed_time(end) for start, end in events]


def add_causal_ratios(rows: List[Dict[str, Any]]) -> None:
    """To each row of a mask: Tilewright's rate by that of the causal case of the same size, if that was timed too."""
    sizes = ("dtype", "batch", "heads", "seqlen", "head_dim")
    causal = {tuple(row[name] for name in sizes): row for row in rows if row["case"] == "causal"}
    for row in rows:
        base = causal.get(tuple(row[name] for name in sizes))
        if base is not None and row["case"] not in ("dense", "causal"):
            row["by_causal"] = row["tilewright"]["tflops"] / base["tilewright"]["tflops"]
