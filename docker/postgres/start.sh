#!/bin/bash
# Postgres takes a private key only from a file that its own user or root owns and nobody else can read; a mounted
# secret has the owner that it has on the host.
set -euo pipefail
install --directory --owner=postgres --mode=700 /run/postgres-tls
install --owner=postgres --mode=600 "/run/secrets/$REGION.key" /run/postgres-tls/server.key
exec docker-entrypoint.sh postgres \
  -c ssl=on -c "ssl_cert_file=/run/secrets/$REGION.pem" -c ssl_key_file=/run/postgres-tls/server.key \
  -c "cluster_name=homeport/$REGION" "$@"
