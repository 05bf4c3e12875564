"""The Python client: job files, requests, live events, checked downloads."""
