#!/usr/bin/env bash
# check-ssh-keygen.sh UNPACKED KEY.pub: the vendor's SSH signature over pack.json
# holds, by OpenSSH, for a key that is valid from the first day of 2026 to the
# last of 2027, at a time within, and at none outside.
set -euo pipefail
key=$(realpath "$2")
cd "$1"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

echo "vendor namespaces=\"trustpack-pack\",valid-after=\"20260101Z\",valid-before=\"20271231235959Z\" $(cut -d' ' -f1,2 "$key")" > "$t/allowed_signers"
verify() {
  ssh-keygen -Y verify -f "$t/allowed_signers" -I vendor -n "$2" -s signatures/pack.json.sshsig -O verify-time="$1" < pack.json
}
verify 20261015120000Z trustpack-pack
for when in 20251231235959Z 20280101000000Z; do
  if verify "$when" trustpack-pack 2> /dev/null; then
    echo "accepted at $when, when the key is not valid" >&2
    exit 1
  fi
done
if verify 20261015120000Z git 2> /dev/null; then
  echo "accepted in another namespace" >&2
  exit 1
fi
echo "ssh-keygen: OK"
