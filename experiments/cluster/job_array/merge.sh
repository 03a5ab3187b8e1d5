#!/usr/bin/env bash
#SBATCH --job-name=vae-merge
#SBATCH --ntasks=1
#SBATCH --time=00:10:00
#SBATCH --output=%x-%j.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-.}"
exec "${PYTHON:-.venv/bin/python}" -m experiments.merge_shards "${OUT:-results/sweep}"
