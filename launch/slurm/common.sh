# Sourced by the scripts for sbatch, which Slurm runs from a copy of its own: they are submitted in the checkout.
cd "$SLURM_SUBMIT_DIR"
PATH=$PWD/.venv/bin:$PATH
# With DETOX_IMAGE, an image of Apptainer's, each rank that srun starts runs in it, and hosts need no .venv.
image=()
[ -z "${DETOX_IMAGE:-}" ] || image=(apptainer exec "$DETOX_IMAGE")

# Runs a command in the background. On SIGUSR1, which Slurm sends before the time limit and before a preemption, the
# command gets it too, and writes a checkpoint; the job is queued again, and resumes.
until_told() { # COMMAND...
  local child status=0 told=""
  trap 'told=1; kill -USR1 "$child" 2>/dev/null || true' USR1
  "$@" &
  child=$!
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # it was the signal that ended the wait
    status=0
    wait "$child" || status=$?
  done
  if [ -n "$told" ] && [ "$status" -ne 0 ]; then
    echo "Slurm told the job to end; it is queued again, to resume from the checkpoint"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60 # Slurm ends this script meanwhile
  fi
  return "$status"
}

# Runs a command with the allocation's hostfile as the last argument.
with_hostfile() { # COMMAND...
  hostfile=$(mktemp)
  trap 'rm -f "$hostfile"' EXIT
  bash launch/hostfile.sh > "$hostfile"
  until_told "$@" "$hostfile"
}
