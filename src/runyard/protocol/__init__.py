"""What a trainer and the server say to each other; depends on pydantic alone."""
