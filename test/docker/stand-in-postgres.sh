#!/bin/bash
# The entry point of the Postgres stand-in: as much of the official image's behaviour as our files rely on. Fills PGDATA
# when it is empty (POSTGRES_USER, POSTGRES_PASSWORD or …_FILE, POSTGRES_DB, POSTGRES_INITDB_ARGS), asks for passwords
# over TCP, and runs the server with the flags it was given, as the user postgres when it was started as root.
set -euo pipefail

from_file() {
  local name=$1 file="$1_FILE"
  if [ -n "${!file:-}" ]; then export "$name=$(< "${!file}")"; fi
  unset "$file"
}

case "${1:-}" in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" != postgres ]; then exec "$@"; fi

from_file POSTGRES_PASSWORD
from_file POSTGRES_USER
from_file POSTGRES_DB
: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"

mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || true
chmod 3775 /var/run/postgresql || true
if [ "$(id -u)" = 0 ]; then
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres '{}' +
  export POSTGRES_USER POSTGRES_DB
  exec gosu postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo 'POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE must be set' >&2
    exit 1
  fi
  if ! getent passwd "$(id -u)" > /dev/null; then
    # initdb looks its user up by name
    NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
    LD_PRELOAD=$(echo /usr/lib/*/libnss_wrapper.so)
    echo "postgres:x:$(id -u):$(id -g):PostgreSQL:$PGDATA:/bin/false" > "$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" > "$NSS_WRAPPER_GROUP"
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD
  fi
  eval "initdb --username=\"\$POSTGRES_USER\" --pwfile=<(echo \"\$POSTGRES_PASSWORD\") ${POSTGRES_INITDB_ARGS:-}"
  unset LD_PRELOAD
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  export PGPASSWORD=$POSTGRES_PASSWORD
  # on the local socket alone, like the official image: nobody may take this server for the real one
  pg_ctl -D "$PGDATA" -w -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}")" start
  if [ "$POSTGRES_DB" != postgres ]; then
    psql --no-psqlrc -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -c "create database \"$POSTGRES_DB\""
  fi
  for file in /docker-entrypoint-initdb.d/*.sql; do
    if [ -e "$file" ]; then psql --no-psqlrc -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"; fi
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  echo 'PostgreSQL init process complete; ready for start up.'
fi
exec "$@"
