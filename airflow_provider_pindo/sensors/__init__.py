"""Waiting for messages, as a task."""
