"""Trained models at work on a person's own recordings."""
