# hitless in a container:
#     docker build -t hitless .
#     docker run --rm -v "$PWD:/work" hitless run scenario.toml --no-live
# The embedded Postgres does not run as root, so neither does this image.
FROM python:3.12-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir . && rm -rf /src && useradd --create-home --uid 1000 hitless
USER hitless
WORKDIR /work
ENTRYPOINT ["hitless"]
CMD ["--help"]
