"""Hugging Face text models from a local directory: what they do is told from their config, nothing of theirs is run."""
