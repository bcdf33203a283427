"""What hosts the functions: their manifests, and the embedded host that runs them on one machine."""
