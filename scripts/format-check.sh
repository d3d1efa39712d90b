#!/bin/bash
# The source is as clang-format 14 (Debian 12) writes it with .clang-format. Names the files that
# are not; `make format` rewrites them.
set -u
command -v clang-format > /dev/null || { echo "clang-format is missing: run make deps"; exit 1; }
bad=0
while IFS= read -r -d '' file; do
	if ! clang-format --dry-run -Werror "$file" 2> /dev/null; then
		echo "$file: not formatted (make format)"
		bad=1
	fi
done < <(find src include tests examples -name '*.[ch]' -print0 | sort -z)
exit $bad
