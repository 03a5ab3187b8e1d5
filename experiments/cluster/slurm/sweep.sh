#!/usr/bin/env bash
#SBATCH --job-name=vae-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --signal=INT@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# On nodes with GPUs: one task for each of them, such as
#   --ntasks-per-node=4 --gpus-per-task=1
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-.}"
python="${PYTHON:-.venv/bin/python}"
out="${OUT:-results/sweep}"
grid="${GRID:-beta=1e-4,1e-3,1e-2,1e-1,1 seed=0..31}"

resume=()
if [[ "${SLURM_RESTART_COUNT:-0}" -gt 0 || "${RESUME:-no}" == yes ]]; then
    resume=(--resume)
fi

# A process that ends takes the others with it: alone they cannot go on.
status=0
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    "$python" -m experiments.sweep --distributed --timeout 300 \
    --grid "$grid" --steps "${STEPS:-1000}" --out "$out" "${resume[@]}" || status=$?

# 130: the time is nearly over and the sweep has saved itself.
if [[ "$status" == 130 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
