# SPDX-License-Identifier: Apache-2.0
"""Masks as objects: each against loops over rows and keys written from the contract, and against the reference."""

import itertools

import numpy as np
import pytest
from oracle import problem
from processes import run_python
from tilewright import InvalidArgument, flash_attn_func, inspect, masks, reference

ALIGNS = ["bottom_right", "top_left"]
SIZES = [(7, 7), (5, 9), (9, 5), (1, 6), (6, 1), (0, 3), (3, 0), (13, 11)]


def brute_force(mask, sq, sk):
    """bool (batch, sq, sk), one entry at a time."""
    call = mask.arguments()
    offset = 0 if call.get("causal_align") == "top_left" else sk - sq
    seen = np.zeros((1 if mask.batch is None else mask.batch, sq, sk), bool)
    for b, i, j in np.ndindex(*seen.shape):
        seen[b, i, j] = sees(call, b, i + offset, j, sk)
    return seen


def sees(call, b, position, j, sk):
    left, right = call.get("window_size", (-1, -1))
    if call.get("causal"):
        limit = min(sk, position + 1)
        glm = call.get("glm_mask")
        if glm is not None and glm.ndim == 1:
            limit = max(limit, int(glm[b]))
        elif glm is not None:
            for start, end in glm[b].T:
                if start <= position < end:
                    limit = max(limit, int(end))
    else:
        limit = position + right + 1 if right >= 0 else sk
    if j >= limit or (left >= 0 and j < position - left):
        return False
    if "document_ids" in call:
        ids = call["document_ids"][b]
        if not 0 <= position < sk or ids[position] == -1 or ids[position] != ids[j]:
            return False
    return "key_padding_mask" not in call or bool(call["key_padding_mask"][b, j])


