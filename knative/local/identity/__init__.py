"""Who asks, and what they may do: users, service accounts, and Kubernetes' role-based access control.

The home's owner - who reaches the host on loopback without a token, or has the platform's token - may do everything,
so that somebody alone on a machine never meets any of this.
"""
