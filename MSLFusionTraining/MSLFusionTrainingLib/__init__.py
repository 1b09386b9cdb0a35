"""Training of the MSLFusion networks: data, losses, trainer and experiments."""
