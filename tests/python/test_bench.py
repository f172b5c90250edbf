# SPDX-License-Identifier: Apache-2.0
"""python -m tilewright.bench: that it measures what it says and notices a wrong result. Times are not judged."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from processes import environment
from tilewright import _bench_cpu, bench, masks

FORWARD = ["--sections", "forward", "--seqlen", "48", "--head-dim", "8", "--heads", "2", "--repeats", "2"]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "tilewright.bench", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_json_of_every_section(tmp_path):
    small = ["--seqlen", "48,33", "--head-dim", "8", "--heads", "2", "--batch", "2", "--repeats", "7", "--calls", "20"]
    compiling = ["--compile-head-dim", "8,24", "--compile-repeats", "2"]
    done = run(*small, *compiling, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["machine"]["cpu"] and report["machine"]["threads"] >= 1 and "UTC" in report["machine"]["date"]

    rows = report["forward"]
    assert [(row["seqlen"], row["case"]) for row in rows] == [(s, case) for s in (48, 33) for case in bench.CASES]
    for row in rows:
        ours = row["tilewright"]
        assert 0 < ours["ms_min"] <= ours["ms"] <= ours["ms_max"] and row["repeats"] == 7
        assert ours["gflops"] == pytest.approx(4 * 8 * 2 * row["visible_pairs"] / ours["ms"] / 1e6)
        assert 0 <= ours["max_error"] < 1e-5
        assert row["key"].startswith("forward ") and " headDim=8 " in row["key"]
        if HAS_TORCH:
            assert row["ratio"] == pytest.approx(row["torch"]["ms"] / ours["ms"])
        else:
            assert row["ratio"] is None and "torch" not in row
    # Of 48 keys (of 33): all; up to the row's own; half (16) to all rows.
    assert [row["visible_pairs"] for row in rows[:3]] == [2 * 48 * 48, 2 * 48 * 49 // 2, 2 * (48 * 49 + 24 * 23) // 2]
    assert [row["visible_pairs"] for row in rows[4:7]] == [2 * 33 * 33, 2 * 33 * 34 // 2, 2 * (33 * 34 + 16 * 15) // 2]

    assert [row["head_dim"] for row in report["compile"]] == [8, 24]
    for row in report["compile"]:
        assert list(row["stages_ms"])[0] == "attn" and list(row["stages_ms"])[-1] == "obj"
        assert all(ms > 0 for ms in row["stages_ms"].values()) and row["total_ms"] > row["stages_ms"]["obj"]

    assert [row["what"].split(",")[0] for row in report["call"]][:2] == ["Tilewright"] * 2
    assert len(report["call"]) == (5 if HAS_TORCH else 2) and all(row["us"] > 0 for row in report["call"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_markdown_of_half_precision(dtype, tmp_path):
    done = run(*FORWARD, "--dtype", dtype, "--no-torch", "--markdown", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "- torch: left out" in lines and "### Forward" in lines
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(bench.CASES)
    assert len({line.count("|") for line in table}) == 1, "rows of different lengths"
    assert all(f"| {dtype} | 1 | 2 | 48 | 8 |" in line for line in table[2:])


def test_terminal_table_says_why_there_is_no_comparison(tmp_path):
    done = run(*FORWARD, "--cases", "causal", "--no-torch", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch ms" not in done.stdout and "left out" in done.stdout
    assert "forward: causal, float32, seqlen 48, head_dim 8" in done.stderr


def test_a_wrong_result_is_not_timed(monkeypatch, capsys):
    right = _bench_cpu.flash_attn_func

    def wrong(*args, out=None, **kwargs):
        result = right(*args, out=out, **kwargs)
        result[0, -1, 0, 0] += 0.01
        return result

    monkeypatch.setattr(_bench_cpu, "flash_attn_func", wrong)
    assert bench.main([*FORWARD, "--no-torch"]) == 1
    captured = capsys.readouterr()
    assert "Tilewright's result is wrong" in captured.err and not captured.out


def test_an_unwritten_result_is_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(_bench_cpu, "flash_attn_func", lambda *args, **kwargs: None)
    assert bench.main([*FORWARD, "--no-torch"]) == 1
    assert "error nan" in capsys.readouterr().err


def test_packed_samples_fill_the_sequence():
    for seqlen, samples in ((48, 8), (50, 7), (3, 8), (1, 1)):
        case = _bench_cpu.make_case("glm_packed", 2, seqlen, samples)
        starts, ends = case.glm_mask[0]
        assert starts[0] == 0 and (starts <= ends).all() and ends.max() <= seqlen
        assert (case.dense == masks.dense_mask(case.glm_mask, seqlen, seqlen)).all()
        assert case.pairs == np.count_nonzero(case.dense)


def test_functions_take_turns():
    calls = []
    seconds = _bench_cpu.in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 7)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 7, "b": 7}
    assert "".join(calls) == "a" * 6 + "b" * 6 + "a" * 3 + "b" * 3  # a block, and one untimed call before it


def test_help_and_wrong_options(tmp_path):
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for option in ("--sections", "--cases", "--dtype", "--batch", "--heads", "--seqlen", "--head-dim", "--repeats",
                   "--threads", "--compile-head-dim", "--calls", "--json", "--markdown", "--device", "--peers", "--plot"):  # fmt: skip
        assert option in shown.stdout
    for wrong in (["--head-dim", "64,257"], ["--dtype", "float64"], ["--cases", ""], ["--json", "--markdown"]):
        done = run(*wrong, cwd=tmp_path)
        assert done.returncode == 2 and wrong[0] in done.stderr and not done.stdout, wrong
    # The engine's to check, in its own words.
    done = run(*FORWARD, "--no-torch", "--schedule", "kq:64", cwd=tmp_path)
    assert done.returncode == 1 and "schedule: is 'kq:64'" in done.stderr and not done.stdout


def test_a_plot_is_written(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = run(*FORWARD, "--cases", "causal", "--no-torch", "--plot", "times.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Forward\n" in done.stdout and "<svg" in (tmp_path / "times.svg").read_text()


def test_schedule_and_level_are_used(tmp_path):
    wanted = ["--schedule", "qk:16x32:4x1", "--cpu-level", "x86-64-v2"]
    done = run(*FORWARD, "--cases", "glm_packed", "--no-torch", "--json", *wanted, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["forward"]
    assert " schedule=qk:16x32:4x1 " in row["key"] and " target=cpu:x86-64-v2 " in row["key"]
