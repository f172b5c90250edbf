# SPDX-License-Identifier: Apache-2.0
#
# IR tests: tilewright-opt and the CLI, checked with FileCheck. Folders mirror compiler/lib.
import os

import lit.formats

config.name = "tilewright"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".mlir", ".test"]
config.environment["PATH"] = os.pathsep.join(
    [config.tilewright_bin_dir, config.llvm_tools_dir, config.environment["PATH"]]
)
