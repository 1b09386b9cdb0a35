"""From two volumes or sensor data and a network to hybrid images on the CT's own grid."""
