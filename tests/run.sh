#!/bin/sh
# Run cmocka programs (TAP) and pytest directories; end with one line "N passed, N failed".
# usage: run.sh PROGRAM... [--pytest PYTHON DIR...]
set -u
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export ASAN_OPTIONS="${ASAN_OPTIONS:-abort_on_error=0:detect_leaks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export OPENBLAS_NUM_THREADS=1

while [ $# -gt 0 ] && [ "$1" != --pytest ]; do
	CMOCKA_MESSAGE_OUTPUT=TAP "$1" >"$log" 2>&1
	status=$?
	ok=$(grep -c '^ok ' "$log")
	bad=$(grep -c '^not ok ' "$log")
	if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	fi
	if [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ]; then
		echo "no test ran" >>"$log"
		bad=1
	fi
	if [ "$bad" -ne 0 ]; then
		echo "FAIL $1 (exit $status)"
		cat "$log"
	else
		echo "ok   $1 ($ok)"
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
	shift
done

if [ $# -gt 1 ]; then
	python=$2
	shift 2
	dirs=""
	for dir in "$@"; do
		if ls "$dir"/test_*.py >/dev/null 2>&1; then
			dirs="$dirs $dir"
		fi
	done
	if [ -n "$dirs" ]; then
		xml=$(mktemp)
		# shellcheck disable=SC2086
		"$python" -m pytest -q -rfE --durations=8 --junitxml="$xml" -p no:cacheprovider $dirs
		status=$?
		counts=$("$python" - "$xml" <<'PY'
import sys, xml.etree.ElementTree as tree
total = bad = skipped = 0
try:
    for suite in tree.parse(sys.argv[1]).getroot().iter("testsuite"):
        total += int(suite.get("tests")); skipped += int(suite.get("skipped"))
        bad += int(suite.get("failures")) + int(suite.get("errors"))
except Exception:
    pass
print(total - bad - skipped, bad)
PY
)
		ok=${counts% *}
		bad=${counts#* }
		if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
			bad=1
		fi
		rm -f "$xml"
		passed=$((passed + ok))
		failed=$((failed + bad))
	fi
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
