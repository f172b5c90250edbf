# SPDX-License-Identifier: Apache-2.0
"""Entry point of the `tilewright` command: becomes the program that the package carries."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Replaces this process by ``tilewright/bin/tilewright``, with the same arguments."""
    program = str(Path(__file__).resolve().parent / "bin" / "tilewright")
    try:
        os.execv(program, [program, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"tilewright: cannot start {program}: {error.strerror}; is the package installed from its wheel?")
