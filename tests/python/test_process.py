# SPDX-License-Identifier: Apache-2.0
"""One process with other libraries, forks, and exits at bad moments."""

import time

import pytest
from processes import run_python, start_python


def test_importing_loads_and_writes_nothing(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o555)
    output = run_python(
        """
        drop_privileges()
        import tilewright, tilewright.inspect, tilewright.masks, tilewright.reference, tilewright.demo
        maps = open("/proc/self/maps").read()
        print([name for name in ("numpy", "torch", "tvm_ffi", "matplotlib") if name in sys.modules])
        print("libtilewright" in maps, os.listdir("."), os.listdir(os.environ["HOME"]))
        """,
        cwd=str(home),
        HOME=home,
        XDG_CACHE_HOME=None,
        TILEWRIGHT_CACHE_DIR=None,
    )
    assert output.splitlines() == ["[]", "False [] []"]


def test_works_without_numpy_and_torch():
    output = run_python(
        """
        import importlib.abc
        class Blocked(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("numpy", "torch", "ml_dtypes"):
                    raise ModuleNotFoundError(f"no {name} here", name=name)
        sys.meta_path.insert(0, Blocked())
        import tilewright
        from tilewright import inspect
        print(inspect.native_version() == tilewright.__version__, "cpu" in inspect.support_matrix())
        print(inspect.info()["version"])
        try:
            tilewright.flash_attn_func([1], [2], [3])
        except tilewright.InvalidArgument as error:
            print(error)
        """
    )
    assert output.splitlines() == [
        "True True",
        "0.1.0",
        "q: is a list, must be a numpy.ndarray or a torch.Tensor",
    ]


def test_numpy_calls_import_no_torch(torch):
    output = run_python(
        """
        import tilewright
        q, k, v = arrays()
        assert result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
        print("torch" in sys.modules)
        """
    )
    assert output.split() == ["False"]


TORCH = """
def with_torch():
    import numpy as np, torch, tilewright
    q, k, v = arrays()
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    ours = tilewright.flash_attn_func(*tensors)
    theirs = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in tensors)).transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert result_is_right(ours.numpy(), q, k, v)
    (torch.randn(64, 64) @ torch.randn(64, 64)).sum()

def without_torch():
    import tilewright
    q, k, v = arrays(dim=20)
    assert result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
    assert "libtilewright.so" in open("/proc/self/maps").read()
"""


@pytest.mark.parametrize("order", ["torch first", "tilewright first"])
def test_in_one_process_with_torch(order, torch, tmp_path):
    """Kernels are compiled, not found: each library's own LLVM and C++ runtime is at work."""
    if order == "torch first":
        steps = "import torch; torch.ones(3).sum(); with_torch(); without_torch(); with_torch()"
    else:
        steps = 'without_torch(); assert "torch" not in sys.modules; with_torch(); without_torch()'
    run_python(TORCH + "\n" + "\n".join(steps.split("; ")), TILEWRIGHT_CACHE_DIR=tmp_path)


def test_glue_through_the_ffi_package(torch):
    """The exported functions are TVM-FFI functions: any of its users can call them."""
    output = run_python(
        """
        import torch, tvm_ffi
        from tilewright import _ffi
        _ffi.call("version")
        module = tvm_ffi.load_module(str(_ffi.glue_path()))
        q = torch.ones(1, 2, 1, 4)
        out = torch.zeros(1, 2, 1, 4)
        module.forward(0, q, q, q, out, None, None, None, False, "bottom_right")
        print(out.sum().item(), module.version())
        try:
            module.forward(0, q, q, q, out, None, None, -1.0, False, "bottom_right")
        except Exception as error:
            print(error)
        """
    )
    first, second = output.splitlines()
    assert first == "8.0 0.1.0" and second.startswith("softmax_scale: is -1")


def test_first_calls_of_many_threads(torch):
    """One of them imports TVM-FFI's package, and the others meet it half imported."""
    output = run_python(
        """
        import threading, torch, tilewright
        start, done = threading.Barrier(8), []
        def call():
            q = torch.randn(1, 16, 2, 8)
            start.wait()
            done.append(tilewright.flash_attn_func(q, q, q, softcap=2.0).shape)
        threads = [threading.Thread(target=call) for _ in range(8)]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        print(len(done))
        """
    )
    assert output.split() == ["8"]