def kinds_of_masks(sk, align):
    """Every builder and the legal pairs of them, for a batch of 2."""
    rng = np.random.default_rng(sk)
    half, rest = sk // 2, sk - sk // 2
    single = {
        "none": masks.Mask(causal_align=align),
        "causal": masks.causal(align),
        "glm": masks.glm([half, sk], align),
        "prefix": masks.prefix_lm([0, min(sk, 2)], align),
        "packed": masks.packed_glm([[half, rest], [sk]], [[half // 2, rest], [rest]], align),
        "no pairs": masks.glm(np.zeros((2, 2, 0), np.int32), align),
        "window": masks.sliding_window(2, 1, align),
        "left window": masks.sliding_window(1, -1, align),
        "right window": masks.sliding_window(-1, 0, align),
        "huge window": masks.sliding_window(2**62, 2**62, align),
        "documents": masks.document_from_lengths([[half, rest], [half]], sk, align),
        "padding": masks.key_padding(rng.random((2, sk)) < 0.6),
    }
    pairs = {}
    for a, b in itertools.combinations(single, 2):
        if not {a, b} <= {"glm", "prefix", "packed", "no pairs"} and {a, b} != {"documents"}:
            pairs[f"{a} and {b}"] = single[a] & single[b]
    three = single["packed"] & single["documents"] & single["padding"] & single["left window"]
    return {**single, **pairs, "four": three}


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("sq, sk", SIZES)
def test_dense_is_brute_force(sq, sk, align):
    for name, mask in kinds_of_masks(sk, align).items():
        dense = mask.to_dense(sq, sk)
        assert dense.dtype == bool and np.array_equal(dense, brute_force(mask, sq, sk)), name


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("sq, sk", [(7, 7), (5, 9), (9, 5)])
def test_dense_is_what_the_reference_sees(sq, sk, align):
    """The arguments, given to the library: probabilities are 0 exactly where the mask hides."""
    q, k, v = problem(1, 2, sq, sk, 1, dim=4)
    for name, mask in kinds_of_masks(sk, align).items():
        _, probs = reference.attention(q, k, v, **mask.arguments(), return_probs=True)
        assert np.array_equal(probs[:, 0] > 0, np.broadcast_to(mask.to_dense(sq, sk), (2, sq, sk))), name


def test_arguments_run():
    q, k, v = problem(2, 2, 40, 40, 1, dim=8)
    for mask in (masks.Mask(), masks.causal("top_left"), masks.packed_glm([[25, 15]] * 2, [[10, 15]] * 2)):
        got, exact = flash_attn_func(q, k, v, **mask.arguments()), reference.attention(q, k, v, **mask.arguments())
        assert np.abs(got - exact).max() < 1e-5


def test_torch_is_numpy(torch):
    lengths, contexts = [[4, 0, 3], [1, 1, 1]], [[2, 0, 3], [0, 1, 1]]
    cu_seqlens, breaks, used = [[0, 4, 4, 7], [0, 1, 2, 3]], [3, 9], [9, 4]
    flags = np.arange(18).reshape(2, 9) % 3 != 0
    for integer in (torch.int64, torch.int32, torch.uint8):

        def tensor(values, dtype=integer):
            return torch.tensor(values, dtype=dtype)

        for ours, theirs in (
            (masks.packed_glm(tensor(lengths), tensor(contexts)), masks.packed_glm(lengths, contexts)),
            (masks.glm(tensor(breaks)), masks.glm(breaks)),
            (masks.prefix_lm(tensor(breaks)), masks.prefix_lm(breaks)),
            (masks.document_from_lengths(tensor(lengths), 9), masks.document_from_lengths(lengths, 9)),
            (masks.document_from_cu_seqlens(tensor(cu_seqlens), 9), masks.document_from_cu_seqlens(cu_seqlens, 9)),
            (masks.key_padding(torch.from_numpy(flags)), masks.key_padding(flags)),
            (masks.key_padding_from_lengths(tensor(used), 9), masks.key_padding_from_lengths(used, 9)),
        ):
            for name, value in theirs.arguments().items():
                mine = ours.arguments()[name]
                if isinstance(value, np.ndarray):
                    assert isinstance(mine, torch.Tensor) and str(mine.dtype) == f"torch.{value.dtype}", name
                    assert mine.tolist() == value.tolist(), name
                else:
                    assert mine == value, name
            both = (ours & masks.sliding_window(3, 1), theirs & masks.sliding_window(3, 1))
            for sq in (9, 5):
                dense = [mask.to_dense(sq, 9) for mask in both]
                assert isinstance(dense[0], torch.Tensor) and dense[0].dtype is torch.bool
                assert np.array_equal(dense[0].numpy(), dense[1])
                assert both[0].block_map(sq, 9, 2, 4) == both[1].block_map(sq, 9, 2, 4)
    assert isinstance(masks.causal().to_dense(3, 3, like=torch.zeros(1)), torch.Tensor)


@pytest.mark.gpu
def test_cuda_masks_stay_on_the_device(torch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    lengths = torch.tensor([[4, 0, 3], [1, 1, 9]], device="cuda")
    used = torch.tensor([9, 12], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        mask = masks.packed_glm(lengths, lengths + 1) & masks.document_from_lengths(lengths, 9)
        mask &= masks.key_padding_from_lengths(used, 9) & masks.sliding_window(4, 0)
        dense = mask.to_dense(9, 9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert dense.is_cuda
    # What a host would refuse is cut off: context to its sample, documents and lengths to the sequence.
    ids = [[0] * 4 + [2] * 3 + [-1] * 2, [0, 1] + [2] * 7]
    host = masks.document(ids) & masks.glm([[[0, -1, 4], [4, -1, 7]], [[0, 1, 2], [1, 2, 9]]])
    assert np.array_equal(dense.cpu().numpy(), (host & masks.sliding_window(4, 0)).to_dense(9, 9))


def test_builders():
    assert masks.packed_glm([[5, 4, 5], [2]], [[3, 0, 5], [1]]).glm_mask.tolist() == [
        [[0, 5, 9], [3, 5, 14]],
        [[0, -1, -1], [1, -1, -1]],
    ]
    samples = [[masks.Sample(3, 2), masks.Sample(0, 4)], [masks.Sample(1, 1)]]
    lengths = [[sum(sample) for sample in row] for row in samples]
    packed = masks.packed_glm(lengths, [[sample.context for sample in row] for row in samples])
    assert np.array_equal(packed.glm_mask, masks.pack_pairs(samples))
    assert masks.document_from_lengths([[2, 0, 1], [4]]).document_ids.tolist() == [[0, 0, 2, -1], [0, 0, 0, 0]]
    assert masks.document_from_cu_seqlens([0, 2, 2, 3], 5).document_ids.tolist() == [[0, 0, 2, -1, -1]]
    assert masks.document_from_lengths(np.zeros((2, 0), int), 3).document_ids.tolist() == [[-1] * 3] * 2
    assert masks.key_padding_from_lengths([0, 2], 3).key_padding_mask.tolist() == [[False] * 3, [True, True, False]]
    assert masks.packed_glm([], []).glm_mask.shape == (0, 2, 0)
    assert masks.glm([3, 4]).arguments().keys() == {"causal", "glm_mask"}
    assert masks.Mask().arguments() == {} and masks.causal("top_left").arguments() == {
        "causal": True,
        "causal_align": "top_left",
    }


def test_composition():
    a = masks.sliding_window(5, -1) & masks.sliding_window(3, 2) & masks.sliding_window(-1, 7)
    assert a.window_size == (3, 2)
    flags = np.array([[True, True, False], [True, False, True]])
    padding = masks.key_padding(flags) & masks.key_padding(flags[::-1])
    assert padding.key_padding_mask.tolist() == [[True, False, False]] * 2
    assert (masks.sliding_window(1, 1) & masks.causal("top_left")).causal_align == "top_left"
    glm = masks.glm([2, 3])
    assert (glm & masks.causal()).arguments().keys() == glm.arguments().keys() and (glm & glm).glm_mask is glm.glm_mask
    with pytest.raises(TypeError):
        glm & 3
    assert repr(glm & masks.sliding_window(4, 0)) == "Mask(causal=True, window_size=(4, 0), glm_mask=<int32 (2,)>)"


I32 = np.int32
WRONG = {
    "glm without causal": (lambda: masks.Mask(glm_mask=np.zeros(2, I32)), "glm_mask", "causal is False"),
    "two glm": (lambda: masks.glm([1]) & masks.glm([2]), "glm_mask", "both masks have one"),
    "two documents": (lambda: masks.document([[0]]) & masks.document([[0]]), "document_ids", "both masks have one"),
    "alignments": (lambda: masks.causal("top_left") & masks.glm([1], "bottom_right"), "causal_align", "a call has one"),
    "alignment": (lambda: masks.causal("left"), "causal_align", "'left'"),
    "batches": (lambda: masks.glm([1, 2]) & masks.key_padding(np.ones((3, 4), bool)), "key_padding_mask", "batch 3"),
    "key lengths": (
        lambda: masks.document([[0, 0]]) & masks.key_padding(np.ones((1, 3), bool)),
        "key_padding_mask",
        "seqlen_k 3",
    ),
    "paddings": (
        lambda: masks.key_padding(np.ones((1, 4), bool)) & masks.key_padding(np.ones((1, 3), bool)),
        "the other key_padding_mask",
        "seqlen_k 3",
    ),
    "window": (lambda: masks.sliding_window(-2, 0), "window_size", r"\(-2, 0\)"),
    "window type": (lambda: masks.sliding_window(1.5, 0), "window_size", "1.5"),
    "negative break": (lambda: masks.glm([3, -1]), "glm_mask", "-1"),
    "negative prefix": (lambda: masks.prefix_lm([-2]), "prefix_lengths", "-2"),
    "half a pair": (lambda: masks.glm([[[-1], [4]]]), "glm_mask", "one negative number"),
    "glm shape": (lambda: masks.glm(np.zeros((2, 3, 1), I32)), "glm_mask", r"\(2, 3, 1\)"),
    "glm rank": (lambda: masks.glm([[1, 2]]), "glm_mask", r"\(1, 2\)"),
    "glm dtype": (lambda: masks.glm([1.0]), "glm_mask", "float64"),
    "glm too wide": (lambda: masks.glm([2**40]), "glm_mask", "32 bits"),
    "raw int64": (lambda: masks.Mask(causal=True, glm_mask=np.zeros(2, np.int64)), "glm_mask", "int64"),
    "raw list": (lambda: masks.Mask(causal=True, glm_mask=[1]), "glm_mask", "list"),
    "masked array": (lambda: masks.glm(np.ma.array([1], mask=[True])), "glm_mask", "MaskedArray"),
    "ragged ids": (lambda: masks.document([[0, 1], [0]]), "document_ids", "no array"),
    "ids decrease": (lambda: masks.document([[1, 0]]), "document_ids", "not decrease"),
    "padding first": (lambda: masks.document([[-1, 0]]), "document_ids", "not decrease"),
    "ids below": (lambda: masks.document([[0, -2]]), "document_ids", "-2"),
    "padding dtype": (lambda: masks.key_padding([[1, 0]]), "key_padding_mask", "int64"),
    "context too long": (lambda: masks.packed_glm([[3]], [[4]]), "context_lengths", "at most as many"),
    "contexts missing": (lambda: masks.packed_glm([[3, 1], [2]], [[3, 1], [2, 0]]), "context_lengths", r"\[2, 2\]"),
    "negative sample": (lambda: masks.packed_glm([[-3]], [[0]]), "sample_lengths", "-3"),
    "flat lengths": (lambda: masks.document_from_lengths([3, 4]), "sample_lengths", r"\(2,\)"),
    "too many positions": (lambda: masks.document_from_lengths([[3, 4]], 6), "sample_lengths", "7 positions"),
    "cu_seqlens start": (lambda: masks.document_from_cu_seqlens([1, 3]), "cu_seqlens", "start with 0"),
    "cu_seqlens fall": (lambda: masks.document_from_cu_seqlens([0, 3, 2]), "cu_seqlens", "not decrease"),
    "cu_seqlens empty": (lambda: masks.document_from_cu_seqlens([]), "cu_seqlens", r"\(0,\)"),
    "padding lengths": (lambda: masks.key_padding_from_lengths([4], 3), "lengths", r"\[0, 3\]"),
    "dense length": (lambda: masks.causal().to_dense(-1, 3), "seqlen_q", "-1"),
    "dense glm": (lambda: masks.glm([4]).to_dense(3, 3), "glm_mask", "holds 4"),
    "dense ids": (lambda: masks.document([[0, 0]]).to_dense(3, 3), "document_ids", "seqlen_k is 3"),
    "block size": (lambda: masks.causal().block_map(3, 3, 0, 4), "block_m", "is 0"),
    "plot blocks": (lambda: masks.causal().plot(3, 3, block_m=2), "block_n", "None"),
    "plot entry": (lambda: masks.glm([1]).plot(3, 3, entry=1), "entry", "is 1"),
    "plot empty": (lambda: masks.causal().plot(3, 0), "seqlen_k", "is 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case):
    make, argument, words = WRONG[case]
    with pytest.raises(InvalidArgument, match=words) as raised:
        make()
    assert raised.value.argument == argument and str(raised.value).startswith(argument)


def test_kinds_do_not_mix(torch):
    with pytest.raises(InvalidArgument, match="key_padding_mask: is a torch.Tensor on cpu, but glm_mask is a numpy"):
        masks.glm([1]) & masks.key_padding(torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(InvalidArgument, match="glm_mask: dtype is torch.float32"):
        masks.glm(torch.zeros(2))


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("sq, sk", SIZES)
def test_block_map_is_the_dense_mask(sq, sk, align):
    for name, mask in kinds_of_masks(sk, align).items():
        dense = mask.to_dense(sq, sk)
        for block_m, block_n in ((1, 1), (2, 3), (4, 4), (16, 16)):
            blocks = mask.block_map(sq, sk, block_m, block_n)
            assert blocks.shape == (len(dense), -(-sq // block_m), -(-sk // block_n))
            for (b, m, n), kind in np.ndenumerate(blocks.array()):
                block = dense[b, m * block_m : (m + 1) * block_m, n * block_n : (n + 1) * block_n]
                expected = inspect.FULL if block.all() else inspect.PARTIAL if block.any() else inspect.SKIPPED
                assert kind == expected, f"{name} {(b, m, n)}"
            counts = blocks.counts()
            assert sum(counts.values()) == blocks.array().size and counts["full"] == blocks.count(inspect.FULL)


def test_kernels_skip_what_can_be_skipped():
    """The library's blocks, which come from intervals, against the definition's."""
    mask = masks.packed_glm([[300, 212]], [[128, 100]])
    q, k, v = problem(3, 1, 512, 512, 1, dim=16)
    found = inspect.block_map(q, k, v, **mask.arguments())
    best = mask.block_map(512, 512, found.block_m, found.block_n)
    skipped, full = (found.array() == kind for kind in (inspect.SKIPPED, inspect.FULL))
    assert (best.array()[skipped] == inspect.SKIPPED).all() and (best.array()[full] == inspect.FULL).all()
    assert found.counts() == best.counts()


def test_plot_writes_a_file(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    mask = masks.packed_glm([[30, 20], [50]], [[10, 20], [5]])
    for name, arguments in (("plain.png", {}), ("blocks.png", {"block_m": 8, "block_n": 16, "entry": 1})):
        figure = mask.plot(50, 50, tmp_path / name, **arguments)
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG" and len(figure.axes) == 1
    image = mask.plot(50, 50).axes[0].images[0].get_array()
    visible = mask.to_dense(50, 50)[0]
    assert image.shape == (50, 50, 3)
    assert {tuple(c) for c in image[visible]}.isdisjoint({tuple(c) for c in image[~visible]})
    assert masks.causal().plot(5000, 3000, axes=figure.axes[0]) is figure  # thinned out: drawn fast and small
    assert max(figure.axes[0].images[-1].get_array().shape) <= 1024


def test_plot_names_what_is_missing():
    output = run_python(
        """
        import importlib.abc
        class Blocked(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "matplotlib":
                    raise ModuleNotFoundError(f"no {name} here", name=name)
        sys.meta_path.insert(0, Blocked())
        from tilewright import masks
        try:
            masks.causal().plot(4, 4)
        except ImportError as error:
            print(error)
        """
    )
    assert output.strip() == "Mask.plot needs matplotlib: pip install tilewright[plot]"


def test_masks_are_frozen():
    with pytest.raises(AttributeError):
        masks.causal().causal = False
