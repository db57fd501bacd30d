"""Tests of src/intracranial/splits."""
