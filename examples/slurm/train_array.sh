#!/bin/bash
# One training per task of a SLURM array, one seed each; a task that is stopped is queued again and goes on.
#
#   sbatch examples/slurm/train_array.sh runs/tolerance --env risky-cartpole --method rqe-mappo --tau 3 --steps 1e7
#
# The first argument is a folder, the others are those of `averse train`. Task 7 trains seed 7 in runs/tolerance/seed-7.
# The lines below are for your cluster to be changed; docs/cluster.md explains them.
#SBATCH --job-name=averse
#SBATCH --array=0-9
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -u

if [ $# -lt 3 ]; then
  echo "usage: sbatch train_array.sh FOLDER --env ENVIRONMENT ... (arguments of averse train)" >&2
  exit 2
fi
folder=$1
shift
seed=$SLURM_ARRAY_TASK_ID
out=$folder/seed-$seed
# Compiled programs are those of this host: a folder of its own, on its own disk.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${TMPDIR:-/tmp}/averse-xla-$(id -u)}

if [ -e "$out/config.json" ]; then
  averse train --resume "$out" --quiet &
else
  averse train "$@" --seed "$seed" --out "$out" --quiet &
fi
training=$!

# SLURM signals this shell (--signal=B:); the training saves and exits with 143.
trap 'kill -TERM "$training" 2>/dev/null' TERM
while :; do
  wait "$training"
  code=$?
  kill -0 "$training" 2>/dev/null || break # else it was the signal that ended the wait
done

if [ "$code" -eq 143 ]; then
  echo "seed $seed: stopped and saved, queued again"
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
