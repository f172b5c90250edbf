# SPDX-License-Identifier: Apache-2.0
"""python -m tilewright.bench --device cuda: its masks, peers, checks, tables and plots, on the CPU and from made-up
results; and one small run on a GPU. Times are not judged."""

import contextlib
import json
import time
from types import SimpleNamespace

import pytest
from tilewright import Engine, bench, inspect, masks

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tilewright import _bench_cuda, _bench_peers, _bench_plot, _bench_tables  # noqa: E402
from tilewright._bench_cases import make_torch_case  # noqa: E402
from tilewright._bench_common import CUDA_CASES, ResultDiffers  # noqa: E402

SIZES = [(48, 8), (50, 7), (3, 8), (1, 1), (129, 4)]


def made(name, seqlen=48, samples=5, batch=2):
    return make_torch_case(name, batch, seqlen, samples, 0.25, "cpu")


@pytest.mark.parametrize("name", CUDA_CASES)
@pytest.mark.parametrize("seqlen, samples", SIZES)
def test_a_case_is_the_same_mask_to_everybody(name, seqlen, samples):
    case = made(name, seqlen, samples)
    mask = masks.Mask(**case.arguments)  # what Tilewright is given
    dense = torch.as_tensor(mask.to_dense(seqlen, seqlen, like=torch.empty(0)))
    dense = dense.expand(2, seqlen, seqlen)
    assert torch.equal(case.visible(slice(None)).expand(2, seqlen, seqlen), dense)
    assert case.pairs == int(dense.sum())
    assert case.causal == bool(mask.causal)
    assert torch.equal(case.visible(slice(seqlen - 1, seqlen))[0], dense[0, -1])
    keys = torch.arange(seqlen)
    for b in range(2):
        if case.mask_mod is None:
            assert dense.all()
        else:  # what FlexAttention is given
            shown = case.mask_mod(b, 0, keys[:, None], keys[None, :])
            assert torch.equal(shown.expand(seqlen, seqlen), dense[b])


def test_break_points_are_where_the_option_says():
    assert made("glm_break").arguments["glm_mask"].tolist() == [12, 12]
    assert make_torch_case("glm_break", 1, 10, 8, 1.0, "cpu").pairs == 100
    assert make_torch_case("glm_break", 1, 10, 8, 0.0, "cpu").pairs == 55


def options(**changes):
    values = {"seed": 3, "pairs": 4, "break_share": 0.5, "repeats": 3, "flex_mode": "default", "batch": None,
              "heads": None}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def problem(case="causal", seqlen=40, dtype="float16", head_dim=16, head_dim_v=16):
    row = {"case": case, "dtype": dtype, "batch": 2, "heads": 3, "seqlen": seqlen, "head_dim": head_dim,
           "head_dim_v": head_dim_v}  # fmt: skip
    return _bench_cuda.Problem.make(options(), row, torch, "cpu")


@pytest.fixture
def on_the_clock(monkeypatch):
    """In place of events, which need a GPU."""

    def in_turns(functions, repeats):
        times = {name: [] for name in functions}
        for name, function in functions.items():
            for _ in range(repeats):
                start = time.perf_counter()
                with function.around():
                    function.call()
                times[name].append((time.perf_counter() - start) * 1e3)
        return times

    monkeypatch.setattr(_bench_cuda, "in_turns", in_turns)


class Device:
    """In place of torch.cuda's clock: a wait lasts as many of its cycles as it was asked for, a call of the host's takes
    ``host`` cycles, and the device does a call in 1000."""

    def __init__(self, monkeypatch, host):
        self.log, self.host_time, self.device_time, self.host = "", 0, 0, host
        monkeypatch.setattr(torch.cuda, "_sleep", self.sleep)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: DeviceEvent(self))

    def sleep(self, cycles):
        self.log += "."
        self.device_time = max(self.device_time, self.host_time) + cycles

    def function(self, name):
        def call():
            self.log += name
            self.host_time += self.host
            self.device_time = max(self.device_time, self.host_time) + 1000

        return _bench_peers.Prepared(call, contextlib.nullcontext, {})


class DeviceEvent:
    def __init__(self, device):
        self.device = device

    def record(self):
        self.time = max(self.device.device_time, self.device.host_time)

    def query(self):
        return self.time <= self.device.host_time

    def elapsed_time(self, end):
        return end.time - self.time


def test_functions_take_turns_in_blocks(monkeypatch):
    device = Device(monkeypatch, host=100)
    times = _bench_cuda.in_turns({name: device.function(name) for name in "ab"}, 7)
    assert device.log == ".aaaaaa.bbbbbb.aaa.bbb"  # each block after a wait and a call that is not timed
    assert times == {"a": [1000] * 7, "b": [1000] * 7}


