"""Where many independent tasks run: worker processes here, a Dask cluster, or jobs of Slurm."""
