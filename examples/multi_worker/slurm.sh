#!/usr/bin/env bash
# A template for Slurm: two machines, one worker on each, started again by Slurm if one of them fails.
#SBATCH --job-name=kvae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail

export OUT=/shared/run                # a folder that all machines can read: fill in
export KVAE_DATA_HOME=/shared/data    # where mnist.npz is: fill in
export PORT=2222
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$PORT\"/" | paste -sd,)
export WORKERS

# The worker's number is known only on its own machine. One that dies takes the others with it, and with them the job.
srun --kill-on-bad-exit=1 bash -c '
    export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
    exec python train.py --data mnist --out "$OUT"
' || scontrol requeue "$SLURM_JOB_ID"