def test_a_block_that_the_host_was_too_slow_for_does_not_count(monkeypatch):
    device = Device(monkeypatch, host=_bench_cuda._LEAD_CYCLES // 2)  # 6 calls in three times the first wait
    assert _bench_cuda.in_turns({"a": device.function("a")}, 5) == {"a": [1000] * 5}
    assert device.log == ".aaaaaa" * 3
    device = Device(monkeypatch, host=_bench_cuda._LEAD_CYCLES << 20)  # too slow for every wait: times of the host
    (slow,) = _bench_cuda.in_turns({"a": device.function("a")}, 5).values()
    assert device.log == ".aaaaaa" * _bench_cuda._TRIES and len(slow) == 5


@pytest.mark.parametrize("case", CUDA_CASES)
def test_a_row_of_every_case(case, on_the_clock, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)
    refused = _bench_cuda.Refusals()
    with torch.no_grad():
        row = _bench_cuda.time_problem(
            problem(case), options(), Engine(cache_dir=""), ["math", "flex", "flash", "flash_attn"], refused
        )
    assert row["visible_pairs"] == make_torch_case(case, 2, 40, 4, 0.5, "cpu").pairs and row["repeats"] == 3
    for name in ("tilewright", "math", "flex"):
        cell = row[name]
        assert 0 < cell["ms_min"] <= cell["ms"] <= cell["ms_max"] and 0 <= cell["max_error"] < 0.02
        assert cell["tflops"] == pytest.approx(4 * 16 * 3 * row["visible_pairs"] / cell["ms"] / 1e9)
    assert row["flex"]["compile_ms"] > 0 and (case == "dense") == ("block_mask_ms" not in row["flex"])
    assert row["ratio"] == pytest.approx(row[row["best_peer"]]["ms"] / row["tilewright"]["ms"])
    assert row["key"].startswith("forward ") and " headDim=16 " in row["key"]
    plain = case in ("dense", "causal")
    assert ("flash" in row) == plain  # the CPU has a backend of that name
    assert [name for name in refused if name.startswith("SDPA flash, ")] == (
        [] if plain else [f"SDPA flash, {case}, float16, b 2, h 3, s 40, d 16"]
    )
    assert any(name.startswith("FlashAttention, ") for name in refused), "it is not installed, or has no CPU function"
    assert f"{case}, float16, b 2, h 3, s 40, d 16: " in capsys.readouterr().err


def test_values_with_a_head_dim_of_their_own(on_the_clock, capsys):
    values = problem(head_dim=24, head_dim_v=8)
    assert [x.shape[3] for x in values.inputs] == [24, 24, 8]
    row = _bench_cuda.time_problem(values, options(), Engine(cache_dir=""), ["math"], _bench_cuda.Refusals())
    for name in ("tilewright", "math"):
        assert row[name]["tflops"] == pytest.approx(2 * (24 + 8) * 3 * row["visible_pairs"] / row[name]["ms"] / 1e9)
    assert " headDim=24 headDimV=8 " in row["key"]
    assert "causal, float16, b 2, h 3, s 40, d 24, 8: " in capsys.readouterr().err


def test_a_reason_is_printed_once(capsys):
    refused = _bench_cuda.Refusals()
    for seqlen in (1, 2, 3):
        refused.add("A", f"s {seqlen}", "it cannot")
    refused.add("A", "s 4", "out of memory")
    refused.add("B", "s 1", "it cannot")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "tilewright.bench: A leaves out s 1: it cannot",
        "tilewright.bench: A leaves out s 4: out of memory",
        "tilewright.bench: B leaves out s 1: it cannot",
    ]
    assert len(refused) == 5


def test_a_peer_that_fails_or_is_wrong_is_left_out(on_the_clock, monkeypatch, capsys):
    right = torch.nn.functional.scaled_dot_product_attention

    def wrong(*args, **kwargs):
        out = right(*args, **kwargs)
        out[..., -1, :] += 0.1
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    refused = _bench_cuda.Refusals()
    row = _bench_cuda.time_problem(problem(), options(), Engine(cache_dir=""), ["math", "cudnn"], refused)
    assert row["best_peer"] is None and row["ratio"] is None and not {"math", "cudnn"} & set(row)
    by_peer = {name.split(",")[0]: reason for name, reason in refused.items()}
    assert "SDPA math's result is wrong" in by_peer["SDPA math"]
    assert len(by_peer["SDPA cuDNN"]) > 10  # PyTorch's words: no such backend on a CPU


