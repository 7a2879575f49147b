"""The workers: a rank that hosts some of them, and what Byzantine or faulty ones do.

`rank.WorkerRank` is a rank's loop, the same for honest and Byzantine workers. `placement` says who is Byzantine,
`attacks` what they send in proper messages, `adversary` how they agree on it; `faults`, `breakdowns` and
`corruption` are all else, for drills.
"""
