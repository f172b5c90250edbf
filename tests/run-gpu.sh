#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every test that needs a GPU. Builds nothing and installs nothing.
#
#   tests/run-gpu.sh [--build DIR [--installed]] [--python PYTHON] [--device N] [--no-python] [--filter WORD] [--help]
#
#   --build DIR      test the build tree DIR (build/, say) with the Python sources of this checkout, and run its C++
#                    tests labelled `gpu` too. Without it: the package that is installed in PYTHON
#   --installed      with --build: the Python tests test the package that is installed in PYTHON all the same
#   --python PYTHON  the interpreter [python3]; it needs pytest, and PyTorch with CUDA for the Python tests
#   --device N       the device that `verify` runs on [0]
#   --no-python      leave out the Python tests; needs --build
#   --filter WORD    only tests whose name contains WORD
#
# Parts: pytest (the tests marked `gpu` in tests/python), verify (`tilewright verify --quick --device cuda:N`), gtest
# (ctest's label `gpu`; only with --build). A few minutes on an H100. What is skipped, and why, is listed; without a
# GPU that is everything. The last line is 'N passed, N failed, N skipped'; the exit status is 0 only if nothing failed.
#
# Environment: TILEWRIGHT_CACHE_DIR, the kernel cache [a new one, removed at the end]; CUDA_VISIBLE_DEVICES.
set -euo pipefail

die() {
  echo "tests/run-gpu.sh: $*" >&2
  exit 2
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python=python3
build=''
installed=0
device=0
with_python=1
filter=''
while (($# > 0)); do
  case "$1" in
    --build | --python | --device | --filter)
      (($# >= 2)) || die "$1 needs a value"
      case "$1" in
        --build) build="$2" ;;
        --python) python="$2" ;;
        --device) device="$2" ;;
        --filter) filter="$2" ;;
      esac
      shift
      ;;
    --installed) installed=1 ;;
    --no-python) with_python=0 ;;
    -h | --help)
      sed -n '4,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) die "unknown argument '$1'; allowed: --build, --installed, --python, --device, --no-python, --filter, --help" ;;
  esac
  shift
done
[[ $device =~ ^[0-9]+$ ]] || die "--device is '$device'; allowed: the number of a CUDA device, as in 0"
if [[ -n $filter && ! $filter =~ ^[A-Za-z0-9_]+$ ]]; then
  die "--filter is '$filter'; allowed: one word of letters, digits and underscores"
fi
if [[ -z $build ]] && ((!with_python)); then
  die '--no-python needs --build: without a build tree the package comes from Python'
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export TILEWRIGHT_CACHE_DIR="${TILEWRIGHT_CACHE_DIR:-$work/cache}"

# The package: from the build tree as a wheel would lay it out, else what is installed.
if [[ -n $build ]]; then
  build="$(cd "$build" 2>/dev/null && pwd)" || die "--build is '$build', which is no folder"
  program="$build/bin/tilewright"
  [[ -x $program && -e $build/lib/libtilewright.so ]] ||
    die "--build is '$build', which holds no bin/tilewright or lib/libtilewright.so"
  if ((with_python && !installed)); then
    [[ -e $build/lib/libtilewright_ffi.so ]] || die "'$build' was built without the Python binding; give --no-python"
    package="$work/package/tilewright"
    mkdir -p "$package/lib" "$package/bin"
    # Copies: the package finds its libraries beside its own files, links resolved.
    cp -r "$root"/python/tilewright/. "$package/"
    cp -r "$root/kernels/schedules" "$package/schedules"
    ln -s "$build"/lib/libtilewright.so "$build"/lib/libtilewright_ffi.so "$package/lib/"
    ln -s "$program" "$package/bin/tilewright"
    export PYTHONPATH="$work/package${PYTHONPATH:+:$PYTHONPATH}"
  fi
else
  # From the work folder, where no source tree hides the installed package.
  found="$(cd "$work" && "$python" -c 'import tilewright; print(tilewright.__path__[0])' 2>&1)" ||
    die "no package to test: $python cannot import tilewright (${found##*$'\n'}); install the wheel, or give --build"
  program="$found/bin/tilewright"
fi
if ((with_python)); then
  "$python" -c 'import pytest' 2>/dev/null || die "$python has no pytest; install it there, or choose another --python"
fi
echo "tilewright: $("$program" --version 2>/dev/null || echo unknown) in ${program%/bin/tilewright}"

start=$SECONDS
# Why there is nothing to run on, or nothing at all.
no_gpu="$("$program" info --json | /usr/bin/env "$python" -c '
import json, sys
number, cuda = int(sys.argv[1]), json.load(sys.stdin)["devices"]["cuda"]
devices = cuda.get("devices", [])
if not cuda["found"]:
    print("no CUDA device: " + cuda["why"])
