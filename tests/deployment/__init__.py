"""Tests of src/intracranial/deployment."""
