"""Channels, their subscriptions, and what is made of both: sequences and parallels. Brokers are in the folder above."""
