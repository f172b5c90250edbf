# SPDX-License-Identifier: Apache-2.0
"""Rates of Tilewright's forward pass on a CUDA device with a bias, a bool mask, ALiBi or softcap, by the rate without.

    python tests/gpu/bench_forward.py --features     # needs an installed tilewright, PyTorch and a GPU; prints Markdown
    python tests/gpu/bench_forward.py --biases

Random bfloat16 inputs, 4 sequences and 16 heads, nothing causal; median of 20 calls timed by CUDA events after three
that are not counted, queued without waiting in between. TFLOP/s is 4 * head_dim operations for every pair by the time.
`python -m tilewright.bench --device cuda` has masks, and other attention functions beside them.
"""
import argparse
import datetime
import statistics
import sys
from typing import Callable, Optional

import torch

import tilewright


def samples(call: Callable[[], object], repeats: int, ahead: int = 3) -> list:
    """Milliseconds of calls, behind some that are not counted."""
    for _ in range(ahead):
        call()
    torch.cuda.synchronize()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    # Queued without waiting in between: what is timed is the device's work, not how soon the host sends it.
    for start, end in pairs:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in pairs]


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    return statistics.median(samples(call, repeats))


def inputs(batch: int, seqlen: int, heads: int, head_dim: int) -> list:
    shape = (batch, seqlen, heads, head_dim)
    return [torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3)]


def features(head_dims: list, seqlens: list, repeats: int, engine: Optional[tilewright.Engine]) -> None:
    """Rates with a feature, over the same problem's without; batch 4, 16 heads, nothing causal."""
    print("\n| d | s | dense | bias (1, h, s, s) | by dense | bool mask (b, 1, 1, s) | ALiBi | softcap |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    batch, heads = 4, 16
    for d in head_dims:
        for s in seqlens:
            q, k, v = inputs(batch, s, heads, d)
            cases = [
                {},
                dict(bias=torch.randn(1, heads, s, s, device="cuda", dtype=q.dtype)),
                dict(attn_mask=torch.rand(batch, 1, 1, s, device="cuda") < 0.9),
                dict(alibi_slopes=torch.rand(heads, device="cuda")),
                dict(softcap=30.0),
            ]
            dense, bias, *others = (
                4 * batch * heads * d * s * s / 1e9
                / milliseconds(lambda: tilewright.flash_attn_func(q, k, v, engine=engine, **case), repeats)
                for case in cases
            )
            print(f"| {d} | {s} | {dense:.0f} | {bias:.0f} | {bias / dense:.2f} | "
                  + " | ".join(f"{rate / dense:.2f}" for rate in others) + " |", flush=True)


def biases(head_dims: list, seqlens: list, repeats: int, engine: Optional[tilewright.Engine]) -> None:
    """Rates with a bias of (1, h, s, s) by its type and its rows' alignment; batch 4, 16 heads, nothing causal."""
    batch, heads, bf16 = 4, 16, torch.bfloat16

    def rows(seqlen: int, dtype: torch.dtype, more: int) -> torch.Tensor:
        return torch.randn(1, heads, seqlen, seqlen + more, device="cuda", dtype=dtype)[..., :seqlen]

    cases = {
        "16 bytes": lambda s: dict(bias=rows(s, bf16, 0)),
        "8": lambda s: dict(bias=rows(s, bf16, 4)),
        "4": lambda s: dict(bias=rows(s, bf16, 2)),
        "2": lambda s: dict(bias=rows(s, bf16, 1)),
        "float32, 16": lambda s: dict(bias=rows(s, torch.float32, 0)),
        "bias and mask, 16": lambda s: dict(bias=rows(s, bf16, 0), attn_mask=rows(s, bf16, 0)),
    }
    print("\n| d | s | " + " | ".join(cases) + " |")
    print("|--:|--:|" + "--:|" * len(cases))
    for d in head_dims:
        for s in seqlens:
            q, k, v = inputs(batch, s, heads, d)
            rates = []
            for case in cases.values():
                given = case(s)
                ms = milliseconds(lambda: tilewright.flash_attn_func(q, k, v, engine=engine, **given), repeats)
                rates.append(4 * batch * heads * d * s * s / ms / 1e9)
            print(f"| {d} | {s} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--features", action="store_true", help="bias, bool mask, ALiBi and softcap beside none of them")
    what.add_argument("--biases", action="store_true", help="a bias by its type and its rows' alignment")
    parser.add_argument("--head-dim", type=int, nargs="+", default=[64, 128], help="default: 64 128")
    parser.add_argument("--seqlen", type=int, nargs="+", default=[2048, 4096, 8192], help="default: 2048 4096 8192")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each; default: 20")
    parser.add_argument("--schedule", metavar="TEXT",
                        help="schedule of the kernels, such as qk:128x64:w4:s2; default: the table's")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device", file=sys.stderr)
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, tilewright {tilewright.__version__}, "
          f"{datetime.date.today()}\n")
    with torch.no_grad():
        engine = tilewright.Engine(schedule=options.schedule) if options.schedule else None
        measure = biases if options.biases else features
        measure(options.head_dim, options.seqlen, options.repeats, engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
