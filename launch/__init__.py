"""The command `detox-ps` and its processes: mpirun and its settings, the start and the end of every rank, the doctor.

`main` is the command, `commands` the table of what it can do. `launcher` runs mpirun, which runs `train` on each rank:
the first is the PS (`serve`, `run`), all others host workers (`work`). `failure` says in words what went wrong,
wherever it did.
"""
