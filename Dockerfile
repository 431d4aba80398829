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
CMD ["python", "run.py", "--mode=train,sample,evaluate,likelihood,export,report", "--workdir=runs/demo", \
     "--max_minutes=5", "--export_dir=runs/demo/saved_model"]
