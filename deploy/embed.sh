#!/bin/sh
# Print a C file with the named files as byte arrays and one table over them (server/assets.h).
set -eu
printf '#include "server/assets.h"\n\n'
i=0
for file in "$@"; do
	printf 'static const unsigned char data_%d[] = {\n' "$i"
	od -An -v -tu1 "$file" | sed 's/  */,/g; s/^,//; s/$/,/'
	printf '0};\n'
	i=$((i + 1))
done
printf '\nconst struct asset assets[] = {\n'
i=0
for file in "$@"; do
	printf '\t{"%s", data_%d, sizeof(data_%d) - 1},\n' "$file" "$i" "$i"
	i=$((i + 1))
done
printf '\t{0},\n};\n'
