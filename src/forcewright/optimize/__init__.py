"""Search over typed ranges with a study on disk that always resumes; knows no atoms.

`space` holds the ranges, `sampler` suggests the next point, `study` evaluates in parallel and records,
`workers` makes the pool of processes. Nothing is imported here, so that reading a range stays cheap.
"""
