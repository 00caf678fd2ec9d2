#!/bin/sh
# Everything that reads the sources without running them; prints what is wrong and exits 1 at the end.
#
#   layers    tests/lint/rules.py over includes and forbidden text
#   format    clang-format with .clang-format
#   tidy      clang-tidy with .clang-tidy
#   cpp       cppcheck with tests/lint/cppcheck.txt
#   shell     shellcheck over every shell script
#
# usage: lint.sh [CHECK...]
set -u
cd "$(dirname "$0")/../.." || exit 70
mkdir -p build
bad=0

sources() { git ls-files --cached --others --exclude-standard "$@"; }

scripts() {
	sources | while read -r file; do
		if [ -f "$file" ] && head -n 1 "$file" | grep -qE '^#!/(bin/sh|usr/bin/env bash)'; then
			echo "$file"
		fi
	done
}

run() {
	case $1 in
	layers) (cd tests/lint && python3 rules.py) ;;
	format) sources '*.c' '*.h' | xargs clang-format --dry-run -Werror ;;
	tidy) sources '*.c' | grep -v '^tests/' | xargs -P 2 -n 1 sh tests/lint/tidy.sh ;;
	cpp) cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
		--suppressions-list=tests/lint/cppcheck.txt --error-exitcode=1 -D_GNU_SOURCE -DISA=plain -I. -j 2 \
		--include=tests/lint/cppcheck.h common server worker ;;
	shell) scripts | xargs shellcheck ;;
	*) echo "lint.sh: unknown check $1" >&2 && return 64 ;;
	esac
}

[ $# -gt 0 ] || set -- layers format tidy cpp shell
for one in "$@"; do
	if run "$one"; then
		echo "ok   $one"
	else
		echo "FAIL $one"
		bad=1
	fi
done
exit $bad
