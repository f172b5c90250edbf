# SPDX-License-Identifier: Apache-2.0
"""tilewright.explain: the report of what a call would do."""

import json

import numpy as np
import pytest
import tilewright
from conftest import ROOT
from oracle import problem
from tilewright import Engine, InvalidArgument, Unsupported, _explain, explain, flash_attn_func, inspect, masks

MASKS = {
    "none": masks.Mask(),
    "causal": masks.causal("top_left"),
    "glm": masks.glm([10, 40]),
    "packed": masks.packed_glm([[100, 50], [150]], [[60, 50], [20]]),
    "window": masks.sliding_window(16, 0),
    "document": masks.document_from_lengths([[100, 50], [150]]) & masks.causal(),
    "padding": masks.key_padding_from_lengths([150, 20], 150),
}


def test_features_are_in_the_plan():
    q, k, v = problem(3, 2, 150, 150, 2, dim=16)
    bias = np.zeros((1, 2, 150, 150), np.float32)
    mask = np.ones((2, 1, 1, 150), bool)
    call = dict(bias=bias, attn_mask=mask, alibi_slopes=np.ones(2, np.float32), softcap=3.0)
    facts = explain(q, k, v, True, **call).to_dict()
    assert facts["error"] is None
    (step,) = facts["plan"]["steps"]
    assert step["key"] == inspect.plan(q, k, v, True, **call)["steps"][0]["key"]
    values = {name: field["value"] for name, field in step["fields"].items()}
    assert values["bias"].startswith("matrix:") and values["attnMask"].startswith("vector_bool:")
    assert values["alibi"] == values["softcap"] == "1"
    assert all(field["is"] for field in step["fields"].values())
    assert facts["blocks"]["skipped"] == explain(q, k, v, True).to_dict()["blocks"]["skipped"] > 0


def test_every_field_of_a_key_is_spelled_out():
    q, k, v = problem(10, 2, 150, 150, 2, dim=16)
    ids = np.repeat(np.arange(3, dtype=np.int32), 50)[None].repeat(2, 0)
    real = np.ones((2, 150), bool)
    report = explain(q, k, v, document_ids=ids, key_padding_mask=real, window_size=(40, 0), dropout_p=0.1)
    facts = report.to_dict()
    bounds, forward = facts["plan"]["steps"]
    assert bounds["kernel"] == "row_bounds" and bounds["fields"]["documents"]["value"] == "1"
    assert bounds["fields"]["keyPadding"]["value"] == "1" and forward["fields"]["keyPadding"]["value"] == "a2"
    assert {name for name, field in forward["fields"].items() if field["value"] == "1"} >= {
        "rowBounds",
        "windowLeft",
        "dropout",
    }
    for step in (bounds, forward):
        assert all(field["is"] for field in step["fields"].values()), step["key"]
    assert forward["schedule"]["measured"] is not None or "Engine(schedule=)" not in forward["schedule"]["why"]
    # Keys end where rows' intervals do: that there is no multiple of a block is no news then.
    not_used = {item["what"]: item["why"] for item in facts["not_used"]}
    assert "code without partial blocks" not in not_used and "seqlen_q 150" in not_used["code without bounds on rows"]
    one = explain(q, k, v, document_ids=np.zeros((2, 150), np.int32)).to_dict()
    why = {item["what"]: item["why"] for item in one["not_used"]}
    assert why["skipping of key blocks"] == "every block holds a visible key"


def test_lengths_and_outputs_are_in_the_plan():
    q, k, v = problem(4, 2, 150, 150, 2, dim=16)
    call = dict(seqused_k=np.array([20, 150], np.int32), dropout_p=0.1, return_attn_probs=True)
    facts = explain(q, k, v, rng=(1, 2), **call).to_dict()
    assert facts["error"] is None
    values = {name: field["value"] for name, field in facts["plan"]["steps"][-1]["fields"].items()}
    assert values["seqUsedK"] == values["dropout"] == values["probs"] == "1"
    blocks = inspect.block_map(q, k, v, **call).array()
    assert (blocks[0] == inspect.SKIPPED).sum() > (blocks[1] == inspect.SKIPPED).sum() == 0


@pytest.mark.parametrize("kind", MASKS)
def test_each_mask(kind):
    """The report agrees with the plan and the block map."""
    q, k, v = problem(1, 2, 150, 150, 2, dim=16)
    call = MASKS[kind].arguments()
    report = explain(q, k, v, **call)
    facts = report.to_dict()
    assert json.loads(json.dumps(facts)) == facts and str(report)
    assert facts["error"] is None and report.error is None
    plan = inspect.plan(q, k, v, **call)
    assert [step["key"] for step in facts["plan"]["steps"]] == [step["key"] for step in plan["steps"]]
    assert facts["plan"]["workspace_bytes"] == plan["workspace_bytes"]
    blocks = inspect.block_map(q, k, v, **call)
    found = facts["blocks"]
    assert {name: found[name] for name in ("skipped", "partial", "full")} == blocks.counts()
    assert (found["block_m"], found["block_n"], tuple(found["shape"])) == (blocks.block_m, blocks.block_n, blocks.shape)
    for step in facts["plan"]["steps"]:
        assert step["key"] in str(report) and step["key"].startswith(step["kernel"] + " ")
        assert all(field["is"] for field in step["fields"].values()), "a key's field is not spelled out"
    assert facts["device"]["target"] == facts["plan"]["steps"][-1]["fields"]["target"]["value"]


