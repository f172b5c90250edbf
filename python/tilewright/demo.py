# SPDX-License-Identifier: Apache-2.0
"""``python -m tilewright.demo``: GLM training's attention on real text, checked against the float64 reference.

The project's own documents are cut into samples, each with a context part and a generated part, and packed several to a
sequence. One transformer layer's attention runs over their embeddings with the packed GLM mask. The demo prints what
was compiled or loaded, times, errors and the share of blocks that the mask saves, and draws the mask.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import inspect, masks, reference
from ._arguments import bounded
from .errors import TilewrightError
from .functions import flash_attn_func

_DTYPES = ("float32", "float16", "bfloat16")
_PACKAGE = Path(__file__).resolve().parent


class Packed(NamedTuple):
    """Samples of real text, packed to sequences."""

    tokens: Any  # uint8 (batch, seqlen): the text's bytes
    samples: List[List[masks.Sample]]
    pairs: Any  # int32 (batch, 2, N)


class Layer(NamedTuple):
    """Weights of a layer with random values; what matters here is what attention does with them."""

    embedding: Any  # (256, d_model)
    qkv: Any  # (d_model, (heads + 2 * kv_heads) * head_dim)
    output: Any  # (heads * head_dim, d_model)


class Check(NamedTuple):
    what: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit  # False for NaN


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the demo. Returns the exit status: 0 if the check passed, 1 if not, 2 if something needed is missing."""
    options = _parser().parse_args(argv)
    problem = _missing(options)
    if problem:
        print(f"tilewright.demo: {problem}", file=sys.stderr)
        return 2
    try:
        return _run(options)
    except (TilewrightError, OSError) as error:
        print(f"tilewright.demo: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tilewright.demo",
        description="Runs a transformer layer's attention over real text, packed as GLM training packs it, through "
        "Tilewright; checks it against the float64 reference; draws the mask.",
        epilog="Exit status: 0 the check passed, 1 it failed or an error occurred, 2 something needed is missing. "
        "Compiled kernels are kept in $TILEWRIGHT_CACHE_DIR, else in the user's cache folder; a second run finds them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    positive = bounded(1)
    parser.add_argument("--output", metavar="PNG", default="tilewright-demo-mask.png", help="where to draw the mask")
    parser.add_argument("--batch", type=positive, default=2, metavar="N", help="sequences")
    parser.add_argument("--seqlen", type=bounded(16), default=2048, metavar="N", help="tokens (bytes) of a sequence")
    parser.add_argument("--heads", type=positive, default=8, metavar="N", help="query heads")
    parser.add_argument(
        "--kv-heads",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="key and value heads (default: half of --heads)",
    )
    parser.add_argument(
        "--head-dim", type=bounded(1, 256), default=64, metavar="N", help="dimensions of a head, 1..256"
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="type of q, k and v")
    parser.add_argument("--seed", type=bounded(0), default=0, metavar="N", help="of the weights and the packing")
    parser.add_argument("--no-plot", action="store_true", help="do not draw the mask")
    return parser


def _missing(options: argparse.Namespace) -> str:
    """What keeps the demo from running, or ''."""
    needed = ["numpy"]
    if not options.no_plot:
        needed.append("matplotlib")
    if options.dtype == "bfloat16":
        needed.append("ml_dtypes")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        hint = " (or --no-plot)" if absent == ["matplotlib"] else ""
        return f"needs {', '.join(absent)}: pip install {' '.join(absent)}{hint}"
    if not hasattr(options, "kv_heads"):
        options.kv_heads = options.heads // 2 if options.heads % 2 == 0 else options.heads
    if options.heads % options.kv_heads:
        return f"--heads {options.heads} is not a multiple of --kv-heads {options.kv_heads}"
    return ""


def _run(options: argparse.Namespace) -> int:
    import numpy as np

    if options.dtype == "bfloat16":
        import ml_dtypes

        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(options.dtype)

    steps = _Steps(5 + (not options.no_plot))
    steps.next("packing text")
    packed = pack_text(read_text(), options.batch, options.seqlen, np.random.default_rng(options.seed))
    samples = sum(len(row) for row in packed.samples)
    steps.note(f"{samples} samples in {options.batch} sequences of {options.seqlen} bytes")

    steps.next("embedding and projecting")
    rng = np.random.default_rng(options.seed + 1)
    layer = make_layer(rng, options.heads, options.kv_heads, options.head_dim)
    x, (q, k, v) = project(layer, packed.tokens, options.heads, options.kv_heads, options.head_dim, dtype)
    steps.note(f"q {q.shape}, k and v {k.shape}, {options.dtype}, views of one packed array")

    steps.next("attention")
    known = len(inspect.events())
    (out, lse), first = _timed(lambda: flash_attn_func(q, k, v, causal=True, glm_mask=packed.pairs, return_lse=True))
    obtained = inspect.events()[known:]
    warm = min(_timed(lambda: flash_attn_func(q, k, v, causal=True, glm_mask=packed.pairs))[1] for _ in range(5))
    blocks = inspect.block_map(q, k, v, causal=True, glm_mask=packed.pairs)
    y = x + out.astype(np.float32).reshape(*x.shape[:2], -1) @ layer.output
    steps.note(f"first call {_ms(first)}, warm {_ms(warm)}")

    steps.next("float64 reference")
    (exact, exact_lse), reference_time = _timed(
        lambda: reference.attention(q, k, v, causal=True, glm_mask=packed.pairs, return_lse=True)
    )
    steps.note(f"{reference_time:.1f} s")

    steps.next("the same with a dense mask")
    dense = masks.dense_mask(packed.pairs, options.seqlen, options.seqlen)
    plain, plain_time = _timed(lambda: dense_attention(q, k, v, dense))
    torch_time = dense_torch(q, k, v, dense)
    steps.note("NumPy" + (" and PyTorch" if torch_time is not None else "; PyTorch is not installed"))

    checks = compare(dtype, out, lse, exact, exact_lse, plain)
    checks.append(Check("blocks unlike the dense mask", float(wrong_blocks(blocks, dense)), 0.0))
    checks.append(Check("layer outputs not finite", float((~np.isfinite(y)).sum()), 0.0))
    if not options.no_plot:
        steps.next("drawing the mask")
        draw(Path(options.output), packed, dense, blocks, options)
        steps.note(options.output)

    _report(options, obtained, first, warm, plain_time, torch_time, reference_time, checks, blocks)
    return 0 if all(check.passed for check in checks) else 1


def read_text() -> bytes:
    """The project's documents: those beside this file in an installed package, else those of the source tree."""
    packaged = sorted((_PACKAGE / "demo_text").glob("*.md"))
    tree = _PACKAGE.parent.parent
    found = packaged or [tree / "README.md", *sorted(tree.glob("*/README.md")), *sorted(tree.glob("*/docs/*.md"))]
    texts = [path.read_bytes().strip() for path in found if path.is_file()]
    if not any(texts):
        raise OSError(f"no text: neither {_PACKAGE / 'demo_text'} nor {tree} holds the project's documents")
    return b"\n\n".join(texts)


def pack_text(text: bytes, batch: int, seqlen: int, rng: Any) -> Packed:
    """Cuts ``text`` at paragraphs into samples of some hundred bytes and fills ``batch`` sequences with them.

    The context part of a sample ends at a word, 30 to 80 percent into it. A text that is too short starts again.
    """
    import numpy as np

    pieces: List[bytes] = []
    target = max(16, min(200, seqlen // 8))
    current = b""
    for paragraph in text.split(b"\n\n"):
        current = current + b"\n\n" + paragraph if current else paragraph
        while len(current) >= target:
            size = int(rng.integers(target // 2, 2 * target))
            pieces.append(current[:size])
            current = current[size:]
    if current:
        pieces.append(current)

    tokens = np.zeros((batch, seqlen), np.uint8)
    samples: List[List[masks.Sample]] = []
    at = 0
    for b in range(batch):
        row: List[masks.Sample] = []
        filled = 0
        while filled < seqlen:
            piece = pieces[at % len(pieces)][: seqlen - filled]
            at += 1
            tokens[b, filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            context = int(len(piece) * rng.uniform(0.3, 0.8))
            space = piece.rfind(b" ", 0, context)
            context = space + 1 if space > 0 else context
            row.append(masks.Sample(context, len(piece) - context))
            filled += len(piece)
        samples.append(row)
    return Packed(tokens, samples, masks.pack_pairs(samples))


def make_layer(rng: Any, heads: int, kv_heads: int, head_dim: int) -> Layer:
    import numpy as np

    model = heads * head_dim

    def normal(rows: int, columns: int) -> Any:
        return (rng.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)

    embedding = rng.standard_normal((256, model)).astype(np.float32)
    return Layer(embedding, normal(model, (heads + 2 * kv_heads) * head_dim), normal(model, model))


def project(layer: Layer, tokens: Any, heads: int, kv_heads: int, head_dim: int, dtype: Any) -> Tuple[Any, Tuple]:
    """Embeddings plus positions, and q, k, v of their RMS norm: three views of one projection."""
    import numpy as np

    batch, seqlen = tokens.shape
    model = layer.embedding.shape[1]
    rate = np.arange(seqlen)[:, None] / 10000.0 ** (np.arange(0, model, 2) / model)
    position = np.concatenate([np.sin(rate), np.cos(rate)], axis=1)[:, :model].astype(np.float32)
    x = layer.embedding[tokens] + position
    normed = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    packed = (normed @ layer.qkv).astype(dtype).reshape(batch, seqlen, heads + 2 * kv_heads, head_dim)
    return x, (packed[:, :, :heads], packed[:, :, heads : heads + kv_heads], packed[:, :, heads + kv_heads :])


def dense_attention(q: Any, k: Any, v: Any, visible: Any) -> Tuple[Any, Any]:
    """The textbook formula in NumPy, a whole score matrix a head, every step's result in q's dtype: output and LSE.

    Products accumulate in float32, as a framework's do. This is the yardstick for rounding errors.
    """
    import numpy as np

    wide = np.float32
    out = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    lse = np.empty((q.shape[0], q.shape[2], q.shape[1]), wide)
    scale = wide(q.shape[3] ** -0.5)
    group = q.shape[2] // k.shape[2]
    for b in range(q.shape[0]):
        for h in range(q.shape[2]):
            queries, keys, values = (t.astype(wide) for t in (q[b, :, h], k[b, :, h // group], v[b, :, h // group]))
            scores = (queries @ keys.T * scale).astype(q.dtype).astype(wide)
            scores[~visible[b]] = -np.inf
            highest = scores.max(axis=1, keepdims=True)
            weights = np.exp(scores - highest)
            total = weights.sum(axis=1, keepdims=True)
            lse[b, h] = (highest + np.log(total))[:, 0]
            out[b, :, h] = (weights / total).astype(q.dtype).astype(wide) @ values
    return out, lse


def dense_torch(q: Any, k: Any, v: Any, visible: Any) -> Optional[float]:
    """Seconds that PyTorch's attention takes when it is given the dense mask; None if there is no PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import numpy as np
    import torch

    group = q.shape[2] // k.shape[2]
    dtype = getattr(torch, q.dtype.name)
    queries, keys, values = (
        torch.from_numpy(np.ascontiguousarray(t.astype(np.float32))).to(dtype).transpose(1, 2)
        for t in (q, np.repeat(k, group, axis=2), np.repeat(v, group, axis=2))
    )
    mask = torch.from_numpy(visible)[:, None]
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        attention(queries, keys, values, attn_mask=mask)
        return min(_timed(lambda: attention(queries, keys, values, attn_mask=mask))[1] for _ in range(3))


def compare(dtype: Any, out: Any, lse: Any, exact: Any, exact_lse: Any, plain: Tuple[Any, Any]) -> List[Check]:
    """The contract's accuracy: at most twice the error of the plain formula in the same type, plus the rounding noise
    of one step in that type."""
    import numpy as np

    def check(what: str, ours: Any, formula: Any, correct: Any, step: float) -> Check:
        error, yardstick = (float(np.abs(x.astype(np.float64) - correct).max()) for x in (ours, formula))
        return Check(what, error, 2 * yardstick + step * float(np.abs(correct).max()))

    step = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
    return [
        check("output", out, plain[0], exact, step[dtype.name]),
        check("log-sum-exp", lse, plain[1], exact_lse, step["float32"]),
    ]


def wrong_blocks(blocks: inspect.BlockMap, visible: Any) -> int:
    """Skipped blocks that hold a visible key, and full blocks that hold a hidden one."""
    import numpy as np

    kinds = blocks.array()
    wrong = 0
    for b, row, column in np.ndindex(*kinds.shape):
        m, n = row * blocks.block_m, column * blocks.block_n
        block = visible[b, m : m + blocks.block_m, n : n + blocks.block_n]
        kind = kinds[b, row, column]
        wrong += bool((kind == inspect.SKIPPED and block.any()) or (kind == inspect.FULL and not block.all()))
    return wrong


def draw(path: Path, packed: Packed, visible: Any, blocks: inspect.BlockMap, options: argparse.Namespace) -> None:
    """Draws the first two sequences' masks, coloured by what the kernel does with each block."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.colors import to_rgb
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch, Rectangle

    colours = {"skipped": "#e8e8e8", "full": "#3b78b5", "visible": "#f0902b", "hidden": "#fbe3c4"}
    kinds = blocks.array()
    seqlen = options.seqlen
    shown = min(2, options.batch)
    figure, axes = plt.subplots(1, shown, figsize=(7.2 * shown, 8.4), squeeze=False)
    for b, axis in enumerate(axes[0]):
        cells = kinds[b].repeat(blocks.block_m, axis=0).repeat(blocks.block_n, axis=1)[:seqlen, :seqlen]
        image = np.empty((seqlen, seqlen, 3), np.float32)
        image[cells == inspect.SKIPPED] = to_rgb(colours["skipped"])
        image[cells == inspect.FULL] = to_rgb(colours["full"])
        image[(cells == inspect.PARTIAL) & visible[b]] = to_rgb(colours["visible"])
        image[(cells == inspect.PARTIAL) & ~visible[b]] = to_rgb(colours["hidden"])
        axis.imshow(image, extent=(0, seqlen, seqlen, 0), interpolation="nearest")
        start = 0
        for context, generated in packed.samples[b]:
            axis.axhline(start, color="black", linewidth=0.5, alpha=0.6)
            axis.axvline(start, color="black", linewidth=0.5, alpha=0.6)
            axis.add_patch(Rectangle((start, start), context, context, fill=False, edgecolor="#8b0000", linewidth=1.4))
            start += context + generated
        axis.set(xlim=(0, seqlen), ylim=(seqlen, 0), xlabel="key position", ylabel="query position")
        total = kinds[b].size
        axis.set_title(
            f"sequence {b}: {len(packed.samples[b])} samples; blocks "
            + ", ".join(
                f"{100 * int((kinds[b] == kind).sum()) / total:.0f}% {name}"
                for name, kind in (("skipped", inspect.SKIPPED), ("full", inspect.FULL), ("partial", inspect.PARTIAL))
            ),
            fontsize=10,
        )
    handles = [
        Patch(facecolor=colours["skipped"], edgecolor="#999999", label="skipped block"),
        Patch(facecolor=colours["full"], label="full block: no mask code"),
        Patch(facecolor=colours["visible"], label="partial block, visible"),
        Patch(facecolor=colours["hidden"], label="partial block, hidden"),
        Line2D([], [], color="black", linewidth=0.8, label="sample boundary"),
        Patch(fill=False, edgecolor="#8b0000", label="context of a sample"),
    ]
    figure.legend(handles=handles, loc="lower center", ncol=3, frameon=False)
    figure.suptitle(f"Packed GLM mask over real text, blocks of {blocks.block_m} queries x {blocks.block_n} keys")
    figure.tight_layout(rect=(0, 0.08, 1, 0.98))
    figure.savefig(path, format="png", dpi=110)
    plt.close(figure)


class _Steps:
    """Numbered lines of progress, each completed when its step is done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    def next(self, what: str) -> None:
        self._number += 1
        print(f"[{self._number}/{self._total}] {what} ... ", end="", flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)


def _timed(function: Callable[[], Any]) -> Tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _report(
    options: argparse.Namespace,
    obtained: List[Dict[str, Any]],
    first: float,
    warm: float,
    plain_time: float,
    torch_time: Optional[float],
    reference_time: float,
    checks: List[Check],
    blocks: inspect.BlockMap,
) -> None:
    print("\nKernels")
    for event in obtained:
        print(f"  {event['origin']:<9} {event['ms']:8.1f} ms  {event['key']}")
    cache = [event["origin"] for event in obtained]
    if "compiled" in cache:
        print("  A second run finds them in the disk cache, if there is one.")
    elif cache:
        print("  All kernels came from the disk cache: nothing was compiled.")

    def row(name: str, seconds: float, remark: str = "") -> None:
        print(f"  {name:<34} {seconds * 1e3:10.1f} ms  {remark}".rstrip())

    print("\nTimes")
    row("first call", first, "kernels compiled or loaded, then run")
    row("warm call", warm, "best of 5")
    if torch_time is not None:
        row("PyTorch SDPA, dense mask", torch_time, f"{torch_time / warm:.1f} times the warm call")
    row("NumPy, dense mask", plain_time, f"{plain_time / warm:.1f} times the warm call")
    row("float64 reference", reference_time)

    total = len(blocks.kinds) or 1
    print(f"\nBlocks of {blocks.block_m} x {blocks.block_n}: {len(blocks.kinds)} a head")
    for name, kind in (("skipped", inspect.SKIPPED), ("full", inspect.FULL), ("partial", inspect.PARTIAL)):
        print(f"  {name:<34} {100 * blocks.count(kind) / total:10.1f} %")

    print("\nCheck against the float64 reference")
    for check in checks:
        verdict = "ok" if check.passed else "FAILED"
        print(f"  {check.what:<34} {check.error:10.2e}     limit {check.limit:.2e}  {verdict}")
    if all(check.passed for check in checks):
        print("\nPassed." if options.no_plot else f"\nPassed. The mask is drawn in {options.output}")
    else:
        print("\nFAILED.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
