# SPDX-License-Identifier: Apache-2.0
"""The installed package: what it carries, what its libraries export and need, and what the README says of it."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tilewright
from conftest import ROOT
from processes import run_python
from tilewright import inspect

PACKAGE = Path(tilewright.__file__).resolve().parent


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} (binutils) is not installed")
    return path


def needed(library):
    text = subprocess.run([tool("readelf"), "-dW", library], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text), re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", text)


def test_versions_agree():
    assert tilewright.__version__ == metadata.version("tilewright") == inspect.native_version()
    assert re.fullmatch(r"[0-9a-f]{16,}", inspect.build_id())


def test_library_exports_the_c_abi_only():
    library = PACKAGE / "lib" / "libtilewright.so"
    text = subprocess.run([tool("nm"), "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    names = {line.split()[-1].split("@")[0] for line in text.stdout.splitlines()}
    header = (PACKAGE / "include" / "tilewright" / "tilewright.h").read_text()
    declared = set(re.findall(r"^TW_EXPORT .*?\b(tw_\w+)\(", header, re.MULTILINE))
    assert names == declared and len(declared) > 15


def test_library_needs_the_c_runtime_only():
    libraries, paths = needed(PACKAGE / "lib" / "libtilewright.so")
    assert set(libraries) <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"} and not paths


def test_glue_finds_its_neighbour():
    libraries, paths = needed(PACKAGE / "lib" / "libtilewright_ffi.so")
    assert "libtilewright.so" in libraries and "libtvm_ffi.so" in libraries
    assert not any("python" in name or "torch" in name for name in libraries)
    assert paths == ["$ORIGIN"]


def test_headers_compile(tmp_path):
    """A C program and a C++ program build against what the package carries, and run."""
    lib, include = PACKAGE / "lib", PACKAGE / "include"
    (tmp_path / "c.c").write_text(
        '#include "tilewright/tilewright.h"\n#include <stdio.h>\nint main(void) { puts(tw_version()); return 0; }\n'
    )
    (tmp_path / "cpp.cpp").write_text(
        '#include "tilewright/tilewright.hpp"\n#include <cstdio>\nint main() { std::puts(tw_version()); }\n'
    )
    for compiler, source, standard in (("gcc", "c.c", "c11"), ("g++", "cpp.cpp", "c++20")):
        program = tmp_path / compiler
        subprocess.run(
            [tool(compiler), f"-std={standard}", "-Wall", "-Werror", f"-I{include}", tmp_path / source, "-o", program,
             f"-L{lib}", "-ltilewright", f"-Wl,-rpath,{lib}"],
            check=True,
        )  # fmt: skip
        assert subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip() == "0.1.0"


def test_command_line_tool():
    command = Path(sys.executable).parent / "tilewright"
    shown = subprocess.run([command, "--help"], check=True, capture_output=True, text=True)
    for word in ("compile", "verify", "info"):
        assert word in shown.stdout
    wrong = subprocess.run([command, "no-such-command"], capture_output=True, text=True)
    assert wrong.returncode != 0 and not wrong.stdout and wrong.stderr


def test_command_line_tool_says_the_same():
    """A wrong key: one message, from Python and from the command line."""
    command = Path(sys.executable).parent / "tilewright"
    key = "forward target=cpu:x86-64-v9"
    with pytest.raises(tilewright.InvalidArgument) as raised:
        inspect.compile(key, "attn")
    wrong = subprocess.run([command, "compile", "--key", key, "--emit", "attn"], capture_output=True, text=True)
    assert wrong.returncode != 0 and str(raised.value) in wrong.stderr


def test_stages_of_a_kernel():
    import numpy as np

    q = np.zeros((1, 40, 1, 16), np.float32)
    key = inspect.plan(q, q, q, causal=True)["steps"][0]["key"]
    for stage, word in {"attn": "attn.", "tile": "tile.", "vector": "vector", "llvm": "define"}.items():
        compiled = inspect.compile(key, stage)
        assert word in compiled.output.decode(), stage
        assert compiled.stage_ms and all(ms >= 0 for ms in compiled.stage_ms.values())
    assert inspect.compile(key, "schedule").output
    assert inspect.compile(key).output[:4] == b"\x7fELF"


def test_plan_names_the_steps():
    import numpy as np

    q = np.zeros((2, 150, 4, 16), np.float32)
    k = np.zeros((2, 150, 2, 16), np.float32)
    plain = inspect.plan(q, k, k, causal=True)
    assert len(plain["steps"]) == 1 and plain["workspace_bytes"] == 0
    assert " mask=causal " in plain["steps"][0]["key"] and plain["steps"][0]["programs"] > 0
    packed = inspect.plan(q, k, k, causal=True, glm_mask=np.zeros((2, 2, 3), np.int32))
    assert [step["key"].split()[0] for step in packed["steps"]] == ["row_limits", "forward"]
    assert packed["workspace_bytes"] >= 2 * 150 * 4


def test_info():
    info = inspect.info()
    assert info["version"] == tilewright.__version__
    assert tilewright.default_engine().info() == info


def readme():
    path = ROOT / "README.md"
    if not path.is_file():
        pytest.fail(f"{path} is missing")
    return path.read_text()


def test_readme_python_examples_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    assert blocks, "the README has no Python example"
    for block in blocks:
        run_python("exec(compile(open('example.py').read(), 'README.md', 'exec'))", cwd=_with(tmp_path, block))


def _with(folder, block):
    (folder / "example.py").write_text(block)
    return str(folder)


def test_readme_support_matrix_is_the_librarys():
    found = re.search(r"<!-- support-matrix:begin -->\n(.*?)<!-- support-matrix:end -->", readme(), re.DOTALL)
    assert found, "the README has no support matrix between its two markers"
    assert found.group(1).strip() == inspect.support_matrix().strip(), (
        "the README's support matrix is out of date; the library's is:\n" + inspect.support_matrix()
    )


def test_documents_are_packaged():
    """The demo's text."""
    packaged = {path.name: path.read_bytes() for path in (PACKAGE / "demo_text").glob("*.md")}
    assert packaged.get("README.md") == (ROOT / "README.md").read_bytes()
