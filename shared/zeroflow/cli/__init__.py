"""The zeroflow command."""
