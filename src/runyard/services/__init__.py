"""What a caller may ask for. A service writes rows and touches no machine."""
