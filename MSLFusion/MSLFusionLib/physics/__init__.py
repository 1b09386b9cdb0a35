"""What the scanners measure: fan-beam CT and Cartesian MR operators, sampling, noise and units."""
