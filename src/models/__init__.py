"""The two networks: slice classifier (stage 1) and sequence classifier (stage 2)."""
