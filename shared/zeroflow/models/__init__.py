"""Model formats: detect, load safely, predict."""
