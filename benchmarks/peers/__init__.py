"""What is measured beside ours, as its users write it; each run by the Python of an environment of its own."""