@pytest.mark.parametrize("spoil, message", [(0.1, "Tilewright's result is wrong"), (float("nan"), "is not finite")])
def test_a_wrong_result_of_ours_ends_the_run(spoil, message, on_the_clock, monkeypatch):
    right = _bench_cuda.flash_attn_func

    def wrong(*args, **kwargs):
        out = right(*args, **kwargs)
        out[1, -1, 2, 3] += spoil
        return out

    monkeypatch.setattr(_bench_cuda, "flash_attn_func", wrong)
    with pytest.raises(ResultDiffers, match=message):
        _bench_cuda.time_problem(problem(), options(), Engine(cache_dir=""), [], _bench_cuda.Refusals())


def test_sizes_where_no_option_says():
    assert _bench_cuda.shape_of(options(), "causal", 4096, 64) == (4, 32)
    assert _bench_cuda.shape_of(options(), "dense", 32768, 256) == (1, 8)
    assert _bench_cuda.shape_of(options(), "glm_packed", 8192, 128) == (4, 16)
    assert _bench_cuda.shape_of(options(batch=3, heads=5), "dense", 4096, 64) == (3, 5)


def test_missing_packages_are_named():
    assert _bench_peers.missing_packages(["flash", "flex"]) == []
    assert set(_bench_peers.missing_packages(_bench_peers.DEFAULT_PEERS)) <= set(_bench_peers.PACKAGES)


def report():
    """As measure_cuda makes it, with made-up times."""
    rows = []
    for head_dim in (64, 128):
        for case in ("causal", "glm_packed"):
            for seqlen in (1024, 2048):
                row = {"case": case, "dtype": "bfloat16", "batch": 4, "heads": 16, "seqlen": seqlen,
                       "head_dim": head_dim, "head_dim_v": 64, "visible_pairs": 1, "repeats": 2, "best_peer": "flex",
                       "ratio": 1.25}  # fmt: skip
                row["key"] = f"forward target=sm_90a:sm_90 headDim={head_dim} schedule=qk:128x128:g2:s2 build=0"
                row["tilewright"] = {"ms": 0.4, "ms_min": 0.3, "ms_max": 0.5, "tflops": 500.0, "max_error": 0.0}
                row["flex"] = {"ms": 0.5, "ms_min": 0.5, "ms_max": 0.5, "tflops": 400.0, "max_error": 0.0}
                if case == "causal":
                    row["tilewright"]["tflops"] = 625.0
                    row["cudnn"] = {**row["flex"], "tflops": 390.0}
                rows.append(row)
    _bench_cuda.add_causal_ratios(rows)
    refused = _bench_cuda.Refusals({"SDPA cuDNN, glm_packed, s 1024": "no", "SDPA cuDNN, glm_packed, s 2048": "no"})
    return {"machine": {"gpu": "Made-up GPU", "date": "today"}, "options": {}, "forward": rows, "refused": refused,
            "peers": {"cudnn": "SDPA cuDNN", "flex": "FlexAttention"}}  # fmt: skip


def test_tables_of_made_up_results():
    text = _bench_tables.text_report(report(), markdown=True).splitlines()
    table = [line for line in text if line.startswith("|")]
    assert table[0] == ("| case | dtype | b | h | s | d | SDPA cuDNN | FlexAttention | Tilewright | ms | ratio | "
                        "by causal | schedule |")  # fmt: skip
    assert table[1] == "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |"
    assert table[2] == ("| causal | bfloat16 | 4 | 16 | 1024 | 64 | 390 | 400 | 625 | 0.400 | 1.25 |  | "
                        "sm_90a qk:128x128:g2:s2 |")  # fmt: skip
    assert table[4] == ("| glm_packed | bfloat16 | 4 | 16 | 1024 | 64 |  | 400 | 500 | 0.400 | 1.25 | 0.80 | "
                        "sm_90a qk:128x128:g2:s2 |")  # fmt: skip
    assert table[6].startswith("| causal | bfloat16 | 4 | 16 | 1024 | 128, 64 | 390 | 400 | ")
    assert len(table) == 2 + 8 and "- gpu: Made-up GPU" in text
    assert text[-1] == "- SDPA cuDNN, glm_packed, s 1024 and 1 more: no"
    terminal = _bench_tables.text_report(report(), markdown=False)
    assert "Forward, TFLOP/s\n" in terminal and "sm_90a qk:128x128:g2:s2\n" in terminal and "|" not in terminal
    assert json.loads(json.dumps(report()))["forward"][2]["by_causal"] == 0.8


