#!/bin/bash
# Each header compiles alone, so that no file depends on the order of its includes.
set -u
bad=0
while read -r header; do
	# shellcheck disable=SC2086
	eval "${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude ${CPPFLAGS:-} -I'$(dirname "$header")'" \
		-Wall -Wextra -Werror -fsyntax-only -x c - <<< "#include \"$header\"" || bad=1
done < <(find "$PWD/include" "$PWD/src" "$PWD/tests" -name '*.h' | LC_ALL=C sort)
exit $bad
