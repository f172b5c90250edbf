# SPDX-License-Identifier: Apache-2.0
"""The kernel cache as programs meet it: other processes, damaged files, folders that cannot be written."""

import contextlib
import json
import os

import pytest
from processes import run_python, start_python

CALL = """
import tilewright
from tilewright import inspect
q, k, v = arrays(dim={dim})
assert result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
print(json.dumps({{"events": [e["origin"] for e in inspect.events()], **inspect.stats()._asdict()}}))
"""


def call(dim=16, before="", **env):
    return json.loads(run_python(before + CALL.format(dim=dim), **env).splitlines()[-1])


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_second_process_compiles_nothing(tmp_path):
    first = call(TILEWRIGHT_CACHE_DIR=tmp_path)
    assert first["events"] == ["compiled"] and first["compiles"] == 1 and first["compile_ms"] > 0
    assert files(tmp_path)
    second = call(TILEWRIGHT_CACHE_DIR=tmp_path)
    assert second["events"] == ["disk"] and second["compiles"] == 0 and second["disk_hits"] == 1
    other = call(dim=17, TILEWRIGHT_CACHE_DIR=tmp_path)
    assert other["events"] == ["compiled"]


def test_events_name_key_and_time(tmp_path):
    text = run_python(
        """
        import tilewright
        q, k, v = arrays()
        engine = tilewright.Engine(cache_dir=sys.argv[-1] if len(sys.argv) > 1 else os.environ["FOLDER"])
        for _ in range(3):
            tilewright.flash_attn_func(q, k, v, engine=engine)
        print(json.dumps([engine.events(), engine.stats()._asdict()]))
        """,
        FOLDER=tmp_path,
    )
    events, stats = json.loads(text)
    assert len(events) == 1
    assert events[0]["key"].startswith("forward target=cpu:") and events[0]["ms"] > 0 and events[0]["stages"]
    assert stats["compiles"] == 1 and stats["memory_hits"] == 2


