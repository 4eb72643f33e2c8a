#!/usr/bin/env bash
# Builds the example vendor's pack and checks it twice: with trustpack, and with
# tools that know nothing of it. Usage: check.sh [DIR]
# DIR is where the demo goes, or went: with a pack in it, only the checks run.
# TRUSTPACK names the program; without it, it is built from this checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dir=${1:-$work/demo}

if [ -z "${TRUSTPACK:-}" ]; then
  TRUSTPACK=$work/trustpack
  (cd "$here/../.." && go build -o "$TRUSTPACK" ./cmd/trustpack)
fi
ls "$dir"/*.epack.zip >/dev/null 2>&1 || "$TRUSTPACK" demo --dir "$dir"
dir=$(cd "$dir" && pwd)
pack=$(ls "$dir"/*.epack.zip)

echo "== trustpack verify"
"$TRUSTPACK" verify "$pack" --key "$dir/vendor.pub" --log-key "$dir"

echo "== by hand, as the pack's own README.txt says"
mkdir "$work/unpacked"
unzip -q "$pack" -d "$work/unpacked"
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$work/unpacked/README.txt" > "$work/by-hand.sh"
[ -s "$work/by-hand.sh" ] || { echo "README.txt holds no commands"; exit 1; }
(cd "$work/unpacked" && KEY="$dir/vendor.pub" bash -euo pipefail "$work/by-hand.sh")

echo "check: OK"
