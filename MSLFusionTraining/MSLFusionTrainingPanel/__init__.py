"""The panel of MSL Fusion Training. It shares its frame, its messages and its helpers with MSLFusionPanel."""
