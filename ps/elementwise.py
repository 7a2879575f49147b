"""Optimizers that several servers can share; without torch, for commands that only start a job."""

ELEMENTWISE = frozenset(
    ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
)
"""Those of torch.optim whose step for an entry depends on that entry alone, to the bit."""
