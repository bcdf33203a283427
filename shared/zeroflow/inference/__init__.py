"""What InferenceServices and InferenceGraphs may say, checked alike by the host's admission and by the functions."""
