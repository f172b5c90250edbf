#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every test suite, and sets up everything for them first (third_party/bootstrap.sh).
#
#   tests/run.sh [--no-python] [--filter WORD] [--help]
#
#   --no-python     leave out the Python tests, and the download of PyTorch that they are compared with
#                   (NVRTC, which the C++ tests compile the CUDA reference with, comes from PyPI all the same)
#   --filter WORD   only tests whose name contains WORD; `verify` is left out
#
# Suites: lit (IR), gtest (C++, through ctest), verify (`tilewright verify --quick`), pytest (Python), gpu
# (tests/run-gpu.sh: all that needs a GPU, skipped with the reason where there is none). All of them run even if one
# fails. Kernels are compiled afresh: the tests' kernel cache is emptied at the start. Reports are left in
# build/test-results. The last line is 'N passed, N failed, N skipped'; the exit status is 0 only if nothing failed.
#
# Environment: TILEWRIGHT_JOBS, see third_party/bootstrap.sh.
set -euo pipefail
# shellcheck source=third_party/bootstrap.sh
source "$(dirname "${BASH_SOURCE[0]}")/../third_party/bootstrap.sh"

with_python=1
filter=''
while (($# > 0)); do
  case "$1" in
    --no-python) with_python=0 ;;
    --filter)
      (($# >= 2)) || die '--filter needs a word'
      filter="$2"
      shift
      ;;
    --filter=*) filter="${1#--filter=}" ;;
    -h | --help)
      sed -n '4,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) die "unknown argument '$1'; allowed: --no-python, --filter WORD, --help" ;;
  esac
  shift
done
# One spelling that means the same to lit and ctest (regular expressions) and to pytest (an expression).
if [[ -n $filter && ! $filter =~ ^[A-Za-z0-9_]+$ ]]; then
  die "--filter is '$filter'; allowed: one word of letters, digits and underscores"
fi

# lit puts paths into its command lines unquoted.
if [[ $tw_root =~ [[:space:]] ]]; then
  die "the tests need a checkout whose path has no spaces; this one is '$tw_root'"
fi

torch='torch==2.13.0'
nvrtc='nvidia-cuda-nvrtc==13.0.88' # the CUDA reference is compiled with it; no GPU is needed for that
results="$tw_build/test-results"

tw_step_total=$((tw_step_total + 5 + with_python * 2)) # NVRTC, tests' build, lit, gtest, gpu; PyTorch, pytest
if [[ -z $filter ]]; then
  tw_step_total=$((tw_step_total + 1)) # verify
fi

bootstrap tests

step "NVRTC, which compiles the CUDA reference ($nvrtc)"
if ! "$tw_venv/bin/python" -c 'import importlib.metadata as m; m.version("nvidia-cuda-nvrtc")' 2>/dev/null; then
  note '90 MB to download, 218 MB on disk'
fi
tw_pip_install pip-nvrtc nvrtc "$nvrtc"
TILEWRIGHT_NVRTC="$("$tw_venv/bin/python" -c '
import importlib.metadata
files = importlib.metadata.files("nvidia-cuda-nvrtc") or []
print(*[f.locate() for f in files if f.match("libnvrtc.so.*")])')"
[[ -f $TILEWRIGHT_NVRTC ]] || die "$nvrtc is installed, but holds no libnvrtc.so.* ('$TILEWRIGHT_NVRTC')"
export TILEWRIGHT_NVRTC

if ((with_python)); then
  step "PyTorch for the comparisons ($torch)"
  if ! "$tw_venv/bin/python" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
    note 'the wheel on PyPI brings CUDA libraries: 2.7 GB to download, 4.8 GB on disk'
  fi
  tw_pip_install pip-torch torch "$torch"
fi

step 'Build of the tests'
jobs="$(tw_jobs)"
tw_logged build-tests '^ *\[[0-9]+/[0-9]+\]' ninja -C "$tw_build" -j "$jobs"

rm -rf "$results"
mkdir -p "$results/cache"
export TILEWRIGHT_CACHE_DIR="$results/cache"
# In python/ the uninstalled package would hide the installed one.
cd "$tw_root"

run_suite() { # NAME COMMAND...; notes name, exit status, milliseconds for the summary
  local name="$1" status=0 start
  shift
  step "$name"
  start="$(tw_now_ms)"
  "$@" </dev/null || status=$?
  printf '%s %d %d\n' "$name" "$status" $(($(tw_now_ms) - start)) >>"$results/suites.txt"
}

verify_quick() { "$tw_build/bin/tilewright" verify --quick | tee "$results/verify.txt"; }
run_gpu() { "$tw_root/tests/run-gpu.sh" "${gpu_options[@]}" | tee "$results/gpu.txt"; }

lit_options=(-sv -j "$jobs" --xunit-xml-output "$results/lit.xml")
ctest_options=(--test-dir "$tw_build" -LE '^gpu$' --output-on-failure -j2 --timeout 600
  --output-junit "$results/gtest.xml")
