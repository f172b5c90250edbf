# SPDX-License-Identifier: Apache-2.0
"""What the package's command lines share."""
import argparse
from typing import Callable, Optional


def bounded(low: int, high: Optional[int] = None) -> Callable[[str], int]:
    """An argparse type: an integer within ``low`` and ``high``, or an error that says what it is and what is allowed."""

    def parse(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            allowed = f"{low} or more" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"is {value}; expected {allowed}")
        return value

    parse.__name__ = "int"  # argparse names the type by it when int() fails
    return parse
