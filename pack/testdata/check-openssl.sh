#!/usr/bin/env bash
# check-openssl.sh UNPACKED KEY.pub [BUNDLE]: a signature over pack.json holds
# under the OpenSSH public key, by OpenSSL 3. BUNDLE is the vendor's if not said
# otherwise.
set -euo pipefail
key=$(realpath "$2") bundle=${3:-signatures/vendor-1.sigstore.json}
cd "$1"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

# Statement and signature out of the bundle, and DSSE's header before the statement.
sed 's/.*"payload":"\([^"]*\)".*/\1/' "$bundle" | base64 -d > "$t/statement"
sed 's/.*"sig":"\([^"]*\)".*/\1/' "$bundle" | base64 -d > "$t/signature"
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < "$t/statement")"; cat "$t/statement"; } > "$t/signed"

# The key as a SubjectPublicKeyInfo: the bytes that begin one, and the key.
case $(cut -d' ' -f1 "$key") in
ssh-ed25519)
  prefix='\060\052\060\005\006\003\053\145\160\003\041\000' length=32 digest=() ;;
ecdsa-sha2-nistp256)
  prefix='\060\131\060\023\006\007\052\206\110\316\075\002\001\006\010\052\206\110\316\075\003\001\007\003\102\000' length=65 digest=(-digest sha256) ;;
*)
  echo "neither Ed25519 nor P-256: $key" >&2
  exit 2 ;;
esac
{ printf "$prefix"; cut -d' ' -f2 "$key" | base64 -d | tail -c "$length"; } > "$t/key.der"

openssl pkeyutl -verify -pubin -keyform DER -inkey "$t/key.der" -rawin "${digest[@]}" -in "$t/signed" -sigfile "$t/signature"
grep -qF "\"digest\":{\"sha256\":\"$(sha256sum < pack.json | cut -d' ' -f1)\"}" "$t/statement"
echo "openssl: OK, $bundle"
