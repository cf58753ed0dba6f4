"""Lyrics: phones, acoustic models that hear them, and their alignment."""
