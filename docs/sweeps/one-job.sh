#!/bin/bash
# One SLURM job that is its own cluster:  sbatch --ntasks=16 docs/sweeps/one-job.sh docs/sweeps/queue.toml
#SBATCH --job-name=cotrain-sweep
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
set -eu
sweep=$1
shift
folder=$(mktemp -d "$PWD/.dask-XXXXXX") # on a disk that all nodes see
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$folder"' EXIT
python -m distributed.cli.dask_scheduler --port 0 --no-dashboard --scheduler-file "$folder/scheduler.json" &
until [ -s "$folder/scheduler.json" ]; do sleep 1; done
srun python -m distributed.cli.dask_worker --scheduler-file "$folder/scheduler.json" --nthreads 1 --no-dashboard &
address=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$folder/scheduler.json")
cotrain sweep "$sweep" --cluster "$address" "$@"
