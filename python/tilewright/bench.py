# SPDX-License-Identifier: Apache-2.0
"""``python -m tilewright.bench``: times of this machine, beside other attention functions in the same run.

On the CPU three tables: the forward pass against PyTorch's attention, the time of every compile stage, and what a call
costs when there is next to nothing to compute. On a CUDA device one: the forward pass beside PyTorch's backends,
FlexAttention and FlashAttention. Each is preceded by the facts of the machine, for a time means nothing without them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import _bench_plot
from ._arguments import bounded
from ._bench_common import CASES, CUDA_CASES, ResultDiffers
from ._bench_cpu import measure
from ._bench_cuda import measure_cuda, unavailable
from ._bench_peers import DEFAULT_PEERS, FLEX_MODES, PEERS
from ._bench_tables import text_report
from .errors import TilewrightError

DTYPES = ("float32", "float16", "bfloat16")
SECTIONS = ("forward", "compile", "call")

#: What options are if they are not given, by the kind of device; one that a device has no entry for is not for it.
DEFAULTS: Dict[str, Dict[str, Any]] = {
    "cpu": {
        "sections": ",".join(SECTIONS),
        "threads": 0,
        "cpu_level": None,
        "no_torch": False,
        "cases": ",".join(CASES),
        "dtype": "float32",
        "batch": 1,
        "heads": 8,
        "seqlen": "512,2048",
        "repeats": 15,
        "compile_head_dim": "32,64,72,128,256",
        "compile_cases": "causal",
        "compile_repeats": 5,
        "calls": 5000,
    },
    "cuda": {
        "cases": ",".join(CASES),
        "dtype": "bfloat16",
        "batch": None,
        "heads": None,
        "head_dim_v": None,
        "seqlen": "512,1024,2048,4096,8192,16384",
        "repeats": 20,
        "break_share": 0.5,
        "peers": None,
        "flex_mode": "default",
        "cuda_target": None,
    },
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measures and prints. Returns the exit status: 0, 1 if a result is wrong or an error occurred, 2 if something
    needed is missing."""
    parser = _parser()
    options = parser.parse_args(argv)
    cuda = options.device != "cpu"
    _complete(parser, options)
    problem = unavailable(options) if cuda else _missing(options)
    if not problem and options.plot is not None:
        problem = _bench_plot.problem_with(options.plot)
    if problem:
        print(f"tilewright.bench: {problem}", file=sys.stderr)
        return 2
    try:
        report = measure_cuda(options) if cuda else measure(options, _torch(options))
    except (ResultDiffers, TilewrightError) as error:
        print(f"tilewright.bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(text_report(report, options.markdown), end="")
    if options.plot is not None:
        sys.stdout.flush()
        _bench_plot.draw(report, options.plot)
    return 0


def _torch(options: argparse.Namespace) -> Any:
    """The package for comparison, or None."""
    if options.no_torch or importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tilewright.bench",
        description="Measures Tilewright on this machine. On the CPU: the forward pass beside PyTorch's CPU attention "
        "in the same process, the stages of a compile, and the cost of a small call. On a CUDA device: the forward "
        "pass beside the backends of PyTorch's attention, FlexAttention, and FlashAttention. Tables go to standard "
        "output, progress to standard error. Kernels are compiled into memory: no cache folder is read or written.",
        epilog="Every time is a median after untimed calls; on CUDA devices of events, calls queued without waiting in "
        "between. GFLOP/s and TFLOP/s count 2 * (head_dim + head_dim_v) operations for each visible (query, key) "
        "pair, for the others as well. 'ratio' is PyTorch's time, or that of the best peer, by Tilewright's: above 1, "
        "Tilewright is faster. "
        "On the CPU PyTorch gets contiguous (batch, heads, seqlen, head_dim) tensors, is_causal for the causal case, a "
        "bool mask for the GLM cases. On CUDA devices its backends get transposed views of Tilewright's tensors, and a "
        "bool mask where they take one; FlexAttention gets contiguous ones of its layout and a block mask made "
        "beforehand, and is compiled for each length. A peer that refuses a problem, or is wrong, says why on standard "
        "error and has no figure. Before anything is timed, all results are compared with attention in float64. "
        "Exit status: 0 done; 1 a result is wrong or an error occurred; 2 something needed is missing, such as a GPU.",
    )
    parser.add_argument("--device", type=_device, default="cpu", metavar="DEVICE",
                        help="cpu, cuda or cuda:N (default: cpu)")  # fmt: skip
    add = _adder(parser)
    add("--schedule", default=None, metavar="TEXT", help="schedule of every forward kernel, such as kq:64x64:8x2, on "
        "CUDA devices qk:128x128:g2:s2 (default: the schedule table's choice)")  # fmt: skip
    add("--seed", type=bounded(0), default=0, metavar="N", help="of the random inputs")
    add("--plot", default=None, metavar="FILE",
        help="draw TFLOP/s against seqlen, a panel for each head dim and mask, to a .png, .svg or .pdf file; needs "
        "matplotlib")  # fmt: skip
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    output.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    add = _adder(parser.add_argument_group("table 'forward'"))
    add("--cases", type=_choices(CUDA_CASES), metavar="LIST",
        help=_listed("masks", CUDA_CASES) + "; on the CPU the first four")  # fmt: skip
    add("--dtype", type=_choices(DTYPES), metavar="LIST",
        help=_listed("types", DTYPES) + "; on CUDA devices the last two")  # fmt: skip
    add("--batch", type=bounded(1), metavar="N", help="sequences",
        cuda="for dense and causal, so many that there are 16384 tokens; for masks 4")  # fmt: skip
    add("--heads", type=bounded(1), metavar="N", help="heads",
        cuda="for dense and causal, so many that there are 2048 channels; for masks 16")  # fmt: skip
    add("--seqlen", type=_numbers(1), metavar="LIST", help="queries, and keys")
    add("--head-dim", type=_numbers(1, 256), default="64,128", metavar="LIST", help="dimensions of a head, 1 to 256")
    add("--pairs", type=bounded(1), default=8, metavar="N",
        help="samples of a packed GLM sequence, each half context; documents of a sequence")  # fmt: skip
    add("--repeats", type=bounded(1), metavar="N", help="timed calls of each")

    add = _adder(parser.add_argument_group("CUDA devices only"))
    add("--peers", type=_choices(tuple(PEERS)), metavar="LIST", help=_listed("what to compare with", tuple(PEERS))
        + "; the first four are backends of PyTorch's attention, the last two packages",
        cuda=",".join(DEFAULT_PEERS) + ", of the packages those that are installed")  # fmt: skip
    add("--head-dim-v", type=bounded(1, 256), metavar="N", help="dimensions of a head of the values, 1 to 256",
        cuda="that of --head-dim")  # fmt: skip
    add("--flex-mode", choices=FLEX_MODES, help="how torch.compile compiles FlexAttention")
    add("--break-share", type=_share, metavar="X", help="where the break point of glm_break is, of the sequence")
    add("--cuda-target", metavar="SM", help="what Tilewright's kernels are made for, such as sm_90, which leaves those "
        "of the family sm_90a out", cuda="the device's own")  # fmt: skip

    add = _adder(parser.add_argument_group("CPU only"))
    add("--sections", type=_choices(SECTIONS), metavar="LIST", help=_listed("tables", SECTIONS))
    add("--threads", type=bounded(0), metavar="N", help="of both; 0: the CPUs available")
    add("--cpu-level", metavar="LEVEL", help="x86-64-v2, x86-64-v3 or x86-64-v4", cpu="the best of this machine")
    add("--no-torch", action="store_true", help="do not compare with PyTorch, even if it is installed")

    add = _adder(parser.add_argument_group("table 'compile', CPU only"))
    add("--compile-head-dim", type=_numbers(1, 256), metavar="LIST", help="head dims")
    add("--compile-cases", type=_choices(CASES), metavar="LIST", help=_listed("masks", CASES))
    add("--compile-repeats", type=bounded(1), metavar="N", help="compiles of each kernel")

    add = _adder(parser.add_argument_group("table 'call', CPU only"))
    add("--calls", type=bounded(10), metavar="N", help="timed calls of each")
    return parser


