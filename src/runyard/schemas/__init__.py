"""What goes over HTTP: made from rows, read by the client."""
