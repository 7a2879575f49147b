"""The package's own errors; each message is a sentence for people.

    DetoxError
      x UserError(ValueError)        what the user can mend; exit status 2
        + AggregatorError            a rule, a pair or its options cannot serve the request
        + ConfigError                a config, or a command line, that cannot be run
        + TaskError                  a task's model, data or code does not serve
        + LockedError                another job works in the run's folder
        + ChangedError               the run was begun with something else
        + UnequalError               ranks compute other bits than they have to, and would again
        + MpirunError                there is no usable mpirun
        + RunError                   a folder of a run that cannot be read as one
        + WeightsError               a file of weights that cannot be used
        + KeysError                  keys that cannot be used, or made
        + EntranceError              no connection can come about
      x JobError(RuntimeError)       what failed on the way; exit status 1
        + StartError                 the ranks did not start, or not as they have to
        + ServerError                too few votes, step after step
        + LostServerError            a server that shares the model is gone
        + CheckpointError            no checkpoint can be used
        + EvaluationError            the task's evaluation failed
        + ChainError                 chain.jsonl is no chain of digests
      x WireError(ValueError)        bytes that are no message; always caught, and noted in the ledger

Each is defined where it is raised. The root has a package of its own, below all others, so that all can import it.
"""


class DetoxError(Exception):
    """An error of this package, whose message needs no traceback."""


class UserError(DetoxError, ValueError):
    """What the user can mend; the message says what was wrong and what to do."""


class JobError(DetoxError, RuntimeError):
    """What failed though nobody asked for the impossible, such as ranks that died."""
