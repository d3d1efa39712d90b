#!/bin/bash
# The source is as clang-format 14 (Debian 12) writes it with .clang-format.
set -u
find src include tests examples -name '*.[ch]' -print0 | xargs -0 -r clang-format --dry-run -Werror
