#!/usr/bin/env bash
#SBATCH --job-name=vae-shards
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%A-%a.log
# Shard i of n, n being the size of the array: it must begin at 1 and have no gaps.
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-.}"
python="${PYTHON:-.venv/bin/python}"
out="${OUT:-results/sweep}"
grid="${GRID:-beta=1e-4,1e-3,1e-2,1e-1,1 seed=0..31}"
number="${SLURM_ARRAY_TASK_ID:-${1:?the number of the shard}}"
count="${SHARDS:-${SLURM_ARRAY_TASK_MAX:-${2:?the number of shards}}}"

resume=()
if [[ -f "$out.shard-$number-of-$count/config.json" ]]; then
    resume=(--resume)
fi

exec "$python" -m experiments.sweep --shard "$number/$count" \
    --grid "$grid" --steps "${STEPS:-1000}" --out "$out" "${resume[@]}"
