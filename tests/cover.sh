#!/bin/sh
# Line coverage of the unit and API tests: the whole tree once more with --coverage under build/cover, then gcovr.
# The worker counts as far as unit tests reach it: inside its sandbox it can write no counts.
set -eu
cd "$(dirname "$0")/.."
status=0
find build/cover -name '*.gcda' -delete 2>/dev/null || true
make --no-print-directory -j2 B=build/cover SAN='-O0 -g --coverage' unit san || status=$?
make --no-print-directory build/venv/.ready
OBLIVIATE_BIN=$PWD/build/cover/san build/venv/bin/python -m pytest -q -p no:cacheprovider tests/api || status=$?
# Kernels are compiled once per instruction set and once in double; gcovr 5 merges them where they come from one
# object directory only.
gcovr --root . --filter '(common|server|worker)/' --exclude-directories '.*/dbl.*' --print-summary --sort-percentage \
	--html-details build/cover/index.html --html-title "Obliviate Server" build/cover/san
echo "by line: build/cover/index.html"
exit "$status"
