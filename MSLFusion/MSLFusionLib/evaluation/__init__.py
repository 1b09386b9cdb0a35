"""How near reconstructions are to ground truth: slice by slice, volume by volume, and one run beside another."""
