#!/usr/bin/env bash
# Keys that sign updates, for development: an authority, and a signer it vouches for. Those that are there stay.
#
#   tools/signing-keys.sh DIR        DIR/ca.pem goes into images, DIR/sign.pem and DIR/sign.key sign bundles (tools/bundle.sh)
#
# A fleet's own keys are made elsewhere, kept off this machine, and named with SCRUBJAY_KEYS=<directory with ca.pem>.
set -euo pipefail
place="${1:?expected a directory}"
[ ! -e "$place/sign.pem" ] || exit 0
mkdir -p "$place"
umask 077
subject="/O=Scrubjay/CN=development only, never ship"
openssl req -x509 -newkey ed25519 -nodes -days 3650 -subj "$subject" -keyout "$place/ca.key" -out "$place/ca.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
# ECDSA: the oldest rauc that makes our bundles signs CMS with it, and not yet with Ed25519.
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject, signer" -keyout "$place/sign.key" -out "$place/sign.csr" 2>/dev/null
openssl x509 -req -in "$place/sign.csr" -CA "$place/ca.pem" -CAkey "$place/ca.key" -CAcreateserial -days 1825 -out "$place/sign.pem" \
    -extfile <(printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n') 2>/dev/null
chmod 644 "$place/ca.pem" "$place/sign.pem"
echo "keys: made $place, for development; images and bundles made with them trust each other and nobody else"
