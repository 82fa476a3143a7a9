# EdgeKit on a Jetson with JetPack 6 (L4T 36.x: Python 3.10, CUDA 12.6, TensorRT 10.3).
#
#   docker build -f docker/jetpack6.Dockerfile -t edgekit:jetpack6 .
#   docker run --rm -it --runtime nvidia -v "$PWD:/work" -v edgekit-engines:/cache edgekit:jetpack6 edgekit doctor
#
# Not yet built or run on a board by the authors: docs/verified.md says what has been.

ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    EDGEKIT_CACHE=/cache

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*

# TensorRT's Python module is a system package, so the environment must see those.
RUN python3 -m venv --system-site-packages /opt/edgekit
ENV PATH=/opt/edgekit/bin:$PATH

COPY . /src/edgekit
RUN pip install '/src/edgekit[jetson]' && rm -rf /src/edgekit

VOLUME /cache
WORKDIR /work
CMD ["edgekit", "doctor"]
