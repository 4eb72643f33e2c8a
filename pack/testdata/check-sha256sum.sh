#!/usr/bin/env bash
# check-sha256sum.sh UNPACKED: the files of an unpacked pack are those that its
# checksums name. They prove nothing without a signature.
set -euo pipefail
cd "$1"
sha256sum -c --strict --quiet manifest-sha256.txt
sha256sum -c --strict --quiet tagmanifest-sha256.txt
echo "sha256sum: OK"
