# SPDX-License-Identifier: Apache-2.0
"""Tilewright's forward pass on a CUDA device beside FlashAttention-2 (PyTorch's flash backend), in one process.

    python tests/gpu/bench_forward.py            # needs an installed tilewright, PyTorch and a GPU; prints Markdown

Random bfloat16 inputs, 16k tokens and 2048 channels a call (4 sequences and 16 heads for the GLM masks), median of 20
calls timed by CUDA events after three that are not counted, queued without waiting in between. TFLOP/s is 4 * head_dim
operations for every visible pair by the time; PyTorch's causal times count half of the square.
"""
import argparse
import datetime
import statistics
import sys
from typing import Callable, Optional

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import tilewright


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    # Queued without waiting in between: what is timed is the device's work, not how soon the host sends it.
    for start, end in pairs:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs)


def inputs(batch: int, seqlen: int, heads: int, head_dim: int) -> list:
    shape = (batch, seqlen, heads, head_dim)
    return [torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3)]


def beside_flash(head_dims: list, seqlens: list, repeats: int, engine: Optional[tilewright.Engine]) -> None:
    print("| d | mask | s | FlashAttention-2, TFLOP/s | Tilewright, TFLOP/s | ratio |")
    print("|--:|---|--:|--:|--:|--:|")
    for d in head_dims:
        for causal in (False, True):
            for s in seqlens:
                batch, heads = max(1, 16384 // s), 2048 // d
                q, k, v = inputs(batch, s, heads, d)
                work = 4 * batch * heads * s * s * d / (2 if causal else 1) / 1e9
                turned = [x.transpose(1, 2) for x in (q, k, v)]
                with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                    flash = milliseconds(lambda: F.scaled_dot_product_attention(*turned, is_causal=causal), repeats)
                ours = milliseconds(lambda: tilewright.flash_attn_func(q, k, v, causal=causal, engine=engine), repeats)
                name = "causal" if causal else "dense"
                print(f"| {d} | {name} | {s} | {work / flash:.0f} | {work / ours:.0f} | {flash / ours:.2f} |", flush=True)


def glm_masks(head_dims: list, seqlens: list, repeats: int) -> None:
    print("\n| d | s | causal | GLM break point s/4 | by causal | packed GLM, 8 samples | by causal |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    batch, heads, samples = 4, 16, 8
    for d in head_dims:
        for s in seqlens:
            q, k, v = inputs(batch, s, heads, d)
            rows = torch.arange(s)
            starts = torch.arange(samples) * (s // samples)
            pairs = torch.stack([starts, starts + s // samples // 2]).int()[None].repeat(batch, 1, 1).cuda()
            contexts = rows // (s // samples) * (s // samples) + s // samples // 2
            masks = [
                (None, rows + 1),
                (torch.full((batch,), s // 4, dtype=torch.int32, device="cuda"), (rows + 1).clamp(min=s // 4)),
                (pairs.contiguous(), torch.maximum(rows + 1, contexts)),
            ]
            rates = []
            for glm_mask, limits in masks:
                ms = milliseconds(lambda: tilewright.flash_attn_func(q, k, v, causal=True, glm_mask=glm_mask), repeats)
                rates.append(4 * batch * heads * d * int(limits.sum()) / ms / 1e9)
            causal, single, packed = rates
            print(f"| {d} | {s} | {causal:.0f} | {single:.0f} | {single / causal:.2f} | {packed:.0f} | "
                  f"{packed / causal:.2f} |", flush=True)


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
    parser.add_argument("--head-dim", type=int, nargs="+", default=[64, 128], help="default: 64 128")
    parser.add_argument("--seqlen", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384],
                        help="default: 1024 2048 4096 8192 16384")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each; default: 20")
    parser.add_argument("--features", action="store_true",
                        help="bias, bool mask, ALiBi and softcap beside none of them, at s 2048 to 8192, instead")
    parser.add_argument("--biases", action="store_true",
                        help="a bias by its type and its rows' alignment, at s 2048 to 8192, instead")
    parser.add_argument("--schedule", metavar="TEXT",
                        help="schedule of the kernels beside FlashAttention-2, such as qk:64x64:w4; default: the table's")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device", file=sys.stderr)
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, tilewright {tilewright.__version__}, "
          f"{datetime.date.today()}\n")
    with torch.no_grad():
        engine = tilewright.Engine(schedule=options.schedule) if options.schedule else None
        some = [s for s in options.seqlen if 2048 <= s <= 8192]
        if options.biases:
            biases(options.head_dim, some, options.repeats, engine)
            return 0
        if options.features:
            features(options.head_dim, some, options.repeats, engine)
            return 0
        beside_flash(options.head_dim, options.seqlen, options.repeats, engine)
        glm_masks(options.head_dim, some, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
