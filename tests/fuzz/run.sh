#!/bin/sh
# Build each tests/fuzz/fuzz_NAME.c with libFuzzer, ASan and UBSan over the parsers, and run it for a while.
# Seeds are the files of tests/fuzz/seeds/NAME, of those directories of tests/cases with whose name NAME begins, and
# whatever there carries NAME in its own; what a run finds worth keeping stays in build/fuzz/NAME/corpus.
#
# usage: run.sh SECONDS SOURCE...        exit 1 when one crashed; the input lies in build/fuzz/NAME/
set -u
seconds=$1
shift
if [ $# -eq 0 ]; then
	echo "run.sh: no fuzz target" >&2
	exit 1
fi

flags="-std=c17 -D_GNU_SOURCE -I. -O1 -g -fno-omit-frame-pointer -fopenmp-simd -pthread -Wno-pass-failed"
sanitizers="address,undefined"
parsers="$(echo common/*.c) $(echo worker/base/*.c) $(echo worker/data/*.c)"
for file in worker/model/config.c worker/model/weights.c server/multipart.c server/range.c; do
	[ ! -f "$file" ] || parsers="$parsers $file"
done
objects=build/fuzz/objects
mkdir -p $objects

# Parsers are compiled once for all targets, again when any source or header is newer.
library=build/fuzz/parsers.a
if [ ! -f $library ] || [ -n "$(find common worker server tests/fuzz/run.sh -name '*.[chs]*' -newer $library | head -n 1)" ]; then
	rm -f $objects/* $library
	for file in $parsers; do
		[ -f "$file" ] || continue
		object=$objects/$(echo "$file" | tr / _ | sed 's/c$/o/')
		# shellcheck disable=SC2086
		clang $flags -fsanitize=fuzzer-no-link,$sanitizers -fno-sanitize-recover=undefined -c -o "$object" "$file" || exit 1
	done
	ar rcs $library $objects/*.o || exit 1
fi

seeds_of() {
	find tests/fuzz/seeds tests/cases -path "tests/fuzz/seeds/$1/*" -type f -o -name "*$1*" -type f -size -1024k
	for folder in tests/cases/*/; do
		case $1 in
		"$(basename "$folder")"*) find "$folder" -type f ! -name expected -size -1024k ;;
		esac
	done
}

bad=0
for source in "$@"; do
	name=$(basename "$source" .c)
	name=${name#fuzz_}
	place=build/fuzz/$name
	mkdir -p "$place/corpus" "$place/seeds"
	seeds_of "$name" | while read -r seed; do
		cp "$seed" "$place/seeds/$(echo "$seed" | tr / _)"
	done
	# shellcheck disable=SC2086
	clang $flags -fsanitize=fuzzer,$sanitizers -fno-sanitize-recover=undefined -o "$place/fuzz" "$source" $library \
		-ljansson -lcrypto -lm || exit 1
	if "$place/fuzz" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -verbosity=0 \
		-artifact_prefix="$place/" "$place/corpus" "$place/seeds" >"$place/log" 2>&1; then
		echo "ok   $name ($seconds s, $(find "$place/corpus" -type f | wc -l) inputs)"
	else
		echo "FAIL $name"
		tail -n 40 "$place/log"
		bad=1
	fi
done
exit $bad