def damage_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "one bit": damage_flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "text": lambda path: path.write_bytes(b"not a kernel\n" * 100),
    "first bytes": lambda path: path.write_bytes(b"\0" * 16 + path.read_bytes()[16:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_recompiled(damage, tmp_path):
    call(TILEWRIGHT_CACHE_DIR=tmp_path)
    damaged = files(tmp_path)
    for path in damaged:
        DAMAGES[damage](path)
    again = call(TILEWRIGHT_CACHE_DIR=tmp_path)
    assert again["events"] == ["compiled"] and again["bad_entries"] == 1
    healed = call(TILEWRIGHT_CACHE_DIR=tmp_path)
    assert healed["events"] == ["disk"] and healed["bad_entries"] == 0


def test_entry_of_another_kernel_is_not_taken(tmp_path):
    """A file under a wrong name is a bad entry: the key inside it is compared."""
    call(dim=16, TILEWRIGHT_CACHE_DIR=tmp_path)
    ours = files(tmp_path)
    call(dim=17, TILEWRIGHT_CACHE_DIR=tmp_path)
    (other,) = set(files(tmp_path)) - set(ours)
    other.write_bytes(ours[0].read_bytes())
    again = call(dim=17, TILEWRIGHT_CACHE_DIR=tmp_path)
    assert again["events"] == ["compiled"] and again["bad_entries"] == 1


@contextlib.contextmanager
def read_only(folder):
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


def test_read_only_default_folder_serves_and_is_not_needed(tmp_path):
    """Nobody asked for it: what it holds is used, what it lacks is kept in memory, with one line of warning."""
    default = dict(XDG_CACHE_HOME=tmp_path, TILEWRIGHT_CACHE_DIR=None)
    call(dim=16, **default)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    with read_only(tmp_path):
        served = call(dim=16, before="drop_privileges()", **default)
        assert served["events"] == ["disk"]
        done = start_python("drop_privileges()\n" + CALL.format(dim=17) + CALL.format(dim=18), **default)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["events"] == ["compiled", "compiled"]
        assert len(done.stderr.splitlines()) == 1 and str(tmp_path) in done.stderr, done.stderr
        assert {path: path.read_bytes() for path in files(tmp_path)} == before


@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize("why", ["read-only", "below a file"])
def test_unusable_folder_that_was_asked_for_is_an_error(by, why, tmp_path):
    """Going on without a cache would hide the mistake."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "folder" if why == "read-only" else tmp_path / "file" / "cache"
    (tmp_path / "folder").mkdir()
    with read_only(tmp_path / "folder"):
        done = start_python(
            """
            import tilewright
            drop_privileges()
            out = None
            try:
                engine = tilewright.Engine(cache_dir=os.environ["FOLDER"]) if "FOLDER" in os.environ else None
                out = tilewright.flash_attn_func(*arrays(), engine=engine)
            except tilewright.CacheIOError as error:
                print("raised", error)
            assert out is None
            """,
            **{"FOLDER" if by == "argument" else "TILEWRIGHT_CACHE_DIR": folder},
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("raised") and str(folder) in done.stdout


@pytest.mark.parametrize("home", ["unset", "below a file", "read-only"])
def test_without_a_home(home, tmp_path):
    """Nothing was asked for explicitly: the default location is a convenience."""
    (tmp_path / "file").write_text("")
    (tmp_path / "home").mkdir()
    places = {"unset": None, "below a file": tmp_path / "file" / "home", "read-only": tmp_path / "home"}
    with read_only(tmp_path / "home"):
        result = call(before="drop_privileges()", HOME=places[home], XDG_CACHE_HOME=None, TILEWRIGHT_CACHE_DIR=None)
    assert result["events"] == ["compiled"]
    assert not list((tmp_path / "home").iterdir())


def test_default_locations(tmp_path):
    call(HOME=tmp_path / "home", XDG_CACHE_HOME=tmp_path / "xdg", TILEWRIGHT_CACHE_DIR=None)
    assert files(tmp_path / "xdg" / "tilewright") and not (tmp_path / "home").exists()
    (tmp_path / "home").mkdir()
    call(HOME=tmp_path / "home", XDG_CACHE_HOME=None, TILEWRIGHT_CACHE_DIR=None)
    assert files(tmp_path / "home" / ".cache" / "tilewright")
    again = call(HOME=tmp_path / "home", XDG_CACHE_HOME=None, TILEWRIGHT_CACHE_DIR=None)
    assert again["events"] == ["disk"]


def test_memory_only(tmp_path):
    result = run_python(
        """
        import tilewright
        engine = tilewright.Engine(cache_dir="")
        q, k, v = arrays()
        assert result_is_right(tilewright.flash_attn_func(q, k, v, engine=engine), q, k, v)
        print(engine.stats().compiles)
        """,
        TILEWRIGHT_CACHE_DIR=tmp_path,
    )
    assert result.split() == ["1"] and not files(tmp_path)


def test_processes_that_start_together(tmp_path):
    """Several processes miss the same kernel at once: all are right, and one entry stays."""
    import subprocess
    import sys

    from processes import PRELUDE, environment

    source = PRELUDE + CALL.format(dim=24)
    env = environment(TILEWRIGHT_CACHE_DIR=tmp_path)
    running = [subprocess.Popen([sys.executable, "-c", source], env=env, stdout=subprocess.PIPE) for _ in range(4)]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and json.loads(output.splitlines()[-1])["events"] in (["compiled"], ["disk"])
    assert call(dim=24, TILEWRIGHT_CACHE_DIR=tmp_path)["events"] == ["disk"]


def test_cache_folder_is_private(tmp_path):
    """A cache holds code: others must not be able to put some there."""
    folder = tmp_path / "new"
    call(TILEWRIGHT_CACHE_DIR=folder)
    assert os.stat(folder).st_mode & 0o022 == 0
