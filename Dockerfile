# The apps in a container. BUILD.md has the commands; built by hand, not by CI.
FROM python:3.12-slim

WORKDIR /packnet_tf
COPY setup.py pyproject.toml README.md LICENSE ./
COPY packnet_tf packnet_tf
COPY apps apps

# For an NVIDIA GPU: --build-arg MORE=tensorflow[and-cuda]
ARG MORE=
RUN pip install --no-cache-dir -e ".[demo]" $MORE

VOLUME /packnet_tf/runs
ENTRYPOINT ["python"]
CMD ["apps/demo.py"]
