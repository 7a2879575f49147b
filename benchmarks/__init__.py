"""Speed, against the limit and against peers: ``python -m benchmarks.NAME``, from the checkout's root."""
