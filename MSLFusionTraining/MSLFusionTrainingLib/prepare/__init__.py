"""From folders of scans to a training set: `mslfusion prepare`."""
