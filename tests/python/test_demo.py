# SPDX-License-Identifier: Apache-2.0
"""python -m tilewright.demo."""

import re
import subprocess
import sys

import numpy as np
import pytest
from processes import environment
from tilewright import demo, masks

SMALL = ["--seqlen", "384", "--heads", "4", "--head-dim", "32"]


def run(*arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, "-m", "tilewright.demo", *arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_second_run_takes_everything_from_disk(tmp_path):
    cache = tmp_path / "cache"
    first = run(*SMALL, cwd=tmp_path, TILEWRIGHT_CACHE_DIR=cache)
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search(r"^  compiled +\d+\.\d ms  row_limits ", first.stdout, re.MULTILINE)
    assert re.search(r"^  compiled +\d+\.\d ms  forward .*mask=glm_packed", first.stdout, re.MULTILINE)
    assert "Passed." in first.stdout and "FAILED" not in first.stdout
    picture = tmp_path / "tilewright-demo-mask.png"
    first_picture = picture.read_bytes()

    second = run(*SMALL, cwd=tmp_path, TILEWRIGHT_CACHE_DIR=cache)
    assert second.returncode == 0, second.stdout + second.stderr
    assert re.search(r"^  disk +\d+\.\d ms  forward ", second.stdout, re.MULTILINE)
    assert not re.search(r"^  compiled ", second.stdout, re.MULTILINE)
    assert "nothing was compiled" in second.stdout
    assert picture.read_bytes() == first_picture, "the same seed must draw the same mask"


def test_picture(tmp_path):
    import matplotlib.image

    path = tmp_path / "folder" / "mask.png"
    path.parent.mkdir()
    done = run(*SMALL, "--output", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    image = matplotlib.image.imread(path)[..., :3]
    assert image.shape[0] > 400 and image.shape[1] > 800
    colours, counts = np.unique((image * 255).round().astype(int).reshape(-1, 3), axis=0, return_counts=True)
    share = {tuple(colour): count / counts.sum() for colour, count in zip(colours, counts)}
    # The three kinds of block, by their colours.
    for colour in ("e8e8e8", "3b78b5", "f0902b"):
        assert share.get(tuple(bytes.fromhex(colour)), 0) > 0.005, colour


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_without_a_plot(dtype, tmp_path):
    done = run(*SMALL, "--dtype", dtype, "--no-plot", "--batch", "1", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed." in done.stdout and not list(tmp_path.glob("*.png"))


def test_a_wrong_result_is_noticed(monkeypatch, capsys):
    """The check of the demo can fail."""
    right = demo.flash_attn_func

    def wrong(*args, **kwargs):
        result = right(*args, **kwargs)
        (result[0] if isinstance(result, tuple) else result)[0, 100, 0, 0] += 0.01
        return result

    monkeypatch.setattr(demo, "flash_attn_func", wrong)
    assert demo.main([*SMALL, "--no-plot"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_help_and_wrong_options(tmp_path):
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    options = ("--output", "--batch", "--seqlen", "--heads", "--head-dim", "--dtype", "--seed", "--no-plot")
    assert all(option in shown.stdout for option in options)
    for wrong in (
        ["--head-dim", "257"],
        ["--dtype", "float64"],
        ["--seqlen", "0"],
        ["--heads", "4", "--kv-heads", "3"],
    ):
        done = run(*wrong, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr and not done.stdout, wrong


def test_unwritable_picture(tmp_path):
    done = run(*SMALL, "--output", str(tmp_path / "no" / "such" / "folder.png"), cwd=tmp_path)
    assert done.returncode == 1 and "tilewright.demo:" in done.stderr and "Traceback" not in done.stderr


def test_packing():
    rng = np.random.default_rng(0)
    text = demo.read_text()
    assert len(text) > 1000
    packed = demo.pack_text(text, 3, 700, rng)
    assert packed.tokens.shape == (3, 700) and packed.tokens.dtype == np.uint8
    assert len(set(packed.tokens.ravel().tolist())) > 20
    for row, samples in enumerate(packed.samples):
        assert sum(s.context + s.generated for s in samples) == 700 and len(samples) > 1
        starts = np.cumsum([0, *(s.context + s.generated for s in samples)])[:-1]
        used = packed.pairs[row][:, : len(samples)]
        assert (used[0] == starts).all() and (used[1] == starts + [s.context for s in samples]).all()
        assert (packed.pairs[row][:, len(samples) :] == -1).all()
    assert (masks.pack_pairs(packed.samples) == packed.pairs).all()
