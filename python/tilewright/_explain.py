# SPDX-License-Identifier: Apache-2.0
"""What a call would do and why, as a report. Nothing is compiled or run for it."""

from __future__ import annotations

import copy
import inspect as python_inspect
from pathlib import Path
from typing import Any, Dict, List, Optional

from . import inspect
from ._arrays import arrays_of
from .errors import TilewrightError, Unsupported
from .functions import checked_bool, flash_attn_func

# A GPU's instruction families.
FAMILIES = {
    "sm_80": "family sm_80 (mma.sync and cp.async, which every GPU has)",
    "sm_90a": "family sm_90a (wgmma and TMA, which compute capability 9.0 alone has)",
}
# What stands behind the blocks in a GPU schedule's text; a warpgroup that consumes has 64 query rows.
SCHEDULE_COUNTS = {
    "w": "warps",
    "g": "consumer_warpgroups",
    "s": "stages",
    "b": "bodies",
    "c": "blocks_per_sm",
    "p": "query_buffers_of_persistent_blocks",
}
SCHEDULE_FLAGS = {"t": "turns", "r": "row_by_row", "f": "split_loops", "o": "bulk_stores"}

# What the fields of a key say; those of runtime/README.md.
FIELDS = {
    "target": "what the kernel is compiled for",
    "dtype": "element type of q, k, v and out",
    "headDim": "head dim of q and k",
    "headDimV": "head dim of v and out",
    "evenM": "1: seqlen_q is a multiple of the rows of a block, so rows need no bounds",
    "evenN": "1: seqlen_k is a multiple of the keys of a block and nothing else ends the last one: no block is partial",
    "evenD": "1: both head dims are multiples of the target's vector lanes",
    "mask": "the code that hides keys",
    "align": "bytes to which rows of each tensor are known to be aligned, or strided",
    "bias": "one row for all queries or one a query, of q's type or float32; and how rows are aligned",
    "attnMask": "the same of the mask tensor, which may be of bools",
    "alibi": "1: ALiBi slopes",
    "softcap": "1: softcap",
    "windowLeft": "1: a window with a left edge; a right one is the causal mask, further on",
    "rowBounds": "1: documents or key padding, as an interval of keys for each row, which row_bounds writes",
    "documents": "1: intervals of documents",
    "keyPadding": "a key padding mask, its bytes neighbours (a2) or not (strided); 1 where intervals are made of it",
    "varlen": "1: sequences of different lengths, packed: cu_seqlens",
    "seqUsedK": "1: a number of used keys for each batch entry",
    "dropout": "1: dropout, of any probability",
    "probs": "1: the probabilities are an output",
    "schedule": "how the work is cut into blocks",
    "build": "the library that compiles it",
}
# Arguments that change neither the plan nor its kernels.
OUTPUT_ARGUMENTS = ("return_lse", "out", "engine", "rng")
MASK_ARRAYS = ("glm_mask", "document_ids", "key_padding_mask", "seqused_k")


