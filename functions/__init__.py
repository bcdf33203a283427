"""What happens: one scale-to-zero function per lifecycle operation. No function imports another."""
