#!/bin/sh
# Install the Debian packages of the named groups where they are missing: build, demo, test, arm64, lint.
# As root directly, else through sudo; without either it prints the line to run and exits 2.
set -eu

build="gcc make pkg-config libc6-dev libmicrohttpd-dev libjansson-dev libsqlite3-dev
	libuv1-dev libssl-dev libzip-dev zlib1g-dev libseccomp-dev"
demo="curl jq python3 python3-venv python3-pip unzip"
test="$demo libcmocka-dev libopenblas-dev chromium clang clang-format cppcheck libclang-rt-14-dev shellcheck wrk openssl"
arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
lint="clang-tidy gcovr"

want=""
for group in "$@"; do
	case $group in
	build) want="$want $build" ;;
	demo) want="$want $demo" ;;
	test) want="$want $test" ;;
	arm64) want="$want $arm64" ;;
	lint) want="$want $lint" ;;
	*) echo "packages.sh: unknown group $group" >&2; exit 64 ;;
	esac
done

missing=""
for package in $want; do
	state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
	[ "$state" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	sudo=""
elif command -v sudo >/dev/null 2>&1; then
	sudo="sudo"
else
	echo "Missing packages. As root, run: apt-get install -y$missing" >&2
	exit 2
fi
echo "installing:$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