def test_loading_changes_no_signal_handler():
    run_python(
        """
        import faulthandler, signal
        def handlers():
            actions = {}
            for number in range(1, 32):
                action = ctypes.create_string_buffer(1024)
                ctypes.CDLL(None).sigaction(number, None, action)
                actions[number] = action.raw[:8]  # the handler; the rest has unused bytes
            return actions
        faulthandler.enable()
        import numpy, tilewright
        before = handlers()
        q, k, v = arrays()
        assert result_is_right(tilewright.flash_attn_func(q, k, v, engine=tilewright.Engine(cache_dir="")), q, k, v)
        assert handlers() == before
        """
    )


def test_fork_after_use(tmp_path):
    run_python(
        """
        import tilewright
        def attend(dim):
            q, k, v = arrays(dim, sq=200, sk=200)
            return result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
        assert attend(16)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                # A kernel that is loaded, and one that must be compiled here.
                os._exit(0 if attend(16) and attend(17) else 1)
            assert os.waitpid(child, 0)[1] == 0
        assert attend(16) and attend(18)
        """,
        TILEWRIGHT_CACHE_DIR=tmp_path,
    )


def test_multiprocessing_fork(tmp_path):
    output = run_python(
        """
        import multiprocessing, tilewright
        def attend(dim):
            q, k, v = arrays(dim, sq=100, sk=100)
            return result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
        assert attend(16)
        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(pool.map(attend, [16, 17, 16, 18, 17, 16]))
        """,
        TILEWRIGHT_CACHE_DIR=tmp_path,
    )
    assert output.split() == str([True] * 6).split()


def test_fork_while_another_thread_works(tmp_path):
    """The child has one thread: no lock may have stayed with the other."""
    run_python(
        """
        import threading, tilewright
        def attend(dim):
            q, k, v = arrays(dim, sq=100, sk=100)
            return result_is_right(tilewright.flash_attn_func(q, k, v), q, k, v)
        assert attend(8)
        stop = threading.Event()
        def work():
            dim = 20
            while not stop.is_set():
                attend(dim)
                dim = 20 + (dim - 19) % 100
        thread = threading.Thread(target=work)
        thread.start()
        for i in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if attend(8) and attend(150 + i) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        """,
        TILEWRIGHT_CACHE_DIR=tmp_path,
    )


def test_engine_of_the_parent_in_a_child(tmp_path):
    """An engine's end in a forked child must not wait for threads that are not there."""
    run_python(
        """
        import tilewright
        engine = tilewright.Engine(num_threads=4)
        q, k, v = arrays(sq=300, sk=300)
        assert result_is_right(tilewright.flash_attn_func(q, k, v, engine=engine), q, k, v)
        child = os.fork()
        if child == 0:
            ok = result_is_right(tilewright.flash_attn_func(q, k, v, engine=engine), q, k, v)
            del engine
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert result_is_right(tilewright.flash_attn_func(q, k, v, engine=engine), q, k, v)
        """,
        TILEWRIGHT_CACHE_DIR=tmp_path,
    )


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_exit_during_a_compile(leave, tmp_path):
    for attempt in range(10):
        start = time.monotonic()
        done = start_python(
            f"""
            import threading, time, tilewright
            from tilewright import inspect
            arrays()
            inspect.native_version()
            compiling = threading.Event()
            def work():
                compiling.set()
                for dim in range(1, 257):
                    tilewright.flash_attn_func(*arrays(dim))
            threading.Thread(target=work, daemon=True).start()
            compiling.wait()
            time.sleep({0.01 + 0.02 * attempt})
            {leave}
            """,
            TILEWRIGHT_CACHE_DIR=tmp_path / str(attempt),
        )
        assert done.returncode == 0, f"attempt {attempt}: exit status {done.returncode}\n{done.stderr}"
        assert not done.stderr, done.stderr
        assert time.monotonic() - start < 15


def test_end_of_an_engine_with_work_behind_it():
    run_python(
        """
        import gc, tilewright
        for i in range(20):
            engine = tilewright.Engine(cache_dir="", num_threads=3)
            q, k, v = arrays(sq=100, sk=100)
            if i % 4 == 0:
                assert result_is_right(tilewright.flash_attn_func(q, k, v, engine=engine), q, k, v)
            del engine
        gc.collect()
        assert len(os.listdir("/proc/self/task")) < 30
        """
    )
