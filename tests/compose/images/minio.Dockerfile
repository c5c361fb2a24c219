# SeaweedFS's S3 server where MinIO would be; the context has its binary.
ARG BACKMARKET_IMAGE
FROM ${BACKMARKET_IMAGE}
USER root
COPY weed silo /usr/local/bin/
RUN chmod 755 /usr/local/bin/weed /usr/local/bin/silo && chown root:root /data
ENTRYPOINT ["silo"]
HEALTHCHECK NONE
