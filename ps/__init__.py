"""The parameter server: the step loop, the vote on each file, what follows for workers, the model and the run's folder.

`server.Server` is the loop. `round`, `ballots` and `promises` decide a step's votes; `aggregation` and `model` turn
them into an update; `events`, `ledger`, `quarantine` and `stragglers` keep what workers did. What decides knows no MPI
and no clock. `selftest` and `trial` come before the first step; `folder` is what a run leaves on disk.
"""
