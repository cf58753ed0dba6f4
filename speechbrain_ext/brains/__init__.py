"""Training: the `speechbrain.Brain` subclasses that recipes use."""
