"""Comparisons with reconstructions that need no network, and how either stands up to worse conditions."""