elif number >= len(devices):
    print(f"no device cuda:{number}: this process sees {len(devices)}")
elif not devices[number]["served"]:
    print("cuda:{} ({}) is below compute capability 8.0".format(number, devices[number]["name"]))
' "$device")"

passed=0 failed=0 skipped=0
skip() { # WHAT WHY
  skipped=$((skipped + 1))
  echo "skipped: $1: $2"
}

# Adds the counts of a JUnit report to the totals and names what was skipped. STATUS is the runner's: a failure that the
# report does not show counts as one.
count_report() { # PART REPORT STATUS
  local counts
  counts="$("$python" - "$@" "$work/skips" <<'PYTHON'
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

part, report, status, skips = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])
NOTHING_COLLECTED = 5  # pytest's exit status when a module skips itself
passed = failed = skipped = 0
lines = []
for case in ET.parse(report).iter("testcase") if report.exists() else ():
    reason = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        failed += 1
    elif reason is not None:
        skipped += 1
        said = re.search(r": Skipped\n(.+)", case.findtext("system-out") or "")
        # pytest's text is (file, line, 'Skipped: why') for a module.
        text = reason.text or reason.get("message") or ""
        why = said.group(1) if said else re.sub(r"^.*Skipped: |['\")]+$", "", text)
        lines.append(f"skipped: {part}: {case.get('name') or 'all'}: {why.strip() or 'no reason given'}\n")
    else:
        passed += 1
if status not in (0, NOTHING_COLLECTED if part == "pytest" else 0) and failed == 0:
    failed += 1
skips.write_text("".join(lines))
print(passed, failed, skipped)
PYTHON
  )"
  cat "$work/skips"
  read -r p f s <<<"$counts"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

if ((with_python)); then
  # A process a file, several at a time: most of the time goes into compiling kernels, which others can use.
  at_once="$(nproc)"
  ((at_once <= 8)) || at_once=8
  echo "== pytest -m gpu tests/python, $at_once files at a time"
  pytest=("$python" -m pytest -q -p no:cacheprovider --rootdir "$root" ${filter:+-k "$filter"} -m gpu)
  listed="$(cd "$work" && "${pytest[@]}" --collect-only "$root/tests/python" </dev/null)" || [[ $? -eq 5 ]] ||
    { echo "$listed" && die 'pytest could not collect the tests'; }
  # Of each test, and of each module that skips itself.
  mapfile -t files < <(grep -oE 'test_[a-z0-9_]+\.py:' <<<"$listed" | tr -d : | sort -u)
  for file in "${files[@]}"; do
    while (($(jobs -rp | wc -l) >= at_once)); do
      wait -n || true
    done
    (
      status=0
      cd "$work" && "${pytest[@]}" --junitxml "$work/$file.xml" "$root/tests/python/$file" </dev/null \
        >"$work/$file.log" 2>&1 || status=$?
      echo "$status" >"$work/$file.status"
    ) &
  done
  # In order, each as soon as it is done.
  for file in "${files[@]}"; do
    while [[ ! -e $work/$file.status ]]; do
      [[ -n $(jobs -rp) ]] || echo 1 >>"$work/$file.status" # killed before it could say
      wait -n || true
    done
    echo "-- $file"
    cat "$work/$file.log"
    count_report pytest "$work/$file.xml" "$(cat "$work/$file.status")"
  done
fi

echo "== tilewright verify --device cuda:$device"
if [[ -n $no_gpu ]]; then
  skip verify "$no_gpu"
elif ! "$program" verify --help | grep -q 'cuda:'; then
  skip verify 'this build verifies on the CPU only'
else
  status=0
  "$program" verify --quick --device "cuda:$device" ${filter:+--filter "$filter"} | tee "$work/verify.txt" || status=$?
  totals="$(grep -E '^[0-9]+ cases, ' "$work/verify.txt" || true)"
  if [[ $totals =~ ,\ ([0-9]+)\ ok,\ ([0-9]+)\ failed ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    ((status == 0 || BASH_REMATCH[2] > 0)) || failed=$((failed + 1))
  elif [[ -z $filter || $status -ne 0 ]]; then
    echo "verify: exit status $status and no totals"
    failed=$((failed + 1))
  fi
fi

if [[ -n $build ]]; then
  echo '== ctest -L gpu'
  if [[ ! -e $build/CTestTestfile.cmake ]]; then
    skip gtest "'$build' was built without tests"
  elif ! command -v ctest >/dev/null; then
    skip gtest 'ctest is not installed'
  else
    status=0
    ctest --test-dir "$build" -L '^gpu$' ${filter:+-R "$filter"} --output-on-failure --timeout 300 \
      --no-tests=ignore --output-junit "$work/gtest.xml" </dev/null || status=$?
    count_report gtest "$work/gtest.xml" "$status"
  fi
fi

echo "$((SECONDS - start)) s"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
