#!/bin/bash
# Four nodes with a peer each, and a program that uses them all:  sbatch job.sh
#SBATCH --job-name=woolexec
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=01:00:00
set -euo pipefail

# A folder that every node sees, and no other user: peers announce themselves here, and their keys lie here.
# It is below the folder from which the job was submitted.
room=$PWD/woolexec-$SLURM_JOB_ID
mkdir -m 700 "$room" "$room/peers"
trap 'rm -rf "$room"' EXIT

# The nodes share a network with other jobs, so peer and client authenticate each other.
certs=$room/certs
woolexec certs init --folder "$certs" >"$room/log"
woolexec certs issue peer --folder "$certs" --name job >>"$room/log"
woolexec certs issue client --folder "$certs" --name job >>"$room/log"
export WOOLEXEC_TLS_CA=$certs/ca.pem WOOLEXEC_TLS_CERT=$certs/client-job.pem WOOLEXEC_TLS_KEY=$certs/client-job.key

# Port 0: any free port, since other jobs may have a peer on the same node.
srun woolexec serve --bind 0.0.0.0:0 --workers "$SLURM_CPUS_PER_TASK" --announce "dir:$room/peers" \
    --tls-ca "$certs/ca.pem" --tls-cert "$certs/peer-job.pem" --tls-key "$certs/peer-job.key" &
peers=$!

status=0
python main.py "dir:$room/peers" --count "$SLURM_JOB_NUM_NODES" || status=$?

# srun passes the signal on: peers that hear it finish what they run, and end.
kill -TERM $peers
wait $peers || true
exit $status
