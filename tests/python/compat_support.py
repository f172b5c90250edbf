# SPDX-License-Identifier: Apache-2.0
"""What the tests of the drop-in modules share. Each test of numbers runs against the library's float64 reference, which
stands in for the kernels at the modules' one way to the library (that tests shapes, views, masks and scaling to the
last digit), then with the kernels. What is expected is written out here in torch, in float64, from the originals'
formulas."""

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tilewright import Unsupported, inspect, reference  # noqa: E402
from tilewright.compat import _backend  # noqa: E402

REAL = _backend.attention

# What a call of the library uses, and the row of the support matrix that says whether kernels serve it.
ROWS = {
    "bias": "`bias`",
    "attn_mask": "additive `attn_mask`",
    "key_padding_mask": "`key_padding_mask`",
    "document_ids": "`document_ids`",
    "window_size": "sliding window",
    "alibi_slopes": "`alibi_slopes`",
    "softcap": "`softcap`",
    "dropout_p": "dropout",
    "return_attn_probs": "the probabilities",
    "lengths": "sequences of different lengths",
}


def unserved(features, column):
    """Those that the support matrix says no kernel serves; ``column`` is "cpu" or "cuda"."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in inspect.support_matrix().splitlines()]
    found = {}
    for name, row in ROWS.items():
        matches = [cells[2 if column == "cpu" else 3] for cells in rows if cells[1:] and cells[1].startswith(row)]
        assert matches in (["yes"], ["no"]), (row, matches)
        found[name] = matches[0]
    return sorted(name for name in features if found[name] == "no")


class Calls:
    """Runs drop-in functions on one backend and keeps what they asked of the library."""

    def __init__(self, kind, monkeypatch):
        self.kind = kind
        self.device = "cuda" if kind == "cuda" else "cpu"
        self.dtype = {"reference": torch.float64, "cpu": torch.float32, "cuda": torch.float16}[kind]
        self.asked = []  # (q, k, v, keyword arguments) of each call of the library
        monkeypatch.setattr(_backend, "attention", self._attention)

    def _attention(self, q, k, v, **args):
        self.asked.append((q, k, v, args))
        return by_reference(q, k, v, **args) if self.kind == "reference" else REAL(q, k, v, **args)

    def randn(self, *shape):
        return torch.randn(*shape, dtype=torch.float64).to(self.dtype).to(self.device)

    def ints(self, values):
        return torch.tensor(values, dtype=torch.int32, device=self.device)

    def run(self, function, *args, **kwargs):
        """The result; a skip where the kernels serve a feature that the call uses not yet, and say so."""
        self.asked.clear()
        try:
            return function(*args, **kwargs)
        except Unsupported as error:
            given = {name: value for asked in self.asked for name, value in asked[3].items() if name in ROWS}
            features = [name for name, value in given.items() if value is not None and value is not False]
            missing = unserved(features, self.device) if self.kind != "reference" else []
            if not missing or "not served" not in str(error):
                raise
            pytest.skip(f"not served on {self.device} by the support matrix: {', '.join(missing)} ({error})")

    def close(self, ours, expected, what="output"):
        assert tuple(ours.shape) == tuple(expected.shape), what
        tolerance = {"reference": 1e-10, "cpu": 1e-4, "cuda": 1e-2}[self.kind]
        torch.testing.assert_close(
            ours.double().cpu(), expected.double().cpu(), rtol=tolerance, atol=tolerance, msg=lambda m: f"{what}: {m}"
        )


def by_reference(q, k, v, *, lengths=None, return_attn_probs=False, **args):
    """``compat._backend.attention`` in float64."""
    if lengths is not None:
        args.update(lengths._asdict())
    if args.get("dropout_p"):
        args["rng_state"] = torch.empty(2, dtype=torch.int64).random_()
    found = reference.attention(q, k, v, return_probs=return_attn_probs, **args)
    results = list(found) if isinstance(found, tuple) else [found]
    out = results.pop(0)
    lse = results.pop(0) if args.get("return_lse") else None
    return out, lse, results.pop(0) if return_attn_probs else None


def products(q, k):
    """float64 ``(batch, heads, seqlen_q, seqlen_k)``: q @ k.T, unscaled."""
    q, k = (x.double().cpu().transpose(1, 2) for x in (q, k))
    return q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(2, 3)


def finish(logits, v):
    """Output, LSE (-inf in empty rows) and probabilities of float64 logits."""
    v = v.double().cpu().transpose(1, 2)
    v = v.repeat_interleave(logits.shape[1] // v.shape[1], 1)
    lse = torch.logsumexp(logits, -1)
    probs = torch.exp(logits - lse.masked_fill(lse == -math.inf, 0)[..., None])
    return (probs @ v).transpose(1, 2), lse, probs


def hide(logits, visible):
    return logits.masked_fill(~visible, -math.inf)


def dropped(probs, v, keep):
    """The output that signed probabilities stand for."""
    v = v.double().cpu().transpose(1, 2)
    v = v.repeat_interleave(probs.shape[1] // v.shape[1], 1)
    return (probs.double().cpu().clamp(min=0) / keep @ v).transpose(1, 2)


def ceil(number, multiple):
    return (number + multiple - 1) // multiple * multiple


def boundaries(lengths):
    return [sum(lengths[:i]) for i in range(len(lengths) + 1)]


def shares_memory(view, packed):
    return view.untyped_storage().data_ptr() == packed.untyped_storage().data_ptr()


def _cuda_mark():
    missing = not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0)
    return [pytest.mark.gpu, pytest.mark.skipif(missing, reason="no CUDA device of compute capability 8.0 or later")]


@pytest.fixture(params=["reference", "cpu", pytest.param("cuda", marks=_cuda_mark())])
def calls(request, monkeypatch):
    torch.manual_seed(1)
    return Calls(request.param, monkeypatch)
