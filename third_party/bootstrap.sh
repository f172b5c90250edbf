#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sets up everything that Tilewright's demo and tests need, from a bare Debian 12: system packages by apt, a Python
# environment in .venv, the build in build/ (the CLI is build/bin/tilewright), the wheel in dist/, and the wheel
# installed into .venv. What is there already is not done again: a second run asks neither apt nor pip.
#
#   third_party/bootstrap.sh [--tests]      --tests builds the C++ and IR tests too
#
# python/run-demo.sh and tests/run.sh source this file and call bootstrap() themselves.
#
# Environment: TILEWRIGHT_JOBS   compile jobs at once (default: the cores, but at most one for 2 GiB of free memory)
set -euo pipefail

tw_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
tw_venv="$tw_root/.venv"
tw_build="$tw_root/build"
tw_logs="$tw_build/bootstrap"
tw_llvm_root=/usr/lib/llvm-22

# Debian's tools first: a cmake or python3 of another origin in front of them would be a second, untested toolchain.
export PATH="/usr/bin:/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# ccache keys must not hold the checkout's path, or every fresh clone would be compiled from nothing.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$tw_root}" CCACHE_NOHASHDIR=1

# Why each package is here. Recommended packages are not installed.
tw_build_packages=(
  g++               # the host compiler
  cmake ninja-build # the build
  ccache            # an optional compiler launcher: rebuilds after a git checkout in seconds
  llvm-22-dev       # LLVM's headers, static archives, CMake files, llvm-tblgen
  libmlir-22-dev    # the same of MLIR
  mlir-22-tools     # mlir-tblgen, and programs whose presence MLIR's CMake files check
  lld-22            # the linker: the static link takes seconds with it
  zlib1g-dev        # libz.a, which LLVM's Support archive needs
  libzstd-dev       # libzstd.a, the same
  nlohmann-json3-dev # JSON in the runtime and the CLI
  libcli11-dev      # the CLI's argument parser
  python3 python3-venv # .venv; CMake's TableGen and TVM-FFI look-ups run python3 as well
)
tw_test_packages=(
  llvm-22-tools     # lit, FileCheck, not, count
  libgtest-dev libgmock-dev # the C++ tests
)

# The Python side. scikit-build-core and wheel build the wheel; apache-tvm-ffi and numpy are what it needs at run time;
# ml_dtypes is NumPy's bfloat16; matplotlib draws the demo's picture; pytest runs tests/python. nvidia-nvptxcompiler is
# a static library, linked into build/lib/libtilewright_ptx.so: the oldest release there is, because machine code of a
# later CUDA release than the driver's may be refused. README.md in this folder says under which terms.
tw_requirements=(
  'scikit-build-core>=1.1,<2'
  'wheel>=0.40'
  'apache-tvm-ffi>=0.1.15,<0.2'
  'numpy>=1.26,<3'
  'ml_dtypes>=0.5,<1'
  'matplotlib>=3.8,<4'
  'pytest>=8,<10'
  'nvidia-nvptxcompiler==13.0.88'
)

# --- Messages ----------------------------------------------------------------------------------------------------

tw_step=''        # title of the running step, '' between steps
tw_step_number=0
tw_step_total=4   # the caller adds its own
tw_step_start=0

tw_now_ms() { date +%s%3N; }

