"""A folder on disk becomes a Series: reading, geometry, intensity, cache."""
