"""Separating voices from mixtures: spectra, masks."""

# What a mixture is taken apart into, unless told otherwise.
SOURCES = ("vocals", "accompaniment")

# MIR-1K: the folder of its clips, stereo files, and what their channels hold.
MIR1K_CLIPS = "Wavfile"
MIR1K_CHANNELS = {"accompaniment": 0, "vocals": 1}