class Explanation:
    """What :func:`tilewright.explain` found: ``print`` it, or take :meth:`to_dict`."""

    def __init__(self, facts: Dict[str, Any]) -> None:
        self._facts = facts

    @property
    def error(self) -> Optional[Dict[str, str]]:
        """``type``, ``argument`` and ``message`` of what the call would raise; None if it would run."""
        return copy.deepcopy(self._facts["error"])

    def to_dict(self) -> Dict[str, Any]:
        """The report's facts, of types that JSON has.

        ``problem``: shapes, types, and the mask arguments. ``error``: see :attr:`error`; what could not be found out
        because of it is None below. ``device``: ``target`` and ``why``. ``plan``: ``steps``, each with ``kernel``,
        ``key``, ``fields``, ``schedule``, ``programs``, ``origin`` ("memory", "disk", "compile") and ``origin_why``;
        ``workspace_bytes``; ``summary``, the forward kernel's target, schedule and instruction family in a line, with
        what stands in the way of Hopper's own (None without a step). ``blocks``: ``block_m``, ``block_n``, ``shape``,
        and how many are ``skipped``, ``partial``, ``full``. ``not_used``: a list of ``what`` and ``why``.
        """
        return copy.deepcopy(self._facts)

    def __str__(self) -> str:
        facts = self._facts
        lines = ["problem   " + ", ".join(f"{name} {value}" for name, value in facts["problem"].items())]
        if facts["error"] is not None:
            lines.append(f"error     {facts['error']['type']}: {facts['error']['message']}")
        if facts["device"] is not None:
            lines.append(f"device    {facts['device']['target']}: {facts['device']['why']}")
        if facts["plan"] is not None:
            steps = facts["plan"]["steps"]
            lines.append(f"plan      {len(steps)} step(s), {facts['plan']['workspace_bytes']} bytes of workspace")
            for number, step in enumerate(steps, 1):
                lines += _step_lines(number, step)
            if not steps:
                lines.append("  none: the output has no elements")
            else:
                lines.append(f"kernel    {facts['plan']['summary']}")
        if facts["blocks"] is not None:
            lines.append("blocks    " + _blocks_line(facts["blocks"]))
        lines += [f"not used  {item['what']}: {item['why']}" for item in facts["not_used"]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        error = self._facts["error"]
        steps = len(self._facts["plan"]["steps"]) if self._facts["plan"] is not None else 0
        return f"<Explanation: {error['type'] if error else f'{steps} step(s)'}; print() shows it>"


def explain(q: Any, k: Any, v: Any, *args: Any, **kwargs: Any) -> Explanation:
    """What :func:`tilewright.flash_attn_func` would do with these arguments, and why. It compiles and runs nothing.

    Takes the arguments of ``flash_attn_func``. A call that would raise gives a report with the error's text.

    CUDA tensors: masks on the device are copied to the host to count blocks, and the host waits for that.

    Raises:
        TypeError: ``flash_attn_func`` has no such argument.
    """
    call = python_inspect.signature(flash_attn_func).bind(q, k, v, *args, **kwargs)
    given = {name: value for name, value in call.arguments.items() if not _is_default(name, value)}
    facts: Dict[str, Any] = {
        "problem": _problem(given),
        "error": None,
        "device": None,
        "plan": None,
        "blocks": None,
        "not_used": [],
    }
    try:
        _explain(facts, given)
    except TilewrightError as error:
        kind = type(error).__name__
        facts["error"] = {"type": kind, "argument": error.argument, "message": str(error)}
    return Explanation(facts)


def _is_default(name: str, value: Any) -> bool:
    default = python_inspect.signature(flash_attn_func).parameters[name].default
    if isinstance(default, tuple):  # a window
        return isinstance(value, (tuple, list)) and tuple(value) == default
    # A False in place of 0.0 is a mistake, which the call reports.
    return value is default or (isinstance(default, float) and type(value) in (int, float) and value == default)


def _explain(facts: Dict[str, Any], given: Dict[str, Any]) -> None:
    q, k, v = given["q"], given["k"], given["v"]
    handler = arrays_of(q, k=k, v=v, out=given.get("out"), glm_mask=given.get("glm_mask"))
    handler.check_gradients(q=q, k=k, v=v, out=given.get("out"))
    checked_bool("return_lse", given.get("return_lse", False))
    if given.get("out") is not None:
        handler.check_output("out", given["out"])
        facts["not_used"].append(
            {"what": "out", "why": "it is not looked at here; the plan is that for a new, contiguous output"}
        )
    planned = python_inspect.signature(inspect.plan).parameters
    for name in given:
        if name not in planned and name not in OUTPUT_ARGUMENTS:
            raise Unsupported(
                f"{name}: is given, but inspect.plan does not take it, so what would run is not known; "
                "inspect.support_matrix() says what kernels serve",
                name,
            )
    engine = given.get("engine")
    arguments = {name: value for name, value in given.items() if name not in ("return_lse", "out", "rng")}
    plan = inspect.plan(**arguments)
    info = inspect.info(engine)
    facts["device"] = _device(q, plan, info)
    facts["plan"] = {
        "steps": [_step(step, plan, engine) for step in plan["steps"]],
        "workspace_bytes": plan["workspace_bytes"],
        "summary": _summary(plan),
    }
    on_host = {
        name: value.cpu() if name in MASK_ARRAYS and getattr(value, "is_cuda", False) else value
        for name, value in arguments.items()
    }
    blocks = inspect.block_map(**on_host)
    facts["blocks"] = {
        "block_m": blocks.block_m,
        "block_n": blocks.block_n,
        "shape": list(blocks.shape),
        **blocks.counts(),
    }
    forward = next((step for step in facts["plan"]["steps"] if step["kernel"] == "forward"), None)
    if forward is not None:
        facts["not_used"] += _not_used(forward, facts, given)


def _problem(given: Dict[str, Any]) -> Dict[str, Any]:
    """Of what the arguments are; they may be wrong ones."""
    facts: Dict[str, Any] = {}
    for name, value in given.items():
        if name == "engine":
            continue
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            device = f" on {value.device}" if hasattr(value, "is_cuda") else ""
            facts[name] = f"{str(value.dtype).replace('torch.', '')} {tuple(value.shape)}{device}"
        else:
            facts[name] = value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)
    return facts


