# SPDX-License-Identifier: Apache-2.0
"""Calls for a sanitizer to watch, and repeated ones to compare bit for bit, on a CUDA device.

    compute-sanitizer --tool memcheck python tests/gpu/exercise.py      # or racecheck: 160 calls
    python tests/gpu/exercise.py --repeats 50                           # instead: each head dim so often, bit for bit
"""
import argparse
import sys

import torch

import tilewright


def every_mask() -> int:
    """All masks over head dims 37 to 256 and uneven lengths, both types; returns the number of calls."""
    calls = 0
    for dtype in (torch.float16, torch.bfloat16):
        for d, dv in ((64, 64), (40, 40), (37, 37), (128, 96), (256, 256)):
            for sq, sk in ((130, 200), (64, 64), (1, 77), (200, 130)):
                q = torch.randn(2, sq, 4, d, device="cuda").to(dtype)
                k = torch.randn(2, sk, 2, d, device="cuda").to(dtype)
                v = torch.randn(2, sk, 2, dv, device="cuda").to(dtype)
                single = torch.tensor([sk // 3, sk], device="cuda", dtype=torch.int32)
                pairs = torch.tensor([[[0, 40], [30, 60]]] * 2, device="cuda", dtype=torch.int32)
                tilewright.flash_attn_func(q, k, v)
                tilewright.flash_attn_func(q, k, v, causal=True, return_lse=True)
                tilewright.flash_attn_func(q, k, v, causal=True, glm_mask=single)
                tilewright.flash_attn_func(q, k, v, causal=True, glm_mask=pairs)
                torch.cuda.synchronize()
                calls += 4
    return calls


def differing_repeats(repeats: int) -> int:
    """Causal calls beside products on another stream; returns how many differ from the first in any bit."""
    differing = 0
    other = torch.cuda.Stream()
    for d in (40, 64, 96, 128, 256):
        q, k, v = (torch.randn(2, 1000, 8, d, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        first = tilewright.flash_attn_func(q, k, v, causal=True)
        for _ in range(repeats):
            with torch.cuda.stream(other):
                x = torch.randn(2048, 2048, device="cuda")
                x @ x
            differing += not torch.equal(first, tilewright.flash_attn_func(q, k, v, causal=True))
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=0, help="compare so many calls of each head dim; 0: none")
    repeats = parser.parse_args().repeats
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device", file=sys.stderr)
        return 0
    torch.manual_seed(0)
    with torch.no_grad():
        if repeats > 0:
            differing = differing_repeats(repeats)
            print(f"{repeats} repeats at each of 5 head dims, {differing} differ")
            return 1 if differing else 0
        print(f"{every_mask()} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