tw_seconds_since() { # START_MS
  local ms=$(($(tw_now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

note() { printf '      %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

step_done() {
  if [[ -n $tw_step ]]; then
    note "done in $(tw_seconds_since "$tw_step_start")"
    tw_step=''
  fi
}

step() { # TITLE
  step_done
  tw_step="$1"
  tw_step_number=$((tw_step_number + 1))
  tw_step_start="$(tw_now_ms)"
  printf '[%d/%d] %s\n' "$tw_step_number" "$tw_step_total" "$tw_step"
}

tw_on_exit() {
  local status=$?
  if ((status != 0)) && [[ -n $tw_step ]]; then
    printf 'stopped in step [%d/%d] %s\n' "$tw_step_number" "$tw_step_total" "$tw_step" >&2
  fi
}
trap tw_on_exit EXIT

# Shows the lines of stdin that match a pattern: on a terminal the newest one in place, elsewhere one every 5 seconds,
# so that a log of a long build stays short.
tw_progress() { # PATTERN
  local line shown='' pending='' last=-5 width=100
  if [[ -t 1 ]]; then
    width="$(tput cols 2>/dev/null || echo 100)"
  fi
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ $1 ]] || continue
    line="${line#"${line%%[![:space:]]*}"}"
    # Ninja names whole paths: the counter and the file's name say as much.
    if [[ $line =~ ^(\[[0-9]+/[0-9]+\])\ (Building|Linking|Generating)\ .*[\ /]([^\ /]+)$ ]]; then
      line="${BASH_REMATCH[1]} ${BASH_REMATCH[3]}"
    fi
    pending="$line"
    if [[ -t 1 ]]; then
      printf '\r\033[K      %s' "${line:0:$((width > 10 ? width - 7 : 80))}"
      shown="$line"
    elif ((SECONDS - last >= 5)); then
      note "$line"
      shown="$line"
      last=$SECONDS
    fi
  done
  if [[ -t 1 && -n $shown ]]; then
    printf '\r\033[K'
  fi
  if [[ -n $pending && ($pending != "$shown" || -t 1) ]]; then
    note "$pending"
  fi
}

# Runs a command with its output in a log file; progress lines are shown, and the log's end if the command fails.
tw_logged() { # LOG PATTERN COMMAND...
  local name="$1" log="$tw_logs/$1.log" pattern="$2" from
  shift 2
  mkdir -p "$tw_logs"
  if ! "$@" </dev/null 2>&1 | tee "$log" | tw_progress "$pattern"; then
    printf '\n--- %s failed:\n' "$name" >&2
    # A compiler's message stands above the jobs that were still running when it came.
    from="$(grep -n -m 1 -E '^ *(FAILED:|CMake Error)' "$log" | cut -d : -f 1)" || from=''
    if [[ -n $from ]]; then
      tail -n "+$from" "$log" | head -n 80 >&2
    else
      tail -n 40 "$log" >&2
    fi
    die "the whole output is in $log"
  fi
}

# --- System packages ---------------------------------------------------------------------------------------------

tw_check_platform() {
  local id='' version='' name='an unknown system'
  if [[ -r /etc/os-release ]]; then
    id="$(. /etc/os-release && printf '%s' "${ID-}")"
    version="$(. /etc/os-release && printf '%s' "${VERSION_ID-}")"
    name="$(. /etc/os-release && printf '%s' "${PRETTY_NAME-$name}")"
  fi
  if [[ $(uname -s) != Linux || $(uname -m) != x86_64 ]]; then
    die "this machine is $(uname -s) on $(uname -m); supported: Linux on x86_64"
  fi
  case "$id $version" in
    'debian 12') ;;
    'ubuntu 24.04') note "$name: untested. Tested: Debian 12" ;;
    *) note "$name: untested. Tested: Debian 12 (Ubuntu 24.04 may work, untested)" ;;
  esac
}

tw_supported='Supported: Debian 12, where all of them are in the main component (LLVM 22: suite bookworm-security);
       Ubuntu 24.04 is untested, and LLVM/MLIR 22 must come from a package source that you add.'

tw_missing_packages() { # PACKAGE...; prints those that are not installed
  local installed package
  installed=" $(dpkg-query -W -f '${Package}=${db:Status-Status} ' "$@" 2>/dev/null || true)"
  for package in "$@"; do
    if [[ $installed != *" $package=installed "* ]]; then
      printf '%s\n' "$package"
    fi
  done
}