def _device(q: Any, plan: Dict[str, Any], info: Dict[str, Any]) -> Dict[str, str]:
    if getattr(q, "is_cuda", False):
        index = q.device.index
        found = next(d for d in info["devices"]["cuda"]["devices"] if d["index"] == index)
        target = _fields(plan["steps"][-1]["key"])["target"] if plan["steps"] else f"cuda:{index}"
        capability = f"{found['name']}, compute capability {found['compute_capability']}"
        how = "its driver assembles the code" if target.endswith(":ptx") else "machine code is made for it"
        return {"target": target, "why": f"q is on cuda:{index}, {capability}; {how}"}
    cpu = info["devices"]["cpu"]
    if "level" not in cpu:
        return {"target": "cpu", "why": "q is on the CPU"}
    why = (
        "the best level of this machine"
        if cpu["level"] == cpu["host_level"]
        else f"this machine has {cpu['host_level']}; Engine(cpu_level=) or TILEWRIGHT_CPU_LEVEL asked for less"
    )
    threads = f", {cpu['threads']} threads" if "threads" in cpu else ""
    return {"target": f"cpu:{cpu['level']}", "why": f"q is on the CPU, {why}{threads}"}


def _summary(plan: Dict[str, Any]) -> Optional[str]:
    """One line on the forward kernel, the plan's last step."""
    if not plan["steps"]:
        return None
    fields = _fields(plan["steps"][-1]["key"])
    family, _, code = fields["target"].partition(":")
    text = f"forward, schedule {fields['schedule']}, "
    if family not in FAMILIES:
        return text + f"for {fields['target']}"
    text += ("as PTX, " if code == "ptx" else f"for {code}, ") + FAMILIES[family]
    why = plan.get("why_not_sm_90a")
    return text if why is None else f"{text}, not {FAMILIES['sm_90a']}: {why}"


def _fields(key: str) -> Dict[str, str]:
    return dict(word.split("=", 1) for word in key.split()[1:])


def _step(step: Dict[str, Any], plan: Dict[str, Any], engine: Any) -> Dict[str, Any]:
    key = step["key"]
    kernel, fields = key.split()[0], _fields(key)
    facts = {
        **step,
        "kernel": kernel,
        "fields": {name: {"value": value, "is": FIELDS.get(name, "")} for name, value in fields.items()},
        **_origin(key, engine),
    }
    schedule = _schedule(fields)
    if kernel == "forward":
        facts["schedule"] = {**schedule, **_measured(plan)}
    else:  # depends on the rows of a block only; its key has fixed values for the rest
        facts["schedule"] = {"text": schedule["text"], "block_m": schedule["block_m"]}
    return facts


def _origin(key: str, engine: Any) -> Dict[str, str]:
    if any(event["key"] == key for event in inspect.events(engine)):
        return {"origin": "memory", "origin_why": "this engine has it"}
    directory = inspect.info(engine)["cache"].get("directory")
    if not directory:
        return {"origin": "compile", "origin_why": "it is not in memory, and the engine has no disk cache"}
    _, digest = inspect.canonical_key(key)
    entry = next(Path(directory).glob(f"v*/{digest[:2]}/{digest}.twk"), None)
    if entry is not None:
        return {"origin": "disk", "origin_why": f"{entry} holds it"}
    return {"origin": "compile", "origin_why": f"it is neither in memory nor in {directory}"}


def _schedule(fields: Dict[str, str]) -> Dict[str, Any]:
    orientation, blocks, *rest = fields["schedule"].split(":")
    block_m, block_n = (int(size) for size in blocks.split("x"))
    facts: Dict[str, Any] = {
        "text": fields["schedule"],
        "orientation": "keys by queries" if orientation == "kq" else "queries by keys",
        "block_m": block_m,
        "block_n": block_n,
    }
    for part in rest:
        if part[0] in SCHEDULE_COUNTS and part[1:].isdigit():
            facts[SCHEDULE_COUNTS[part[0]]] = int(part[1:])
        elif part in SCHEDULE_FLAGS:
            facts[SCHEDULE_FLAGS[part]] = True
        else:
            facts["register_tile"] = part
    return facts


def _hides(fields: Dict[str, str]) -> bool:
    """Whether rows of a forward kernel see intervals of keys, rather than all of them."""
    return fields["mask"] != "none" or "windowLeft" in fields or "rowBounds" in fields


