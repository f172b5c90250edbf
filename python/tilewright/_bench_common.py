# SPDX-License-Identifier: Apache-2.0
"""What the parts of ``python -m tilewright.bench`` share."""

from __future__ import annotations

import sys
from typing import Any, Dict

CASES = ("dense", "causal", "glm_break", "glm_packed")  #: on every device
CUDA_CASES = (*CASES, "key_padding", "window", "document")

STEP = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  #: from 1 to the next number


class ResultDiffers(Exception):
    """A result that was to be timed is wrong."""


def head_dims(row: Dict[str, Any]) -> str:
    """ "64", or "192, 128" where values have a head dim of their own."""
    keys, values = row["head_dim"], row.get("head_dim_v", row["head_dim"])
    return str(keys) if keys == values else f"{keys}, {values}"


def progress(what: str) -> None:
    print(f"tilewright.bench: {what}", file=sys.stderr, flush=True)
