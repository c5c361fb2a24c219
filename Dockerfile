# One image for all processes: worker, beat, Flower, the console, the `backmarket` command. What runs is the command's to say.
#   docker build -t backmarket .                                         for production
#   docker build -t backmarket:dev --build-arg EXTRAS="worker console sandbox" . with the stand-in for the API
# Any image with Python 3.11 to 3.14 and its venv module will do as the base.
ARG BASE_IMAGE=python:3.13.14-slim-trixie

FROM ${BASE_IMAGE} AS build
ARG EXTRAS="worker console"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONDONTWRITEBYTECODE=1
ENV UV_NO_CACHE=1 UV_CONSTRAINT=requirements.lock UV_BUILD_CONSTRAINT=requirements.lock UV_PYTHON=/opt/backmarket/bin/python
WORKDIR /build
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/backmarket
# the packages change seldom, the code often: each has layers of its own
COPY scripts/uv scripts/
COPY pyproject.toml requirements.lock ./
RUN awk '/^[^ #]/ { on = /^uv==/ } on' requirements.lock >uv.lock && \
    tools/bin/pip install --quiet --require-hashes -r uv.lock
# what pyproject.toml names, as requirements.lock pins it, and only with its hashes
RUN scripts/uv tools/bin pip install --quiet --require-hashes --requirement pyproject.toml $(printf -- '--extra %s ' ${EXTRAS})
COPY backmarket backmarket
COPY tasks tasks
COPY workers workers
COPY docs docs
COPY schema.sql .env.example README.md LICENSE CHANGELOG.md ./
RUN scripts/uv tools/bin pip install --quiet --no-deps . && \
    scripts/uv tools/bin pip check --quiet && \
    python3 -m compileall -q /opt/backmarket/lib

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="backmarket" org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/backmarket/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN echo 'backmarket:x:10001:10001::/app:/usr/sbin/nologin' >>/etc/passwd && \
    echo 'backmarket:x:10001:' >>/etc/group && \
    install -d -o 10001 -g 10001 /data
COPY --from=build /opt/backmarket /opt/backmarket
WORKDIR /app
COPY tasks tasks
COPY workers workers
COPY deploy/alive deploy/bucket.py deploy/
# by number, so that Kubernetes can see that it is not root
USER 10001:10001
# SIGTERM: no new task, running slices write what they have and hand on (docs/operations/processes.md, Stopping)
STOPSIGNAL SIGTERM
# a process that neither serves nor ticks any more is dead; one whose broker is away for a minute is not
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["deploy/alive"]
CMD ["backmarket", "--help"]
