"""Command-line options: one frozen dataclass per stage script."""
