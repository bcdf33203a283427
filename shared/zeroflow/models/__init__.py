"""Model files: their format, whether they may be loaded, what a loaded model takes and gives. Knows no HTTP."""
