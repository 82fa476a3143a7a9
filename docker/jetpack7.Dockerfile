# EdgeKit on a Jetson with JetPack 7 (L4T 38.x and 39.x: Python 3.12, CUDA 13, TensorRT 10.13 and later).
#
#   docker build -f docker/jetpack7.Dockerfile -t edgekit:jetpack7 .
#   docker run --rm -it --runtime nvidia -v "$PWD:/work" -v edgekit-engines:/cache edgekit:jetpack7 edgekit doctor
#
# JetPack 7 takes the same CUDA images as servers with arm CPUs (SBSA). Their package source
# also has TensorRT; pin its release to the board's: --build-arg TENSORRT='=10.13.3.9-1+cuda13.0'
#
# Not yet built or run on a board by the authors: docs/verified.md says what has been.

ARG BASE=nvcr.io/nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE}
ARG TENSORRT=

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    EDGEKIT_CACHE=/cache

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv "python3-libnvinfer${TENSORRT}" \
    && rm -rf /var/lib/apt/lists/*

# TensorRT's Python module is a system package, so the environment must see those.
RUN python3 -m venv --system-site-packages /opt/edgekit
ENV PATH=/opt/edgekit/bin:$PATH

COPY . /src/edgekit
RUN pip install '/src/edgekit[jetson]' && rm -rf /src/edgekit

VOLUME /cache
WORKDIR /work
CMD ["edgekit", "doctor"]