def test_plot_of_made_up_results(tmp_path):
    file = tmp_path / "plot.png"
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert _bench_plot.problem_with(str(file)) == "--plot needs matplotlib: pip install tilewright[plot]"
        return
    assert _bench_plot.problem_with(str(file)) == ""
    assert "there is no folder" in _bench_plot.problem_with(str(tmp_path / "absent" / "plot.png"))
    assert "ends in one of" in _bench_plot.problem_with(str(tmp_path / "plot.txt"))
    panels = _bench_plot.panels(report())
    assert list(panels) == [("bfloat16", d, case) for d in ("64", "128, 64") for case in ("causal", "glm_packed")]
    assert panels["bfloat16", "64", "glm_packed"] == {"Tilewright": [(1024, 500.0), (2048, 500.0)],
                                                    "FlexAttention": [(1024, 400.0), (2048, 400.0)]}  # fmt: skip
    _bench_plot.draw(report(), str(file))
    assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 10000


def test_plots_of_the_cpu_have_the_same_unit():
    row = {"case": "dense", "dtype": "float32", "head_dim": 8, "seqlen": 48}
    cells = {"tilewright": {"gflops": 50.0}, "torch": {"gflops": 25.0}}
    panels = _bench_plot.panels({"forward": [{**row, **cells}]})
    assert panels == {("float32", "8", "dense"): {"Tilewright": [(48, 0.05)], "PyTorch SDPA": [(48, 0.025)]}}


def test_without_a_gpu_it_says_why(capsys):
    found = inspect.info()["devices"]["cuda"]
    if found["found"]:
        pytest.skip("there is a GPU")
    assert bench.main(["--device", "cuda:1"]) == 2
    said = capsys.readouterr()
    assert said.err == f"tilewright.bench: --device cuda:1 needs an NVIDIA GPU and its driver: {found['why']}\n"
    assert not said.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--device", "cuda:x"], "is 'cuda:x'; expected cpu, cuda or cuda:N"),
        (["--device", "cuda", "--threads", "2"], "argument --threads: is not for --device cuda"),
        (["--device", "cuda", "--no-torch"], "argument --no-torch: is not for --device cuda"),
        (["--device", "cuda", "--sections", "call"], "argument --sections: is not for --device cuda"),
        (["--device", "cuda", "--dtype", "bfloat16,float32"], "has 'float32'; with --device cuda expected some of float16,"),
        (["--head-dim-v", "64"], "argument --head-dim-v: is not for --device cpu"),
        (["--device", "cuda", "--head-dim-v", "257"], "argument --head-dim-v: is 257; expected "),
        (["--peers", "flex"], "argument --peers: is not for --device cpu"),
        (["--break-share", "0.5"], "argument --break-share: is not for --device cpu"),
        (["--device", "cuda", "--break-share", "1.5"], "is '1.5'; expected a number from 0 to 1"),
        (["--device", "cuda", "--peers", "flax"], "has 'flax'; expected some of flash,cudnn"),
        (["--cases", "causal,window"], "has 'window'; with --device cpu expected some of dense,causal,"),
        (["--plot", "x.png", "--sections", "call"], "argument --plot: is given, but --sections leaves out forward"),
    ],
)
def test_what_is_not_for_the_device_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_is_found_before_measuring(tmp_path, capsys):
    small = ["--sections", "forward", "--seqlen", "8", "--head-dim", "8"]
    assert bench.main([*small, "--plot", str(tmp_path / "absent" / "x.png")]) == 2
    said = capsys.readouterr().err
    assert "--plot" in said and "forward:" not in said


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False")


@pytest.mark.gpu
@needs_gpu
def test_a_small_run_on_a_gpu(capsys):
    small = ["--seqlen", "256,130", "--head-dim", "64", "--batch", "2", "--heads", "4", "--repeats", "7"]
    peers = ["--peers", "flash,math", "--cases", ",".join(CUDA_CASES)]
    assert bench.main(["--device", "cuda", *small, *peers, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["gpu"] == torch.cuda.get_device_name() and "SM " in report["machine"]["clocks_before"]
    rows = report["forward"]
    assert [(row["case"], row["seqlen"]) for row in rows] == [(case, s) for case in CUDA_CASES for s in (256, 130)]
    for row in rows:
        for name in ("tilewright", "math"):
            assert 0 < row[name]["ms_min"] <= row[name]["ms"] <= row[name]["ms_max"], row
        assert ("flash" in row) == (row["case"] in ("dense", "causal"))
        assert row["ratio"] > 0 and "forward target=sm_" in row["key"]
        assert ("by_causal" in row) == (row["case"] not in ("dense", "causal"))
