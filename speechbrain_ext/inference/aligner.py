"""From a recording and its lyrics to lyrics with times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.inference.transcriber import checked_device
from speechbrain_ext.lyrics.acoustic import (
    POCKETSPHINX,
    SAMPLE_RATE,
    AcousticModel,
    PocketSphinxModel,
    load_acoustic,
)
from speechbrain_ext.lyrics.align import (
    SLACK_S,
    agreement,
    align,
    read_lyrics,
)
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.phones import CONSONANTS, INDEX, PHONES, VOWELS
from speechbrain_ext.lyrics.timed import TimedLyrics

# Of what is heard, as a share: lyrics that fit less are in doubt, and so are
# those that fit no better by this much than other sounds in their place.
DOUBTFUL = 0.35
MARGIN = 0.15
TURNS = (2, 3, 5)  # places in their lists by which phones become others


def doubt(heard, found, lyrics, *options) -> str | None:
    """What speaks against aligned lyrics.

    They are aligned again with each vowel taken for another one and each
    consonant likewise, in three ways. The lyrics of another song fit about as
    well so.

    Arguments
    ---------
    heard : Posteriorgram
    found : TimedLyrics
        From `align`.
    lyrics, *options
        What it was given after the posteriorgram.

    Returns
    -------
    str or None
        One line, if they may be the lyrics of another song.
    """
    share = agreement(heard, found)
    chances = []
    for turn in TURNS:
        places = np.arange(len(PHONES))
        for group in (VOWELS, CONSONANTS):
            names = [INDEX[name] for name in sorted(group)]
            places[names] = np.roll(names, turn)
        other = replace(heard, probs=heard.probs[:, places])
        chances.append(agreement(other, align(other, lyrics, *options)))
    chance = float(np.mean(chances))
    if share >= max(DOUBTFUL, chance + MARGIN):
        return None
    return (
        f"the words fit {100 * share:.0f} % of what is heard, other sounds in "
        f"their place {100 * chance:.0f} %: check that these are its lyrics, "
        "and that the voice is alone"
    )


class LyricsAligner:
    """Finds when known lyrics are sung.

    Arguments
    ---------
    acoustic : AcousticModel
        What hears phones.
    lexicon : Lexicon, optional
        How words are said. Default: English.
    separator : VoiceSeparator, optional
        Takes the voice out of songs first. Default: none.

    Example
    -------
    >>> from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
    >>> class Silence(AcousticModel):
    ...     def _hear(self, wav):
    ...         return Posteriorgram.silence(len(wav) / 16000, 100)
    >>> aligner = LyricsAligner(Silence(), Lexicon(own={"la": "L AA"}))
    >>> [word.word for word in aligner.align(np.zeros(16000), 16000, "La la")]
    ['La', 'la']
    """

    def __init__(
        self,
        acoustic: AcousticModel,
        lexicon: Lexicon | None = None,
        separator=None,
    ):
        self.acoustic = acoustic
        self.lexicon = Lexicon() if lexicon is None else lexicon
        self.separator = separator

    @classmethod
    def from_hparams(
        cls, source=None, device="cpu", language="en", isolate=False, own=None
    ) -> LyricsAligner:
        """Load an acoustic model, offline.

        Arguments
        ---------
        source : str or Path, optional
            See `load_acoustic`. Default: the shipped model of singing.
        device : str
            Where to compute. Default: "cpu".
        language : str
            Of the lyrics. Default: "en".
        isolate : bool, str or Path
            Whether the shipped separator takes the voice out of the song
            first; or which separator. Default: False.
        own : mapping, optional
            Pronunciations, see `Lexicon`.

        Returns
        -------
        LyricsAligner

        Raises
        ------
        ModelError
            If a model folder is missing or holds no such model.
        DependencyError
            If pocketsphinx is needed and not installed.
        """
        device = checked_device(device)
        if str(source) == POCKETSPHINX:
            # Smoothed rows are too sure of themselves to be aligned.
            acoustic = PocketSphinxModel(stay=None, device=device)
        else:
            acoustic = load_acoustic(source, device)
        separator = None
        if isolate:
            from speechbrain_ext.inference.separator import VoiceSeparator

            separator = VoiceSeparator.from_hparams(
                None if isolate is True else isolate, device=str(device)
            )
        return cls(acoustic, Lexicon(language, own), separator)

    def align(
        self, wav, sample_rate, lyrics, slack_s=SLACK_S, repeats=False
    ) -> TimedLyrics:
        """Align a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.
        lyrics : str or iterable of LyricLine
            See `lyrics.align.align`.
        slack_s, repeats
            See `lyrics.align.align`.

        Returns
        -------
        TimedLyrics

        Raises
        ------
        AudioError
            If the signal is empty or not finite.
        LyricsError
            If the lyrics do not fit the recording.
        """
        wav = audio.as_signal(wav)
        if self.separator is not None:
            wav = self.separator.separate(wav, sample_rate, ["vocals"])[
                "vocals"
            ]
        heard = self.acoustic.posteriorgram(wav, sample_rate)
        return align(heard, lyrics, self.lexicon, slack_s, repeats)

    def align_file(
        self,
        path,
        lyrics,
        slack_s=SLACK_S,
        repeats=False,
        progress: Callable | None = None,
    ) -> TimedLyrics:
        """Align a file of any rate and channel count.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.
        lyrics : str, Path or iterable of LyricLine
            A file of lyrics (see `lyrics.align.read_lyrics`), or lines.
        slack_s, repeats
            See `lyrics.align.align`.
        progress : callable, optional
            Called with the seconds of the voice that was taken out.

        Returns
        -------
        TimedLyrics
        """
        if isinstance(lyrics, str | Path):
            lyrics = read_lyrics(lyrics)
        heard = self.hear_file(path, progress)
        return align(heard, lyrics, self.lexicon, slack_s, repeats)

    def hear_file(self, path, progress: Callable | None = None):
        """Phones of a file, of its voice alone if there is a separator.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.
        progress : callable, optional
            Called with the seconds of the voice that was taken out.

        Returns
        -------
        Posteriorgram
        """
        return self.acoustic.posteriorgram(
            self._voice(path, progress), SAMPLE_RATE
        )

    def _voice(self, path, progress):
        """Mono audio of a file at 16 kHz, of the voice alone if wanted."""
        if self.separator is None:
            return audio.read_audio(path, sample_rate=SAMPLE_RATE)
        rate = audio.audio_info(path).sample_rate
        blocks = audio.stream_audio(path, 10.0, sample_rate=None, mono=False)
        parts = self.separator.stream(blocks, rate, ["vocals"], progress, path)
        wav = np.concatenate([part["vocals"].mean(axis=1) for part in parts])
        return audio.resample(wav, rate, SAMPLE_RATE)
