"""What an Experiment may say: its fields, defaults, faults and template. Pure: asks no server and starts nothing."""
