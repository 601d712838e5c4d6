"""Whole cores in virtual time."""
