"""Models made cheaper when they are loaded, with the answers of the original. What loads and describes is elsewhere."""
