"""What makes the sounds of a band: an interface with two implementations."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Instruments(ABC):
    """The instruments of one song.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    n_samples : int
        Length of their tracks.
    sample_rate : int
        Samples per second.
    """

    def __init__(self, rng, n_samples, sample_rate):
        self.rng = rng
        self.n_samples = n_samples
        self.sample_rate = sample_rate

    def instrument(self, role):
        """Draw an instrument.

        Arguments
        ---------
        role : str
            chords, pad, bass or melody.

        Returns
        -------
        player
            With `play(start_s, stop_s, midi, level)`, which adds a note, and
            `track`, what was played so far: np.ndarray (samples,) float32.
        """
        return self._instrument(role)

    @abstractmethod
    def _instrument(self, role):
        """Make the player."""

    def kit(self):
        """Draw a drum kit.

        Returns
        -------
        player
            With `hit(start_s, name, level)`, which adds a stroke of `kick`,
            `snare`, `hat`, `crash`, `tom` or `clap`, and `track`.
        """
        return self._kit()

    @abstractmethod
    def _kit(self):
        """Make the player."""
