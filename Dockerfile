# docker build -t tsad . ; another build of torch (the CPU's alone is a tenth of the size): --build-arg TORCH_INDEX=URL
FROM python:3.12-slim AS build
ARG TORCH_INDEX=
WORKDIR /src
COPY pyproject.toml requirements/py312.txt ./
# torch is pinned but not hashed, so that any build of it will do; all else is locked
RUN python -m venv /opt/tsad \
 && torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml) \
 && /opt/tsad/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
RUN /opt/tsad/bin/pip install --no-cache-dir --require-hashes --no-deps -r py312.txt
COPY README.md LICENSE ./
COPY streaming streaming
COPY detectors detectors
COPY storage storage
COPY tsad tsad
RUN /opt/tsad/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
COPY --from=build /opt/tsad /opt/tsad
RUN useradd --system --create-home --home-dir /var/lib/tsad tsad
USER tsad
# tsad.toml is read from here; the models, the history and an SQLite file are written here, and nothing elsewhere
WORKDIR /var/lib/tsad
ENV PATH=/opt/tsad/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp NUMBA_CACHE_DIR=/var/lib/tsad/.compiled
# for a processor like this one; another compiles anew when a container first starts on it
RUN python -m detectors.compiled
ENTRYPOINT ["tsad"]
CMD ["--help"]
