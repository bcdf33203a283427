"""What is claimed about speed: `make bench` prints each figure beside a peer's in the same run, and their ratio."""
