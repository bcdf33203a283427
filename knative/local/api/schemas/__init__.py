"""What the schema of a custom kind demands of its objects: structure, defaults, values, and rules in CEL."""
