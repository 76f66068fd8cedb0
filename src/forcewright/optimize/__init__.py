"""Search over typed ranges with a study on disk that can always be resumed; knows no atoms.

`space` holds the ranges, `sampler` suggests the next point, `study` evaluates in parallel and records,
`workers` makes the pool of processes. Nothing is imported here, to keep reading a range cheap.
"""