def _adder(group: Any) -> Callable[..., None]:
    """add_argument, but an option without ``default`` is left out of the result if it is not given, for _complete to
    fill in; ``cpu`` and ``cuda`` say in the help what its default is there, if that is no plain value."""

    def add(flag: str, *, help: str, cpu: Optional[str] = None, cuda: Optional[str] = None, **settings: Any) -> None:
        name = flag[2:].replace("-", "_")
        shown = []
        if "default" not in settings:
            settings["default"] = argparse.SUPPRESS
            for device, text in (("cpu", cpu), ("cuda", cuda)):
                value = DEFAULTS[device].get(name)
                if text is not None or (value is not None and settings.get("action") is None):
                    shown.append((device, text or str(value)))
        elif settings["default"] is not None:
            shown.append(("cpu", str(settings["default"])))
        if len(shown) == 2 and shown[0][1] != shown[1][1]:
            help += f" (default: {shown[0][1]}; CUDA: {shown[1][1]})"
        elif shown:
            help += f" (default: {shown[0][1]})"
        group.add_argument(flag, help=help.replace("%", "%%"), **settings)

    return add


def _complete(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fills in the device's defaults. Ends the program, as the parser does, if an option is not for the device."""
    kind = "cpu" if options.device == "cpu" else "cuda"
    mine, other = DEFAULTS[kind], DEFAULTS["cuda" if kind == "cpu" else "cpu"]
    types = {action.dest: action.type for action in parser._actions}
    for name in other:
        if name not in mine and hasattr(options, name):
            parser.error(f"argument --{name.replace('_', '-')}: is not for --device {options.device}")
    for name, value in mine.items():
        if not hasattr(options, name):
            parse = types[name]
            setattr(options, name, parse(value) if isinstance(value, str) and parse is not None else value)
    allowed = {"cases": CASES if kind == "cpu" else CUDA_CASES, "dtype": DTYPES if kind == "cpu" else DTYPES[1:]}
    for name, names in allowed.items():
        for part in getattr(options, name):
            if part not in names:
                parser.error(f"argument --{name}: has {part!r}; with --device {options.device} expected some of "
                             f"{','.join(names)}")  # fmt: skip
    if options.plot is not None and "forward" not in getattr(options, "sections", ["forward"]):
        parser.error("argument --plot: is given, but --sections leaves out forward, which it draws")


def _device(text: str) -> str:
    if re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", text) is None:
        raise argparse.ArgumentTypeError(f"is {text!r}; expected cpu, cuda or cuda:N")
    return text


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"is {text!r}; expected a number from 0 to 1")
    return value


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
    """What keeps the measurement on the CPU from running, or ''."""
    needed = ["numpy"] + (["ml_dtypes"] if "bfloat16" in options.dtype and "forward" in options.sections else [])
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}: pip install {' '.join(absent)}" if absent else ""


if __name__ == "__main__":
    sys.exit(main())
