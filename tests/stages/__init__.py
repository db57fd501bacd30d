"""Tests of src/intracranial/stages."""
