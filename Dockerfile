# authsvc: the service and its command line, as a user without rights.
#
#   docker build -t authsvc .
#   docker run --read-only -p 127.0.0.1:8080:8080 -v authsvc-data:/var/lib/authsvc authsvc
#
# Nothing but /var/lib/authsvc is written, so the root file system can be read-only.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock ./
# Every file is checked against the lock's hash here. What is installed below comes from here alone.
RUN pip wheel --quiet --no-deps --require-hashes --prefer-binary --wheel-dir /wheels --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY authsvc ./authsvc
RUN python -m venv /build \
    && /build/bin/pip install --quiet --no-index --find-links /wheels hatchling \
    && /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv /opt/authsvc \
    && /opt/authsvc/bin/pip install --quiet --no-index --find-links /wheels 'authsvc[server,otel]' \
    && /opt/authsvc/bin/python -m compileall -q /opt/authsvc

FROM python:3.13-slim
RUN groupadd --system --gid 10001 authsvc \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/authsvc --shell /usr/sbin/nologin authsvc \
    && install --directory --owner=authsvc --mode=0700 /var/lib/authsvc \
    && install --directory --owner=authsvc --mode=0755 /shared
COPY --from=build /opt/authsvc /opt/authsvc
ENV PATH=/opt/authsvc/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AUTHSVC_HOST=0.0.0.0 \
    AUTHSVC_DATA_DIR=/var/lib/authsvc
USER 10001
WORKDIR /var/lib/authsvc
VOLUME /var/lib/authsvc
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-m", "authsvc.server.probe"]
ENTRYPOINT ["authsvc"]
CMD ["serve"]
