# The production image: `voice serve`, and the commands that need no extras. docs/operations.md, "Images", says how to run
# it. A base pinned by digest: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What the installing needs stays in this stage.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Pinned by hash, before the sources, so that a change of code does not install them again. Ready-made wheels only, so no
# compiler is needed; the environment has no pip of its own.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --no-compile --only-binary :all: --require-hashes \
        -r requirements.lock \
    && python -m pip install --only-binary :all: --require-hashes -r requirements-build.lock

# Whole folders: modules, SQL, templates and the console's page.
COPY pyproject.toml README.md LICENSE ./
COPY runtime ./runtime
COPY console ./console
COPY actors ./actors
COPY tools ./tools
COPY db ./db
# Compiled here, since nothing can be written where it runs; by content, since times of files may change on the way.
RUN python -m hatchling build -t wheel -d dist \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-index --no-deps dist/*.whl \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib \
    && mkdir runs

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="mini-bcs-voice-vapi" \
      org.opencontainers.image.description="A supervised Trio runtime for voice agents hosted by Vapi" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# Nothing is installed in this image any more.
RUN python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel

COPY --from=build /opt/venv /opt/venv
WORKDIR /agent
COPY agent_desc.txt LICENSE ./
# All else belongs to root. Recordings, and the pod's name where POD_ID is not given, are kept here if they can be.
COPY --from=build --chown=10001:10001 /build/runs ./runs

# The doors listen on the container's own addresses: which of them anybody reaches is decided by what is published.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WEBHOOK_BIND=0.0.0.0:8009 \
    CONSOLE_BIND=0.0.0.0:8010
EXPOSE 8008 8009 8010
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "runtime.health_check"]
CMD ["voice", "serve"]
