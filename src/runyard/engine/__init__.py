"""What makes jobs move: the only floor that touches machines."""
