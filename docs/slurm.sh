#!/bin/bash
#SBATCH --job-name=drl-tf --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --requeue --signal=TERM@300
# sbatch docs/slurm.sh --dataset=cifar10 --workdir=/shared/runs/cifar10; the workdir is on a file system of all nodes.
export WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed 's/.*/"&:2222"/' | paste -sd,)
srun --kill-on-bad-exit=0 bash -c '
export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
exec drl-tf "$@"' drl-tf "$@"