def test_where_a_kernel_comes_from(tmp_path):
    q, k, v = problem(2, 1, 40, 40, 1, dim=24)

    def origins(engine):
        return [step["origin"] for step in explain(q, k, v, True, engine=engine).to_dict()["plan"]["steps"]]

    engine = Engine(cache_dir=tmp_path)
    assert origins(engine) == ["compile"] and engine.stats().compiles == 0
    flash_attn_func(q, k, v, True, engine=engine)
    assert origins(engine) == ["memory"] and engine.stats().compiles == 1
    other = Engine(cache_dir=tmp_path)
    assert origins(other) == ["disk"]
    flash_attn_func(q, k, v, True, engine=other)
    assert other.stats().disk_hits == 1 and origins(other) == ["memory"]
    assert origins(Engine(cache_dir="")) == ["compile"]


def test_why_a_schedule():
    q, k, v = problem(3, 1, 200, 200, 1, dim=64)
    schedule = explain(q, k, v).to_dict()["plan"]["steps"][0]["schedule"]
    rows = json.loads((ROOT / "kernels" / "schedules" / "cpu.json").read_text())["rows"]
    assert schedule["measured"] in {row["measured"] for row in rows if row["schedule"] == schedule["text"]}
    level = inspect.info()["devices"]["cpu"]["level"]
    chosen = next(row for row in rows if row["level"] == level and row.get("maxSeqlenQ", 200) >= 200)
    assert schedule["text"] == chosen["schedule"] and schedule["measured"] == chosen["measured"]
    report = explain(q, k, v, engine=Engine(cache_dir="", schedule="kq:48x32:3x1"))
    schedule = report.to_dict()["plan"]["steps"][0]["schedule"]
    assert (schedule["block_m"], schedule["block_n"], schedule["register_tile"]) == (48, 32, "3x1")
    assert schedule["measured"] is None and "Engine(schedule=)" in str(report)
    assert "schedule_row" not in inspect.plan(q, k, v, engine=Engine(cache_dir="", schedule="kq:48x32:3x1"))
    assert inspect.plan(q, k, v)["schedule_row"]["table"] == "cpu.json"


@pytest.mark.parametrize(
    "text, said",
    [
        ("qk:128x64:w4:s2:b2", "blocks of 128 rows by 64 keys, orientation queries by keys, warps 4, stages 2, bodies 2"),
        ("qk:64x64:w4:s2:c4", "warps 4, stages 2, blocks per sm 4"),
        ("qk:128x128:g2:s2:f:o", "stages 2, split loops, bulk stores"),
        ("qk:192x128:g3:s2:p2:t", "consumer warpgroups 3, stages 2, query buffers of persistent blocks 2, turns"),
        ("qk:128x128:g2:s2:p1:r", "stages 2, query buffers of persistent blocks 1, row by row"),
        ("kq:48x32:3x1", "blocks of 48 rows by 32 keys, orientation keys by queries, register tile 3x1"),
    ],
)
def test_every_part_of_a_schedule_has_a_name(text, said):
    step = {"kernel": "forward", "programs": 1, "origin": "disk", "origin_why": "", "fields": {}, "key": "",
            "schedule": _explain._schedule({"schedule": text})}  # fmt: skip
    (line,) = (line for line in _explain._step_lines(1, step) if line.startswith("     schedule: "))
    assert line.endswith(said)


def test_level_that_was_asked_for():
    host = inspect.info()["devices"]["cpu"]["host_level"]
    if host == "x86-64-v2":
        pytest.skip("this machine has no level above the one to ask for")
    q, k, v = problem(4, 1, 20, 20, 1, dim=16)
    device = explain(q, k, v, engine=Engine(cache_dir="", cpu_level="x86-64-v2")).to_dict()["device"]
    assert device["target"] == "cpu:x86-64-v2" and host in device["why"] and "cpu_level" in device["why"]


def test_the_kernels_line_names_target_schedule_and_family():
    report = explain(*problem(8, 1, 40, 40, 1, dim=24))
    (step,) = report.to_dict()["plan"]["steps"]
    target, schedule = step["fields"]["target"]["value"], step["schedule"]["text"]
    line = f"kernel    forward, schedule {schedule}, for {target}"
    assert line in str(report).splitlines() and report.to_dict()["plan"]["summary"] in line
    assert explain(*problem(8, 1, 0, 40, 1, dim=24)).to_dict()["plan"]["summary"] is None


