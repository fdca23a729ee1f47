# Parley's image: the locked dependencies, Parley itself, and nothing that builds either.
#
#   docker build --tag parley .
#   docker run --rm parley --help

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

RUN python -m venv --without-pip /opt/parley
COPY requirements.lock ./
RUN pip --python /opt/parley install --require-hashes --requirement requirements.lock

# What makes the package, as it is pinned for development. If it needs more one day, pip says so:
# with hashes it installs nothing that is not listed.
COPY requirements-dev.lock ./
RUN awk '/^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/,/# via/' \
        requirements-dev.lock > build.lock \
    && pip install --require-hashes --requirement build.lock

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation . \
    && pip --python /opt/parley install --no-deps parley-*.whl


FROM python:${PYTHON}-slim

# A number, so that an orchestrator can tell that it isn't root. /data is for SQLite files.
RUN groupadd --gid 10001 parley \
    && useradd --uid 10001 --gid parley --no-create-home --home-dir /data parley \
    && install --directory --owner parley --group parley --mode 0700 /data
COPY --from=build /opt/parley /opt/parley

ENV PATH=/opt/parley/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 10001:10001
EXPOSE 3000

# Whether it lives, not whether it is ready: restarting it would not bring a database back.
# (For plain HTTP on every address, as is the default; with other HOSTs, or TLS, give your own.)
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.getenv('PORT') or 3000), timeout=4); \
server.request('GET', '/healthz'); \
sys.exit(server.getresponse().status != 200)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["parley"]
CMD ["start"]
