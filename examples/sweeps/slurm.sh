#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array=0-99
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=sweep-%A-%a.log

# The array must begin with 0: job i of n takes the trials i, i + n, i + 2 n, ...
# Many jobs of one processor start sooner than few of many, and small networks use them better.
set -euo pipefail

# The threads of a call: those of this job, whatever the machine has.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export OPENBLAS_NUM_THREADS="$OMP_NUM_THREADS" MKL_NUM_THREADS="$OMP_NUM_THREADS"

# SLURM runs a copy of this file: the folder of the programs is relative to where it was submitted.
# Submit from the root of the clone; elsewhere, or without an activated environment:
#     SWEEP=with_slurm.py PYTHON=~/venv/bin/python sbatch slurm.sh
cd "${SLURM_SUBMIT_DIR:-$PWD}"
exec "${PYTHON:-python}" "${SWEEP:-examples/sweeps/with_slurm.py}" "$@"
