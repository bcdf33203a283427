"""The lineage graph in the formats that others read."""
