# Where to run on Intel's research cloud:  source environment.sh
# NxSDK reads these and starts the SLURM job by itself: call `python run.py`, not sbatch. What is set already stays.

export SLURM="${SLURM:-1}"                      # 0: this host has a board of its own
export PARTITION="${PARTITION:-nahuku32}"       # nahuku32, nahuku32_2h, loihi_2h, loihiinf, pohoiki; see sinfo
export BOARD="${BOARD:-ncl-ext-ghrd-01}"        # the board whose power is metered
# export LMTOPTIONS="--skip-power=1"            # for SNIPs on several chips; no energy is measured then
# export KAPOHOBAY=1                            # a USB stick instead of the cloud: unset SLURM, PARTITION and BOARD
