"""OpenAI's API: what is wished, and what is said of a completion."""
