# SPDX-License-Identifier: Apache-2.0
"""Running Python code in processes of their own."""

import os
import subprocess
import sys
import textwrap

# A test's code starts with this. Dropping all capabilities makes a read-only folder read-only for root too.
PRELUDE = """
import ctypes, json, os, sys

def drop_privileges():
    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
    class Data(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]
    header, data = Header(0x20080522, 0), (Data * 2)()
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), "capset")

def arrays(dim=16, sq=40, sk=50):
    import numpy as np
    rng = np.random.default_rng(dim)
    return [rng.standard_normal((1, n, 2, dim), np.float32) for n in (sq, sk, sk)]

def result_is_right(out, q, k, v):
    import numpy as np
    scores = np.einsum("bqhd,bkhd->bhqk", q, k).astype(np.float64) * q.shape[-1] ** -0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return bool(np.abs(np.einsum("bhqk,bkhd->bqhd", weights, v) - out).max() < 1e-5)
"""


def environment(**changes):
    """This process's environment with changes; None removes a variable."""
    env = dict(os.environ)
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


def start_python(code, cwd=None, **env):
    source = PRELUDE + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_python(code, cwd=None, **env):
    """Output of ``code``, which must succeed."""
    done = start_python(code, cwd, **env)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
