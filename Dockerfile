# syntax=docker/dockerfile:1
# The server and nothing else: runtime dependencies from the lock, with hashes; no compiler, no package manager cache, no root.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Dependencies first: they change seldom, and this layer is kept while only the code changes.
COPY docker/requirements-runtime.lock docker/requirements-build.lock docker/
RUN python -m venv /opt/gantry \
 && /opt/gantry/bin/pip install --require-hashes --only-binary :all: -r docker/requirements-runtime.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r docker/requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /opt/build/bin/hatchling build -t wheel -d dist \
 && /opt/gantry/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/gantry/bin/pip uninstall --yes pip \
 && /opt/gantry/bin/python -m compileall -q /opt/gantry/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="DICOMweb server: QIDO-RS, WADO-RS, STOW-RS" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 gantry \
 && useradd --system --uid 10001 --gid gantry --home-dir /data --no-create-home --shell /usr/sbin/nologin gantry \
 && install -d -o gantry -g gantry -m 0750 /data
COPY --from=build /opt/gantry /opt/gantry
ENV PATH=/opt/gantry/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GANTRY_HOST=0.0.0.0 \
    GANTRY_PORT=8080 \
    GANTRY_DATA_DIR=/data \
    GANTRY_LOG_FORMAT=json
USER gantry
WORKDIR /data
VOLUME /data
EXPOSE 8080
# /healthz says that the process answers; /readyz, for load balancers, that database and blob store do too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['GANTRY_PORT']}/healthz\", timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gantry"]
CMD ["serve"]
