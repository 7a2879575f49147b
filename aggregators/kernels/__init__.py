"""The operations on the votes by numba, for float32 and bfloat16 in main memory."""
