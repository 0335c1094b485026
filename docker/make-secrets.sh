#!/bin/sh
# Makes what docker-compose.yml keeps to itself, once: passwords, the cluster secret, a certificate authority and a
# certificate for each region, in docker/secrets/. Run again it makes what is missing and changes nothing else; to change
# something, delete its files first.
set -eu

REGIONS='eu-west us-east ap-south'
VALID_DAYS=825
dir=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}

fail() { echo "make-secrets: $*" >&2; exit 1; }
case "$(openssl version 2> /dev/null || true)" in
  'OpenSSL 3'* | 'OpenSSL 4'*) ;;
  *) fail 'needs OpenSSL 3 or newer as openssl on the PATH' ;;
esac

# The directory is the lock: only its owner gets in. The files in it must be readable for the users inside the
# containers, who have other numbers than yours, and see the single files that are mounted and nothing else.
mkdir -p "$dir"
chmod 700 "$dir"
umask 022

# put <file>: standard input becomes the file, whole or not at all
put() {
  cat > "$dir/$1.new"
  mv "$dir/$1.new" "$dir/$1"
  echo "made $1"
}
missing() { [ ! -s "$dir/$1" ]; }

if missing cluster; then openssl rand -hex 32 | put cluster; fi
# hexadecimal: needs no quoting in a URL, a shell or a configuration file
for name in postgres-admin nats nats-route app; do
  if missing "$name"; then openssl rand -hex 16 | put "$name"; fi
done

if missing nats.conf || [ "$dir/nats" -nt "$dir/nats.conf" ] || [ "$dir/nats-route" -nt "$dir/nats.conf" ]; then
  {
    echo "PASSWORD: \"$(cat "$dir/nats")\""
    echo "ROUTE_PASSWORD: \"$(cat "$dir/nats-route")\""
    echo 'ROUTES: ['
    for region in $REGIONS; do echo "  \"nats-route://route:$(cat "$dir/nats-route")@$region-nats:6222\""; done
    echo ']'
  } | put nats.conf
fi

# SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> (RFC 5803): what the gateways know of the password of `app`
verifier() {
  iterations=4096
  # the salt's bytes are these digits as text: a shell can't be trusted with others
  salt=$(openssl rand -hex 16)
  salted=$(openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt "pass:$1" -kdfopt "salt:$salt" \
    -kdfopt "iter:$iterations" PBKDF2 | tr -d ':\n')
  mac() { printf %s "$1" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$salted" -binary; }
  base64() { openssl base64 -A; }
  stored=$(mac 'Client Key' | openssl dgst -sha256 -binary | base64)
  printf 'SCRAM-SHA-256$%s:%s$%s:%s' "$iterations" "$(printf %s "$salt" | base64)" "$stored" "$(mac 'Server Key' | base64)"
}
if missing homeport.env || [ "$dir/app" -nt "$dir/homeport.env" ]; then
  # in single quotes: its dollar signs are not for Compose
  printf "HOMEPORT_USERS_APP_VERIFIER='%s'\n" "$(verifier "$(cat "$dir/app")")" | put homeport.env
fi

if missing ca.pem || missing ca.key; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 3650 \
    -subj '/CN=Homeport of docker-compose' -addext 'basicConstraints=critical,CA:true,pathlen:0' \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$dir/ca.key" -out "$dir/ca.pem" 2> /dev/null
  chmod 600 "$dir/ca.key" # never mounted
  echo 'made ca.pem, ca.key'
fi
for region in $REGIONS; do
  missing "$region.pem" || missing "$region.key" || continue
  names="DNS:$region-gateway,DNS:$region-postgres,DNS:$region-nats,DNS:localhost,IP:127.0.0.1"
  # NATS servers are servers and clients to each other
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days "$VALID_DAYS" \
    -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -subj "/CN=$region" -addext "subjectAltName=$names" \
    -addext 'basicConstraints=critical,CA:false' -addext 'keyUsage=critical,digitalSignature' \
    -addext 'extendedKeyUsage=serverAuth,clientAuth' -keyout "$dir/$region.key" -out "$dir/$region.pem" 2> /dev/null
  chmod 644 "$dir/$region.key"
  echo "made $region.pem, $region.key"
done
