"""Measurements of speed and accuracy behind `mslfusion benchmark`."""
