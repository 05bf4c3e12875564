"""Fine-tuning of language models: supervised, and by preference."""
