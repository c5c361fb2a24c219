# Debian's PostgreSQL, with as much of the official image's behaviour as docker-compose.yml relies on.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql >/dev/null && \
    ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ 2>/dev/null; rm -rf /var/lib/postgresql/* /var/lib/apt/lists/* && \
    install -d -o postgres -g postgres /docker-entrypoint-initdb.d && install -d -o postgres -g postgres -m 3777 /run/postgresql
COPY postgres-entrypoint /usr/local/bin/
ENTRYPOINT ["postgres-entrypoint"]
CMD ["postgres"]
