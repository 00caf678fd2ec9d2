#!/bin/sh
# Line coverage of the unit tests: the whole tree once more with --coverage under build/cover, then gcovr.
# The worker's inner parts count as far as unit tests reach them: inside its sandbox it can write no counts.
set -eu
cd "$(dirname "$0")/.."
find build/cover -name '*.gcda' -delete 2>/dev/null || true
make --no-print-directory -j2 B=build/cover SAN='-O0 -g --coverage' unit || status=$?
gcovr --root . --filter '(common|server|worker)/' --exclude '.*/main\.c' --object-directory build/cover \
	--print-summary --sort-percentage --html-details build/cover/index.html --html-title "Obliviate Server" build/cover
echo "by line: build/cover/index.html"
exit "${status:-0}"
