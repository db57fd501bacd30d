"""Tests of src/intracranial/caching."""
