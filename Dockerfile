# Trains on handwritten digits for five minutes, samples, scores and exports into /drl_tf/runs:
#
#     docker build -t drl_tf .
#     docker run --rm -v "$PWD/runs:/drl_tf/runs" drl_tf
#
# On NVIDIA GPUs (the host needs the driver and the NVIDIA container toolkit):
#
#     docker build -t drl_tf:gpu --build-arg DEVICE=gpu .
#     docker run --rm --gpus all -v "$PWD/runs:/drl_tf/runs" drl_tf:gpu
#
# Any other command follows the name of the image: docker run --rm drl_tf python run.py --help
ARG DEVICE=cpu

FROM python:3.11-slim AS cpu

# CUDA and cuDNN come as packages of TensorFlow.
FROM python:3.11-slim AS gpu
RUN pip install --no-cache-dir 'tensorflow[and-cuda]>=2.21,<2.22'

FROM ${DEVICE}
WORKDIR /drl_tf
COPY . .
RUN pip install --no-cache-dir --editable .
# Two commands, because --cpu_split is off where a command finds log p. The shell passes SIGTERM on to Python.
CMD ["sh", "-c", "\
    stop() { kill -TERM $python; wait $python; }; \
    trap stop TERM INT; \
    python run.py --mode=train,sample,evaluate --workdir=runs/demo --max_minutes=5 & python=$!; wait $python || exit; \
    python run.py --mode=likelihood,export,report --workdir=runs/demo --export_dir=runs/demo/saved_model & \
    python=$!; wait $python"]
