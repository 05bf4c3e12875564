"""Rules, with no I/O and no clock."""
