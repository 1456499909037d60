# docker build -t tsad . ; a CUDA build of torch: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml requirements/py312.txt ./
RUN python -m venv /opt/tsad \
 && torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml) \
 && /opt/tsad/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" "$torch"
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
# tsad.toml is read from here; the models, the history and an SQLite file are written here
WORKDIR /var/lib/tsad
ENV PATH=/opt/tsad/bin:$PATH
ENTRYPOINT ["tsad"]
CMD ["--help"]
