"""Waiting for messages, in the triggerer."""
