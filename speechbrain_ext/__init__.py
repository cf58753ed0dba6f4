"""SingBrain: SpeechBrain bricks for the singing voice."""

__version__ = "0.1.0"
