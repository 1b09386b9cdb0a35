"""Files: volumes, sensor data, checkpoints, run records."""
