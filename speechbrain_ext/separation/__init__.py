"""Separating voices from mixtures: spectra, masks."""
