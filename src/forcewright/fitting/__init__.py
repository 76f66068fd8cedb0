"""From a dataset to a potential in memory, by `in_memory.run_study`: it knows no YAML, no folder and no report."""
