"""Operators: one task, one intention."""