@pytest.mark.parametrize(
    "target, why, words",
    [
        ("sm_90a:sm_90", None, ["for sm_90, family sm_90a (wgmma"]),
        ("sm_90a:ptx", None, ["as PTX, family sm_90a"]),
        ("sm_80:sm_86", None, ["for sm_86, family sm_80 (mma.sync"]),
        ("sm_80:sm_90", "its kernels take no bias", ["family sm_80", "not family sm_90a", "): its kernels take no bias"]),
    ],
)
def test_the_kernels_line_of_a_gpu(target, why, words):
    """Of plans as the library describes them: here is no GPU."""
    step = {"key": f"forward target={target} schedule=qk:128x64:w4 build=0", "programs": 1}
    plan = {"steps": [{"key": "row_limits target=sm_80:sm_90 schedule=qk:128x64:w8"}, step], "workspace_bytes": 0}
    line = _explain._summary({**plan, "why_not_sm_90a": why} if why else plan)
    assert line.startswith("forward, schedule qk:128x64:w4, ") and all(word in line for word in words)
    assert ("not" in line) == (why is not None)


def test_what_is_not_used():
    q, k, v = problem(5, 1, 100, 90, 1, dim=20)
    odd = {item["what"]: item["why"] for item in explain(q, k, v[..., ::2]).to_dict()["not_used"]}
    assert "stride of head_dim is 2 elements" in odd["loads of whole rows of v"]
    assert "seqlen_q 100" in odd["code without bounds on rows"] and "seqlen_k 90" in odd["code without partial blocks"]
    assert "20" in odd["whole vectors along head_dim"] and odd["skipping of key blocks"] == "there is no mask"
    even = explain(*problem(6, 1, 768, 768, 1, dim=64), True).to_dict()
    assert even["not_used"] == [] and even["blocks"]["skipped"] > 0


def test_errors_are_reported():
    q, k, v = problem(7, 2, 30, 30, 1, dim=16)
    for call in (
        {"glm_mask": np.zeros(2, np.int32)},
        {"causal": True, "glm_mask": np.array([3, 31], np.int32)},
        {"causal_align": "left"},
        {"softmax_scale": -1.0},
        {"k": k[:, :, :, :8]},
        {"q": q.astype(np.int64)},
        {"causal": 2},
        {"out": np.zeros((1, 2), np.int8).T, "return_lse": 3},
    ):
        arguments = {"q": q, "k": k, "v": v, **call}
        with pytest.raises(InvalidArgument) as raised:
            flash_attn_func(**arguments)
        report = explain(**arguments)
        assert report.error == {
            "type": "InvalidArgument",
            "argument": raised.value.argument,
            "message": str(raised.value),
        }
        assert str(raised.value) in str(report) and "InvalidArgument" in repr(report)
    with pytest.raises(TypeError, match="windows"):
        explain(q, k, v, windows=3)


def test_empty_output_has_no_steps():
    q, k, v = problem(8, 1, 0, 30, 1, dim=16)
    report = explain(q, k, v, True, return_lse=True)
    assert report.error is None and report.to_dict()["plan"]["steps"] == [] and "no elements" in str(report)


def test_torch_tensors(torch):
    tensors = [torch.from_numpy(x) for x in problem(9, 1, 60, 60, 1, dim=16)]
    arrays = [x.numpy() for x in tensors]
    ours, theirs = (explain(*call, causal=True).to_dict() for call in (tensors, arrays))
    assert ours["plan"] == theirs["plan"] and ours["blocks"] == theirs["blocks"]
    tensors[0].requires_grad_()
    with pytest.raises(Unsupported) as raised:
        flash_attn_func(*tensors)
    assert explain(*tensors).error["message"] == str(raised.value)
    report = explain(*tensors[1:], tensors[1], out=torch.empty(1, 60, 1, 16))
    assert [item["what"] for item in report.to_dict()["not_used"]].count("out") == 1


@pytest.mark.gpu
def test_cuda(torch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    q, k, v = (torch.zeros(2, 256, 4, 40, dtype=torch.float16, device="cuda")[..., :36] for _ in range(3))
    mask = masks.packed_glm(torch.full((2, 2), 128, device="cuda"), torch.full((2, 2), 64, device="cuda"))
    facts = explain(q, k[..., 1:35], v, **mask.arguments()).to_dict()
    assert facts["error"]["type"] == "InvalidArgument"
    facts = explain(q, k, v[..., 1:35], **mask.arguments()).to_dict()
    assert facts["error"] is None and torch.cuda.get_device_name() in facts["device"]["why"]
    why = {item["what"]: item["why"] for item in facts["not_used"]}
    assert "address is 2 bytes after" in why["copies of 16 bytes of v"]
    assert facts["plan"]["steps"][-1]["schedule"]["why"] and facts["blocks"]["skipped"] > 0
    assert tilewright.explain(q.float(), k.float(), v.float()).error["type"] == "Unsupported"
