# SPDX-License-Identifier: Apache-2.0
"""Rates of masks, varlen batches and dropout on a CUDA device, by visible pair, and what preparing a mask costs.

    python tests/gpu/bench_masks.py            # needs an installed tilewright, PyTorch and a GPU; prints Markdown

Random bfloat16 inputs, 4 sequences and 16 heads. The rate of a mask is 4 * head_dim operations for every pair that it
shows by the time. The first table has its rate by that of the same tensors without the mask (causal, if the mask is),
the second one that of documents by how long they are, in sequences of 8192 tokens. All calls of a row take turns in
blocks of four, each behind one that is not counted: a clock that falls while the device works meets all of them.

A row of a short document is as short as one of a short sequence, and what it costs to begin and to end a row weighs as
much; so the third table has the rate by that of calls without the mask whose rows are as long: for documents and varlen
batches sequences of each one's length, 32768 tokens in all, each weighed by its pairs; for a window as many keys as it
shows a row.
"""
import argparse
import datetime
import statistics
import sys

import torch
import torch.nn.functional as F
from bench_forward import inputs, milliseconds, samples
from torch.nn.attention import SDPBackend, sdpa_kernel

import tilewright

BATCH, HEADS = 4, 16
LONG = 8192  # tokens of the second table's sequences; the third table's calls have as many as a batch of such
ENGINE = {}


def pairs_of(s: int, causal: bool) -> int:
    return s * (s + 1) // 2 if causal else s * s


