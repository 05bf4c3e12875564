"""Programs that train: `python -m runyard.trainers RUNDIR` runs one job to its end, with no server."""
