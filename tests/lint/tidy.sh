#!/bin/sh
# clang-tidy over one file, silent where nothing is wrong. Kernels are read as their plain variant; err.c defines
# what analyzer.h wraps.
set -u
wrap="-include tests/lint/analyzer.h"
[ "$1" != common/err.c ] || wrap=""
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
# shellcheck disable=SC2086
clang-tidy --quiet --warnings-as-errors='*' "$1" -- -std=c17 -D_GNU_SOURCE -I. -DISA=plain $wrap 2>"$counts" && exit 0
grep -vE '^[0-9]+ warnings? |^Suppressed|^Use -header-filter' "$counts"
exit 1
