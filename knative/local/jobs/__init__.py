"""batch/v1 Jobs as process groups."""
