# SPDX-License-Identifier: Apache-2.0
"""Calls for a sanitizer to watch, and repeated ones to compare bit for bit, on a CUDA device.

    compute-sanitizer --tool memcheck python tests/gpu/exercise.py      # or racecheck: a reduced catalogue of calls
    python tests/gpu/exercise.py --repeats 1000                         # instead: each head dim so often, bit for bit

A Hopper GPU runs its own kernels (the family sm_90a) where they serve a call; --family sm_80 leaves them out. The last
lines say how many calls each family served. What a sanitizer sees of those kernels: kernels/docs/performance.md.
"""
import argparse
import collections
import sys
from typing import Counter, Optional

import torch

import tilewright

# (head_dim, head_dim_v, type). 37 is no multiple of 8: no kernel of sm_90a.
CATALOGUE = (
    (64, 64, torch.float16),
    (40, 40, torch.bfloat16),
    (37, 37, torch.float16),
    (128, 96, torch.bfloat16),
    (64, 128, torch.bfloat16),
    (192, 128, torch.bfloat16),
    (256, 256, torch.float16),
)
# (heads, (seqlen_q, seqlen_k)), at last more programs than a GPU has multiprocessors: persistent blocks run several.
SIZES = ((4, (130, 200)), (4, (64, 64)), (4, (1, 77)), (4, (200, 130)), (160, (130, 200)))
# Schedules that the tables choose for longer sequences than those, or for none: (schedule, head_dim).
SCHEDULES = {
    "sm_90a": (
        ("qk:192x128:g3:s2:p2:t:f", 64),
        ("qk:128x64:g2:s2:p2:o", 128),
        ("qk:128x80:g2:s2:p1:r:f:o", 72),
        ("qk:128x64:g2:s2:o", 256),
    ),
    "sm_80": (
        ("qk:128x96:w4:s2:b2", 64),
        ("qk:128x128:w4:s2:b2", 48),
        ("qk:64x64:w4:s2:c4", 64),
        ("qk:128x64:w4:s3", 64),
    ),
}
REPEATED = tuple((d, d) for d in (40, 48, 64, 72, 80, 96, 128, 192, 256)) + ((64, 128), (192, 128))


def family_of(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **arguments) -> str:
    key = tilewright.inspect.plan(q, k, v, **arguments)["steps"][-1]["key"]
    return key.split("target=")[1].split(":")[0]


def every_mask(engine: tilewright.Engine, catalogue: tuple = CATALOGUE, sizes: tuple = SIZES) -> Counter[str]:
    """All masks over a catalogue and sizes; returns the number of calls that each family served."""
    served: Counter[str] = collections.Counter()
    for d, dv, dtype in catalogue:
        for heads, (sq, sk) in sizes:
            q = torch.randn(2, sq, heads, d, device="cuda").to(dtype)
            k = torch.randn(2, sk, 2, d, device="cuda").to(dtype)
            v = torch.randn(2, sk, 2, dv, device="cuda").to(dtype)
            single = torch.tensor([sk // 3, sk], device="cuda", dtype=torch.int32)
            pairs = torch.tensor([[[0, 40], [30, 60]]] * 2, device="cuda", dtype=torch.int32)
            real = torch.ones(2, sk, device="cuda", dtype=torch.bool)
            real[0, :3] = real[1, sk // 3 : sk // 2] = real[1, -5:] = False
            documents = torch.arange(sk, device="cuda", dtype=torch.int32).div(30, rounding_mode="floor").repeat(2, 1)
            for arguments in (
                {},
                {"causal": True},
                {"causal": True, "causal_align": "top_left"},
                {"causal": True, "glm_mask": single},
                {"causal": True, "glm_mask": pairs},
                {"key_padding_mask": real},
                {"causal": True, "key_padding_mask": real},
                {"window_size": (40, 9)},
                *([{"causal": True, "document_ids": documents}] if sq == sk else []),
            ):
                tilewright.flash_attn_func(q, k, v, return_lse=True, engine=engine, **arguments)
                served[family_of(q, k, v, engine=engine, **arguments)] += 1
            torch.cuda.synchronize()
    return served


def every_schedule(family: str, target: Optional[str]) -> Counter[str]:
    """The same over SCHEDULES of a family; its calls that another one serves run with that one's own."""
    served: Counter[str] = collections.Counter()
    for schedule, d in SCHEDULES[family]:
        engine = tilewright.Engine(schedule=schedule, cuda_target=target)
        served += every_mask(engine, ((d, d, torch.bfloat16),), ((4, (200, 230)), (96, (130, 200))))
    return served


def differing_bits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    integer = torch.int16 if a.element_size() == 2 else torch.int32
    return (a.view(integer) != b.view(integer)).any()


def repeat(repeats: int, engine: tilewright.Engine, pairs: list) -> int:
    """Dense and causal calls beside products on another stream; returns how many differ from the first in any bit."""
    side = torch.cuda.Stream()
    left, right = (torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    side.wait_stream(torch.cuda.current_stream())
    total = 0
    for d, dv in pairs:
        # Several programs for each persistent block: 24 heads.
        q, k, v = (torch.randn(2, 2100, 24, width, device="cuda", dtype=torch.bfloat16) for width in (d, d, dv))
        for causal in (False, True):
            call = lambda: tilewright.flash_attn_func(q, k, v, causal=causal, return_lse=True, engine=engine)
            first = call()
            # Counted on the device: nothing waits for a call before the next one starts.
            differing = torch.zeros((), device="cuda", dtype=torch.int64)
            for turn in range(repeats):
                if turn % 4 == 0:
                    with torch.cuda.stream(side):
                        torch.matmul(left, right)
                out, lse = call()
                differing += differing_bits(out, first[0]) | differing_bits(lse, first[1])
            count = int(differing)
            torch.cuda.synchronize()
            family = family_of(q, k, v, causal=causal, engine=engine)
            mask = "causal" if causal else "dense"
            print(f"d {d}, d_v {dv}, {mask}, {family}: {count} of {repeats} differ", flush=True)
            total += count
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=0, help="compare so many calls of each head dim; 0: none")
    of_repeats = sorted({d for d, _ in REPEATED})
    parser.add_argument("--head-dim", type=int, nargs="+", choices=of_repeats, help="of --repeats only [all]")
    families = ("device", "sm_80")
    parser.add_argument("--family", choices=families, default="device", help="sm_80: what every GPU has [device]")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device", file=sys.stderr)
        return 0
    torch.manual_seed(0)
    hopper = torch.cuda.get_device_capability() == (9, 0)
    family = "sm_90a" if hopper and arguments.family == "device" else "sm_80"
    target = "sm_90" if hopper and family == "sm_80" else None  # of other GPUs it is the only family
    engine = tilewright.Engine(cuda_target=target)
    with torch.no_grad():
        if arguments.repeats > 0:
            pairs = [pair for pair in REPEATED if not arguments.head_dim or pair[0] in arguments.head_dim]
            differing = repeat(arguments.repeats, engine, pairs)
            print(f"{arguments.repeats} repeats of each of {2 * len(pairs)} calls, {differing} differ")
            return 1 if differing else 0
        served = every_mask(engine) + every_schedule(family, target)
        print(f"{sum(served.values())} calls: " + ", ".join(f"{n} by {name}" for name, n in sorted(served.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