tw_system_packages() { # PACKAGE...
  local missing unavailable=() as_root=() package
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "dpkg-query or apt-get not found: the system packages are installed with apt.
       Needed: $*
       $tw_supported"
  fi
  mapfile -t missing < <(tw_missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    note 'all installed'
    return
  fi
  note "to install: ${missing[*]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      die "not root, and sudo not found. As root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    # Asked here, before output goes to a log where a password prompt would not be seen.
    sudo -v || die "sudo was refused. As root: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  # A package source of no concern here may be out of reach: what counts is whether the packages are known afterwards.
  mkdir -p "$tw_logs"
  "${apt[@]}" update </dev/null >"$tw_logs/apt-update.log" 2>&1 || true
  for package in "${missing[@]}"; do
    if [[ -z $(apt-cache show --no-all-versions "$package" 2>/dev/null) ]]; then
      unavailable+=("$package")
    fi
  done
  if ((${#unavailable[@]} > 0)); then
    grep -E '^(E|Err|W):' "$tw_logs/apt-update.log" >&2 || true
    die "apt knows no package of these names: ${unavailable[*]}
       $tw_supported
       What apt-get update said: $tw_logs/apt-update.log"
  fi
  tw_logged apt '^(Get:|Setting up |Fetched )' "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
  mapfile -t missing < <(tw_missing_packages "$@")
  if ((${#missing[@]} > 0)); then
    die "apt-get succeeded, but these are not installed: ${missing[*]}"
  fi
}

# --- Python environment ------------------------------------------------------------------------------------------

# A stamp file holds what a step was done for; the step is skipped while that is unchanged.
tw_stamp_matches() { [[ -f $1 && $(<"$1") == "$2" ]]; }

tw_pip_install() { # LOG STAMP REQUIREMENT...
  local log="$1" stamp="$tw_venv/.tilewright-$2" want
  shift 2
  # The path counts: an environment that was moved still points to where it was made.
  want="$tw_venv"$'\n'"$("$tw_venv/bin/python" -VV)"$'\n'"$(printf '%s\n' "$@")"
  if tw_stamp_matches "$stamp" "$want"; then
    note 'all installed'
    return
  fi
  tw_logged "$log" '^ *(Collecting|Downloading|Processing|Installing|Successfully) ?' \
    "$tw_venv/bin/python" -m pip install --progress-bar off "$@"
  printf '%s\n' "$want" >"$stamp"
}

tw_python_environment() {
  local stamp="$tw_venv/.tilewright-path"
  if ! tw_stamp_matches "$stamp" "$tw_venv" || ! "$tw_venv/bin/python" -c '' 2>/dev/null; then
    note "making $tw_venv with $(/usr/bin/python3 -V)"
    tw_logged venv '^$' /usr/bin/python3 -m venv --clear "$tw_venv"
    printf '%s\n' "$tw_venv" >"$stamp"
  fi
  tw_pip_install pip requirements "${tw_requirements[@]}"
}

# --- Build -------------------------------------------------------------------------------------------------------

tw_jobs() {
  local cores memory limit jobs
  if [[ -n ${TILEWRIGHT_JOBS-} ]]; then
    [[ $TILEWRIGHT_JOBS =~ ^[1-9][0-9]*$ ]] ||
      die "TILEWRIGHT_JOBS is '$TILEWRIGHT_JOBS'; allowed: an integer of at least 1"
    printf '%s' "$TILEWRIGHT_JOBS"
    return
  fi
  cores="$(nproc)"
  memory="$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)"
  # A container's limit is not in /proc/meminfo.
  limit="$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)"
  if [[ $limit =~ ^[0-9]+$ ]] && ((limit / 1024 < memory)); then
    memory=$((limit / 1024))
  fi
  jobs=$((memory / (2 * 1024 * 1024)))
  jobs=$((jobs < cores ? jobs : cores))
  printf '%d' $((jobs > 1 ? jobs : 1))
}

# Digest of everything that the build reads: the sources, the tools' versions, the options.
tw_inputs_digest() { # TESTS(ON|OFF)
  local parts=(compiler runtime kernels python third_party CMakeLists.txt pyproject.toml README.md LICENSE)
  if [[ $1 == ON ]]; then
    parts+=(tests)
  fi
  {
    printf '%s\n' "$tw_root" "tests=$1" "${CC-} ${CXX-} ${CFLAGS-} ${CXXFLAGS-} ${LDFLAGS-} ${CMAKE_ARGS-}"
    dpkg-query -W "${tw_build_packages[@]}" 2>/dev/null || true
    "$tw_venv/bin/python" -VV
    (cd "$tw_root" && find "${parts[@]}" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
      xargs -0 sha256sum)
  } | sha256sum | cut -d ' ' -f 1
}

# Size and time of what the build left: a build by hand since then makes the stamp stale.
tw_outputs_state() {
  stat -c '%n %s %Y' "$tw_build/bin/tilewright" "$tw_build/lib/libtilewright.so" "$tw_root"/dist/tilewright-*.whl \
    2>/dev/null || true
}

tw_wheel() {
  local wheels=("$tw_root"/dist/tilewright-*.whl)
  if ((${#wheels[@]} != 1)) || [[ ! -f ${wheels[0]} ]]; then
    die "expected one tilewright wheel in $tw_root/dist"
  fi
  printf '%s' "${wheels[0]}"
}

tw_build_wheel() { # TESTS(ON|OFF)
  local tests="$1" stamp="$tw_build/bootstrap/stamp" inputs jobs wheels glibc
  # Tests that an earlier run built stay in the build tree: CMake deletes the outputs of targets that are turned off.
  if grep -qs '^TILEWRIGHT_BUILD_TESTS:[A-Z]*=\(ON\|1\|TRUE\)$' "$tw_build/CMakeCache.txt"; then
    tests=ON
  fi
  inputs="$(tw_inputs_digest "$tests")"
  if tw_stamp_matches "$stamp" "$inputs"$'\n'"$(tw_outputs_state)"; then
    note 'up to date'
    return
  fi
  jobs="$(tw_jobs)"
  note "compile jobs: $jobs"
  rm -rf "$tw_build/wheel"
  # pip drives CMake and Ninja in build/; the options have their long form because Debian 12's pip knows no other.
  CMAKE_BUILD_PARALLEL_LEVEL="$jobs" CMAKE_EXECUTABLE=/usr/bin/cmake CMAKE_GENERATOR=Ninja \
    tw_logged build '^ *(\[[0-9]+/[0-9]+\]|-- (Using|Configuring done|Build files)|\*\*\* )' \
    "$tw_venv/bin/python" -m pip wheel "$tw_root" -v --no-deps --no-build-isolation --wheel-dir "$tw_build/wheel" \
    --config-settings=build-dir="$tw_build" --config-settings=cmake.define.TILEWRIGHT_BUILD_TESTS="$tests"
  [[ -x $tw_build/bin/tilewright ]] || die "the build succeeded without making $tw_build/bin/tilewright"
  # LLVM's static archives need the glibc of the system that they come from: manylinux_2_36 on Debian 12.
  glibc="$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)"
  wheels=("$tw_build"/wheel/tilewright-*.whl)
  tw_logged wheel-tags '^$' "$tw_venv/bin/python" -m wheel tags --remove \
    --platform-tag "manylinux_${glibc//./_}_$(uname -m)" "${wheels[0]}"
  mkdir -p "$tw_root/dist"
  rm -f "$tw_root"/dist/tilewright-*.whl
  mv "$tw_build"/wheel/tilewright-*.whl "$tw_root/dist/"
  # Digested again: a source that was edited during the build must not count as built.
  if [[ $(tw_inputs_digest "$tests") == "$inputs" ]]; then
    printf '%s\n%s\n' "$inputs" "$(tw_outputs_state)" >"$stamp"
  else
    note 'the sources changed during the build; the next run builds again'
  fi
}

tw_install_wheel() {
  local wheel stamp="$tw_venv/.tilewright-wheel" digest
  wheel="$(tw_wheel)"
  digest="$(sha256sum <"$wheel")"
  if tw_stamp_matches "$stamp" "$digest"; then
    note "$(basename "$wheel"): installed"
    return
  fi
  rm -f "$stamp"
  tw_logged install '^ *(Processing|Successfully) ' \
    "$tw_venv/bin/python" -m pip install --no-index --no-deps --force-reinstall "$wheel"
  printf '%s\n' "$digest" >"$stamp"
}

# --- All of it ---------------------------------------------------------------------------------------------------

bootstrap() { # demo|tests
  local tests=OFF packages=("${tw_build_packages[@]}")
  if [[ $1 == tests ]]; then
    tests=ON
    packages+=("${tw_test_packages[@]}")
  fi
  # Two runs at once would build in the same folder.
  mkdir -p "$tw_logs"
  exec 9>"$tw_build/bootstrap/lock"
  if ! flock -n 9; then
    note 'waiting for another run of this script in this checkout'
    flock 9
  fi
  step 'System packages'
  tw_check_platform
  tw_system_packages "${packages[@]}"
  [[ -d $tw_llvm_root ]] || die "$tw_llvm_root is missing although llvm-22-dev is installed"
  step 'Python environment (.venv)'
  tw_python_environment
  step 'Build and wheel (build/bin/tilewright, dist/)'
  tw_build_wheel "$tests"
  step 'Wheel into .venv'
  tw_install_wheel
  step_done
  exec 9>&-
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case "${1-}" in
    '') bootstrap demo ;;
    --tests) bootstrap tests ;;
    -h | --help) sed -n '3,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" ;;
    *) die "unknown argument '$1'; allowed: --tests, --help" ;;
  esac
fi
