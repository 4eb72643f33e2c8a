#!/usr/bin/env bash
# check-cosign.sh UNPACKED KEY.pub [BUNDLE TYPE]: a signature over pack.json
# holds under the OpenSSH public key, by cosign 3, offline. BUNDLE and its
# predicate TYPE are the vendor's if not said otherwise. Without cosign it says
# so and ends with 77.
set -euo pipefail
command -v cosign > /dev/null || { echo "cosign: not installed, not checked"; exit 77; }
key=$(realpath "$2") bundle=${3:-signatures/vendor-1.sigstore.json} type=${4:-urn:trustpack:pack:vendor:v1}
cd "$1"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

# The OpenSSH line as PEM: the bytes that begin a SubjectPublicKeyInfo, and the key.
case $(cut -d' ' -f1 "$key") in
ssh-ed25519) prefix='\060\052\060\005\006\003\053\145\160\003\041\000' length=32 ;;
*) prefix='\060\131\060\023\006\007\052\206\110\316\075\002\001\006\010\052\206\110\316\075\003\001\007\003\102\000' length=65 ;;
esac
{
  echo "-----BEGIN PUBLIC KEY-----"
  { printf "$prefix"; cut -d' ' -f2 "$key" | base64 -d | tail -c "$length"; } | base64 -w 64
  echo "-----END PUBLIC KEY-----"
} > "$t/key.pem"

cosign verify-blob-attestation --key "$t/key.pem" --bundle "$bundle" --insecure-ignore-tlog --type "$type" pack.json
echo "cosign: OK, $bundle"
