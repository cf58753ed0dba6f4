"""Making mixtures and wearing recordings out: levels, noise, effects."""
