# The gateway with nothing but its locked dependencies and its own two wheels. The steps are those of `make wheels`.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock pyproject.toml ./
COPY tools tools
COPY clients/python clients/python
COPY server server
RUN tools/build-wheels dist && tools/install-wheels /opt/pictor dist

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/pictor pictor
COPY --from=build /opt/pictor /opt/pictor
ENV PATH=/opt/pictor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PICTOR_DATA_DIR=/var/lib/pictor \
    PICTOR_LISTEN=0.0.0.0:50051 \
    PICTOR_HTTP_LISTEN=0.0.0.0:8080 \
    PICTOR_HTTP_URL=http://127.0.0.1:8080 \
    PICTOR_ADMIN_LISTEN=127.0.0.1:9464
USER pictor
WORKDIR /var/lib/pictor
VOLUME /var/lib/pictor
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=2)"]
# SIGTERM drains: give `docker stop --time` the longest call plus 30 s, or calls already paid for end as unknown.
ENTRYPOINT ["pictord"]
CMD ["serve"]
