#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the demo, and sets up everything for it first (third_party/bootstrap.sh). Arguments go to the demo;
# python/run-demo.sh --help lists them.
set -euo pipefail
# shellcheck source=third_party/bootstrap.sh
source "$(dirname "${BASH_SOURCE[0]}")/../third_party/bootstrap.sh"

# The options can be listed before anything is built.
if [[ ${1-} == --help || ${1-} == -h ]] && command -v python3 >/dev/null; then
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$tw_root/python" exec python3 -m tilewright.demo --help
fi

tw_step_total=$((tw_step_total + 1))
bootstrap demo

step 'Demo'
# From the repository's root, where its picture goes: in python/ the uninstalled package would hide the installed one.
cd "$tw_root"
"$tw_venv/bin/python" -m tilewright.demo "$@"
step_done