def _measured(plan: Dict[str, Any]) -> Dict[str, Any]:
    """The text ``measured`` of the table row that a plan's forward kernel has its schedule from."""
    row = plan.get("schedule_row")
    if row is None:
        return {"measured": None, "why": "no row of the schedule table has it: Engine(schedule=) asked for it"}
    why = f"a row of the schedule table ({row['table']}) has it"
    return {"measured": row["measured"], "why": why + (": " + row["measured"] if row["measured"] else ", not measured")}


def _not_used(step: Dict[str, Any], facts: Dict[str, Any], given: Dict[str, Any]) -> List[Dict[str, str]]:
    fields = {name: field["value"] for name, field in step["fields"].items()}
    schedule, found = step["schedule"], []
    cuda = not fields["target"].startswith("cpu")
    for item in fields["align"].split(","):
        name, _, alignment = item.partition(":")
        if name not in ("q", "k", "v"):
            continue
        if alignment == "strided":
            step_bytes, size = _strides(given[name])[-1], _element_bytes(given[name])
            why = f"the stride of head_dim is {step_bytes // size} elements, must be 1"
            found.append({"what": f"loads of whole rows of {name}", "why": why})
        elif cuda and alignment != "a16":
            why = f"rows are aligned to {alignment[1:]} bytes: {_misaligned(given[name])}"
            found.append({"what": f"copies of 16 bytes of {name}", "why": why})
    seqlen_q, seqlen_k = given["q"].shape[1], given["k"].shape[1]
    if fields["evenM"] == "0":
        why = f"seqlen_q {seqlen_q} is no multiple of the block's {schedule['block_m']} rows"
        found.append({"what": "code without bounds on rows", "why": why})
    if fields["evenN"] == "0" and not _hides(fields):
        why = f"seqlen_k {seqlen_k} is no multiple of the block's {schedule['block_n']} keys"
        found.append({"what": "code without partial blocks", "why": why})
    if fields["evenD"] == "0":
        dims = f"{fields['headDim']} and {fields['headDimV']}"
        why = f"head dims {dims} are not both multiples of the target's vector lanes"
        found.append({"what": "whole vectors along head_dim", "why": why})
    blocks = facts["blocks"]
    if blocks["skipped"] == 0 and blocks["partial"] + blocks["full"] > 0:
        why = "every block holds a visible key" if _hides(fields) else "there is no mask"
        found.append({"what": "skipping of key blocks", "why": why})
    return found


def _strides(array: Any) -> List[int]:
    """In bytes."""
    if hasattr(array, "is_cuda"):
        return [step * array.element_size() for step in array.stride()]
    return list(array.strides)


def _element_bytes(array: Any) -> int:
    return array.element_size() if hasattr(array, "is_cuda") else array.itemsize


def _misaligned(tensor: Any) -> str:
    reasons = []
    if tensor.data_ptr() % 16:
        reasons.append(f"its address is {tensor.data_ptr() % 16} bytes after a multiple of 16")
    for name, length, step in zip(("batch", "seqlen", "heads"), tensor.shape, _strides(tensor)):
        if length > 1 and step % 16:
            reasons.append(f"the stride of {name} is {step} bytes, no multiple of 16")
    return "; ".join(reasons)


def _step_lines(number: int, step: Dict[str, Any]) -> List[str]:
    lines = [f"  {number}. {step['kernel']}, {step['programs']} programs, from {step['origin']}: {step['origin_why']}"]
    for name, field in step["fields"].items():
        lines.append(f"       {name:<10}{field['value']:<28}  {field['is']}")
    schedule = step["schedule"]
    keys = f" by {schedule['block_n']} keys" if "block_n" in schedule else ""
    shown = [f"blocks of {schedule['block_m']} rows{keys}"]
    shown += [
        f"{name.replace('_', ' ')} {schedule[name]}"
        for name in ("orientation", "register_tile", *SCHEDULE_COUNTS.values())
        if name in schedule
    ]
    shown += [name.replace("_", " ") for name in SCHEDULE_FLAGS.values() if name in schedule]
    lines.append(f"     schedule: {', '.join(shown)}")
    if "why" in schedule:
        lines.append(f"     schedule, why: {schedule['why']}")
    lines.append(f"     key: {step['key']}")
    return lines


def _blocks_line(blocks: Dict[str, Any]) -> str:
    batch, rows, columns = blocks["shape"]
    total = batch * rows * columns
    counts = ", ".join(
        f"{blocks[kind]} {kind}" + (f" ({blocks[kind] / total:.1%})" if total else "")
        for kind in ("skipped", "partial", "full")
    )
    size = f"{blocks['block_m']} rows by {blocks['block_n']} keys"
    return f"of {size}, {batch} x {rows} x {columns} (batch, rows, keys): {counts}"
