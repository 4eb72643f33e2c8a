#!/usr/bin/env bash
# Usage: check-timestamp.sh PACK-FOLDER TSA-ROOTS.pem
# Verifies the vendor's timestamp of an unpacked pack with OpenSSL, at the
# timestamp's own time.
set -euo pipefail
cd "$1"
signature=$(mktemp)
trap 'rm -f "$signature"' EXIT
sed 's/.*"sig":"\([^"]*\)".*/\1/' signatures/vendor-1.sigstore.json | base64 -d > "$signature"
at=$(date -u -d "$(openssl ts -reply -in signatures/vendor-1.tsr -text | sed -n 's/^Time stamp: //p')" +%s)
openssl ts -verify -in signatures/vendor-1.tsr -data "$signature" -CAfile "$2" -attime "$at"