pytest_options=(-q --junitxml "$results/pytest.xml" -m 'not gpu')
gpu_options=(--build "$tw_build")
if ((with_python)); then
  gpu_options+=(--installed --python "$tw_venv/bin/python")
else
  gpu_options+=(--no-python --python /usr/bin/python3)
fi
if [[ -n $filter ]]; then
  lit_options+=(--filter "$filter" --allow-empty-runs)
  ctest_options+=(-R "$filter")
  pytest_options+=(-k "$filter")
  gpu_options+=(--filter "$filter")
else
  ctest_options+=(--no-tests=error)
fi

run_suite lit "$tw_llvm_root/bin/lit" "${lit_options[@]}" "$tw_build/tests/lit"
run_suite gtest ctest "${ctest_options[@]}"
if [[ -z $filter ]]; then
  run_suite verify verify_quick
fi
if ((with_python)); then
  run_suite pytest "$tw_venv/bin/python" -m pytest "${pytest_options[@]}" "$tw_root/tests/python"
fi
run_suite gpu run_gpu
step_done

# Counts the tests in the suites' reports; for verify and gpu, what the last line says. A suite that exits with a
# failure which its report does not show (a crash of the runner, nothing collected) counts as one failed test.
/usr/bin/python3 - "$results" "$filter" <<'PYTHON'
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

results, word = pathlib.Path(sys.argv[1]), sys.argv[2]
NOT_SELECTED = "Test not selected"  # lit reports what --filter leaves out as skipped
NOTHING_COLLECTED = 5               # pytest's exit status
totals = {"passed": 0, "failed": 0, "skipped": 0}
failures, skips, rows = [], [], []


def skip_reason(case, skipped):
    """What the test said. ctest's report has only GoogleTest's output, where it follows 'FILE:LINE: Skipped'."""
    said = re.search(r": Skipped\n(.+)", case.findtext("system-out") or "")
    return said.group(1) if said else skipped.get("message") or "no reason given"


for line in (results / "suites.txt").read_text().splitlines():
    suite, status, ms = line.split()
    status = int(status)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    report = results / f"{suite}.xml"
    broken = ""
    if report.exists():
        try:
            cases = list(ET.parse(report).iter("testcase"))
        except ET.ParseError as error:
            cases, broken = [], f"report unreadable: {error}"
        for case in cases:
            group, name = case.get("classname") or "", case.get("name")
            name = f"{suite}: {name if group in ('', name) else f'{group}.{name}'}"
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                counts["failed"] += 1
                failures.append(name)
            elif skipped is not None:
                if word and (skipped.get("message") or "").startswith(NOT_SELECTED):
                    continue
                counts["skipped"] += 1
                skips.append(f"{name}: {skip_reason(case, skipped)}")
            else:
                counts["passed"] += 1
        if suite == "pytest" and word and status == NOTHING_COLLECTED:
            status = 0
    elif suite == "verify":
        table = (results / "verify.txt").read_text()
        total = re.search(r"^\d+ cases, (\d+) ok, (\d+) failed\b", table, re.MULTILINE)
        if total:
            counts["passed"], counts["failed"] = map(int, total.groups())
            failures += [f"verify: {name}" for name in re.findall(r"^(.+?)  +(?:\S+ +){4}FAIL$", table, re.MULTILINE)]
        elif status == 0:
            broken = "no totals printed"
    elif suite == "gpu":
        said = (results / "gpu.txt").read_text()
        total = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", said, re.MULTILINE)
        if total:
            counts["passed"], counts["failed"], counts["skipped"] = map(int, total.groups())
            failures += ["gpu: see above"] if counts["failed"] else []
            skips += [f"gpu: {line}" for line in re.findall(r"^skipped: (.+)$", said, re.MULTILINE)]
        elif status == 0:
            broken = "no totals printed"
    elif status == 0 and not word:  # lit writes no report when --filter leaves it nothing to run
        broken = "no report written"
    if broken or (status != 0 and counts["failed"] == 0):
        counts["failed"] += 1
        failures.append(f"{suite}: {broken or f'exit status {status}'}")
    for key in totals:
        totals[key] += counts[key]
    rows.append((suite, *counts.values(), f"{int(ms) / 1000:.1f} s", "FAILED" if counts["failed"] else "ok"))

if word and not any(totals.values()):
    totals["failed"] = 1
    failures.append(f"--filter {word}: no test has this in its name")

for title, names in (("Skipped", skips), ("Failed", failures)):
    if names:
        print(f"\n{title}:")
        print("\n".join(f"  {name}" for name in names))
print(f"\n{'suite':8} {'passed':>7} {'failed':>7} {'skipped':>8} {'time':>10}")
for suite, passed, failed, skipped, time, verdict in rows:
    print(f"{suite:8} {passed:7} {failed:7} {skipped:8} {time:>10}  {verdict}")
print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
sys.exit(1 if totals["failed"] else 0)
PYTHON
