# Chatgate in a container.
#
#   docker build -t chatgate .
#   docker run -p 8080:8080 -v chatgate:/var/lib/chatgate chatgate          its own PostgreSQL, kept in the volume
#   docker run -p 8080:8080 -e DATABASE_URL=… -e CHATGATE__SEAL__KEY=… chatgate          a PostgreSQL of yours
#
# The last two stages stand on the same Debian, so that the binary finds the C library it was linked with.

FROM node:22-trixie-slim AS desk
WORKDIR /build/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY web .
RUN npm run build

FROM rust:1-trixie AS build
WORKDIR /build
COPY . .
COPY --from=desk /build/web/dist web/dist
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin chatgate && cp target/release/chatgate /chatgate

FROM debian:trixie-slim
# Only PostgreSQL's programs: Chatgate makes and runs its own cluster. tini ends what a killed server leaves behind.
RUN mkdir -p /etc/postgresql-common \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold ca-certificates curl postgresql tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/chatgate --create-home --shell /usr/sbin/nologin chatgate \
    && chmod 0700 /var/lib/chatgate
COPY --from=build /chatgate /usr/local/bin/chatgate

USER chatgate
WORKDIR /var/lib/chatgate
VOLUME /var/lib/chatgate
ENV CHATGATE__DATA_DIR=/var/lib/chatgate/data \
    CHATGATE__HTTP__LISTEN=0.0.0.0:8080 \
    CHATGATE__LOG__FORMAT=json
EXPOSE 8080
# A first start makes the database; a large upgrade may take longer, hence the generous beginning.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["tini", "--", "chatgate"]
CMD ["serve"]