def padded(s: int) -> tuple:
    """A quarter of the keys is padding: before, behind and a hole in between."""
    real = torch.ones(BATCH, s, dtype=torch.bool, device="cuda")
    real[:, : s // 16] = real[:, -s // 8 :] = False
    real[:, s // 2 : s // 2 + s // 16] = False
    return dict(key_padding_mask=real), s * int(real[0].sum())


def suffix(s: int) -> tuple:
    real = torch.ones(BATCH, s, dtype=torch.bool, device="cuda")
    real[:, -s // 4 :] = False
    return dict(key_padding_mask=real), s * (s - s // 4)


EQUAL = tuple(n / 8 for n in range(1, 9))
UNEQUAL = (0.05, 0.2, 0.27, 0.5, 0.58, 0.75, 0.9, 1.0)


def lengths_of(s: int, shares: tuple) -> list:
    """Of documents, by where each ends as a share of the sequence."""
    ends = [0] + [round(s * share) for share in shares]
    return [end - begin for begin, end in zip(ends, ends[1:])]


def documents(s: int, causal: bool, shares: tuple = UNEQUAL) -> tuple:
    lengths = torch.tensor(lengths_of(s, shares), device="cuda")
    ids = torch.arange(len(lengths), dtype=torch.int32, device="cuda").repeat_interleave(lengths).repeat(BATCH, 1)
    pairs = sum(pairs_of(length, causal) for length in lengths.tolist())
    return dict(document_ids=ids, causal=causal), pairs


def window(s: int, left: int, right: int) -> tuple:
    rows = torch.arange(s)
    shown = (rows + right).clamp(max=s - 1) - (rows - left).clamp(min=0) + 1
    return dict(window_size=(left, right), causal=right == 0), int(shown.sum())


def varlen_ends(s: int) -> list:
    """The same tokens in 12 sequences of unequal lengths."""
    return [0] + [round(BATCH * s * n * (n + 1) / 156) for n in range(1, 13)]


def varlen(q, k, v, s: int) -> tuple:
    total = BATCH * s
    ends = varlen_ends(s)
    cu = torch.tensor(ends, dtype=torch.int32, device="cuda")
    longest = max(b - a for a, b in zip(ends, ends[1:]))
    flat = [x.reshape(total, HEADS, -1) for x in (q, k, v)]
    pairs = sum((b - a) ** 2 for a, b in zip(ends, ends[1:]))
    return lambda: tilewright.flash_attn_varlen_func(*flat, cu, cu, longest, longest, **ENGINE), pairs / BATCH


def in_turns(calls: list, repeats: int) -> list:
    """Milliseconds of each call, the medians."""
    times = [[] for _ in calls]
    for _ in range(-(-repeats // 4)):
        for call, of in zip(calls, times):
            of += samples(call, 4, ahead=1)
    return [statistics.median(of) for of in times]


def own_rates(groups: list, d: int, repeats: int) -> list:
    """TFLOP/s without a mask, of each of `groups`: (seqlens, causal), sequences of these lengths, each weighed by its
    pairs. Each length has the same number of tokens; all lengths take turns."""
    problems = sorted({(length, causal) for lengths, causal in groups for length in lengths})
    calls, work = [], []
    for length, causal in problems:
        batch = max(1, round(BATCH * LONG / length))
        tensors = inputs(batch, length, HEADS, d)
        calls.append(lambda tensors=tensors, causal=causal: tilewright.flash_attn_func(
            *tensors, causal=causal, **ENGINE))
        work.append(4 * batch * HEADS * d * pairs_of(length, causal) / 1e9)
    rates = dict(zip(problems, (w / ms for w, ms in zip(work, in_turns(calls, repeats)))))
    return [sum(pairs_of(n, causal) for n in lengths) / sum(pairs_of(n, causal) / rates[n, causal] for n in lengths)
            for lengths, causal in groups]


def masked_rates(d: int, s: int, cases: list, repeats: int, more: list = ()) -> tuple:
    """TFLOP/s of the dense and the causal call, and of each case: (keyword arguments, pairs), or what one of `more`
    makes of q, k and v: (call, pairs)."""
    q, k, v = inputs(BATCH, s, HEADS, d)
    plain = [(dict(causal=causal), pairs_of(s, causal)) for causal in (False, True)]
    timed = [(lambda given=given: tilewright.flash_attn_func(q, k, v, **ENGINE, **given), pairs)
             for given, pairs in plain + cases]
    timed += [make(q, k, v) for make in more]
    work = 4 * BATCH * HEADS * d / 1e9
    rates = [work * pairs / ms for (_, pairs), ms in zip(timed, in_turns([call for call, _ in timed], repeats))]
    return rates[:2], rates[2:]


def by_plain(rates: list, plain: list, causal: list) -> str:
    return " | ".join(f"{rate / plain[of]:.2f}" for rate, of in zip(rates, causal))


def masks(head_dims: list, seqlens: list, repeats: int) -> None:
    print("| d | s | dense | causal | padding behind | padding with holes | 8 equal documents | causal | "
          "8 unequal documents | causal | window s/4, causal | window s/8, s/8 | varlen |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    third = ["\n| d | s | 8 equal documents | causal | 8 unequal documents | causal | window s/4, causal | "
             "window s/8, s/8 | varlen |", "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for d in head_dims:
        for s in seqlens:
            cases = [suffix(s), padded(s), documents(s, False, EQUAL), documents(s, True, EQUAL), documents(s, False),
                     documents(s, True), window(s, s // 4, 0), window(s, s // 8, s // 8)]
            plain, rates = masked_rates(d, s, cases, repeats, [lambda q, k, v: varlen(q, k, v, s)])
            causal = [given.get("causal", False) for given, _ in cases] + [False]
            print(f"| {d} | {s} | {plain[0]:.0f} | {plain[1]:.0f} | " + by_plain(rates, plain, causal) + " |",
                  flush=True)
            ends = varlen_ends(s)
            own = own_rates([(lengths_of(s, shares), causal) for shares in (EQUAL, UNEQUAL)
                             for causal in (False, True)] + [([b - a for a, b in zip(ends, ends[1:])], False)],
                            d, repeats)
            q, k, v = inputs(BATCH, s, HEADS, d)
            few = milliseconds(lambda: tilewright.flash_attn_func(q, k[:, :s // 4], v[:, :s // 4], **ENGINE), repeats)
            own[4:4] = [4 * BATCH * HEADS * d / 1e9 * s * (s // 4) / few] * 2
            third.append(f"| {d} | {s} | " + " | ".join(f"{r / o:.2f} ({o:.0f})" for r, o in zip(
                rates[2:], own)) + " |")
    lengths = (512, 1024, 2048, 4096)
    print("\n| d | dense | causal | " + " | ".join(f"documents of {n} | causal" for n in lengths) + " |")
    print("|--:|--:|--:|" + "--:|--:|" * len(lengths))
    for d in head_dims:
        cases = [documents(LONG, causal, tuple((i + 1) * n / LONG for i in range(LONG // n)))
                 for n in lengths for causal in (False, True)]
        plain, rates = masked_rates(d, LONG, cases, repeats)
        print(f"| {d} | {plain[0]:.0f} | {plain[1]:.0f} | " + by_plain(rates, plain, [False, True] * len(lengths))
              + " |", flush=True)
    print("\n".join(third), flush=True)


def dropout(head_dims: list, seqlens: list, repeats: int) -> None:
    print("\n| d | s | mask | FlashAttention-2, p 0 | p 0.1 | Tilewright, p 0 | p 0.1 | ratio at 0.1 |")
    print("|--:|--:|---|--:|--:|--:|--:|--:|")
    for d in head_dims:
        for s in seqlens:
            q, k, v = inputs(BATCH, s, HEADS, d)
            turned = [x.transpose(1, 2) for x in (q, k, v)]
            for causal in (False, True):
                work = 4 * BATCH * HEADS * d * pairs_of(s, causal) / 1e9

                def peer(p):
                    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                        return F.scaled_dot_product_attention(*turned, is_causal=causal, dropout_p=p)

                def ours(p):
                    return tilewright.flash_attn_func(q, k, v, causal=causal, dropout_p=p, rng=(1, 2), **ENGINE)

                calls = [lambda f=f, p=p: f(p) for f in (peer, ours) for p in (0.0, 0.1)]
                rates = [work / ms for ms in in_turns(calls, repeats)]
                print(f"| {d} | {s} | {'causal' if causal else 'dense'} | " + " | ".join(f"{r:.0f}" for r in rates)
                      + f" | {rates[3] / rates[1]:.2f} |", flush=True)


def preparation(head_dims: list, s: int) -> None:
    """Device times of each call's kernels, by the profiler."""
    print(f"\n| d | mask, s {s} | preparation, us | forward, us | share |")
    print("|--:|---|--:|--:|--:|")
    starts = torch.arange(8) * (s // 8)
    pairs = torch.stack([starts, starts + s // 16]).int()[None].repeat(BATCH, 1, 1).cuda().contiguous()
    cases = {
        "packed GLM, 8 pairs": dict(causal=True, glm_mask=pairs),
        "8 unequal documents": documents(s, False)[0],
        "8 unequal documents, causal": documents(s, True)[0],
        "padding with holes": padded(s)[0],
    }
    for d in head_dims:
        q, k, v = inputs(BATCH, s, HEADS, d)
        for name, arguments in cases.items():
            for _ in range(2):
                tilewright.flash_attn_func(q, k, v, **ENGINE, **arguments)
            torch.cuda.synchronize()
            cuda = torch.profiler.ProfilerActivity.CUDA
            with torch.profiler.profile(activities=[cuda], acc_events=True) as profile:
                for _ in range(5):
                    tilewright.flash_attn_func(q, k, v, **ENGINE, **arguments)
                torch.cuda.synchronize()
            times = {event.key: event.device_time for event in profile.key_averages() if event.key.startswith("attn_")}
            forward = times.pop("attn_forward")
            share = sum(times.values()) / forward
            print(f"| {d} | {name} | {sum(times.values()):.1f} | {forward:.0f} | {100 * share:.2f} % |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head-dim", type=int, nargs="+", default=[64, 128], help="default: 64 128")
    parser.add_argument("--seqlen", type=int, nargs="+", default=[2048, 4096, 8192], help="default: 2048 4096 8192")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of each; default: 10")
    parser.add_argument("--cuda-target", help="what kernels are made for, such as sm_90, which leaves those of "
                        "the family sm_90a out; default: the device's own")
    parser.add_argument("--schedule", help="of all kernels, such as qk:128x64:w4:s2; default: the table's")
    parser.add_argument("--only-masks", action="store_true", help="leave out dropout and the preparation of masks")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device", file=sys.stderr)
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, tilewright {tilewright.__version__}, "
          f"{datetime.date.today()}\n")
    given = {name: getattr(options, name) for name in ("cuda_target", "schedule") if getattr(options, name)}
    if given:
        ENGINE["engine"] = tilewright.Engine(**given)
    with torch.no_grad():
        masks(options.head_dim, options.seqlen, options.repeats)
        if options.only_masks:
            return 0
        dropout(options.head_dim, options.seqlen, options.repeats)
        preparation(options.head_dim, 8192)
    return 0


if __name__ == "__main__":
    sys.exit(main())
