"""What runs in the peers' own virtual environment: they and what drives them know nothing of Runyard."""
