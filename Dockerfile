# The gateway of one region, and every other command of homeport. The sources are TypeScript that Node runs as they are:
# there is nothing to compile, so the image is Node, the sources and the packages of production.
#
#   docker build -t homeport .
#   docker run -v ./homeport.yaml:/etc/homeport/homeport.yaml:ro homeport config check

FROM node:26-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# No package of production has an install script, and the optional ones are servers for the local cluster. Node loads no
# TypeScript from node_modules, and nobody debugs with source maps in there.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
  && find node_modules -type f \( -name '*.ts' -o -name '*.mts' -o -name '*.cts' -o -name '*.map' \) -delete

FROM node:26-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY bin bin
COPY migrations migrations
COPY src src
# `stateDir`: mount a volume here. With the snapshots of the directory in it a gateway starts without NATS.
RUN install --directory --owner=node --group=node /var/lib/homeport
USER node
# listen.pg, listen.peer, listen.http
EXPOSE 6432 6433 6434
# Ready when all workers answer; `listen.http` must be on its usual port, on any address that loopback reaches.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:6434/readyz').then(answer => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/homeport.mjs"]
CMD ["serve"]
