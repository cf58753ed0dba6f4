"""An endless stream of training clips with the domains of real recordings."""

from __future__ import annotations

import numpy as np

from data_prep.minisinging.clip import Clip, render_clip
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.mixing.effects import imperfect_separation
from speechbrain_ext.notes import NoteSequence

# What the listener gets, and how often.
DOMAINS = {
    "solo": 0.43,
    "noisy": 0.12,
    "mixture": 0.20,
    "separated": 0.20,
    "instrumental": 0.05,
}


def separate_badly(clip: Clip, rng) -> np.ndarray:
    """Voice of a clip as a music source separator leaves it.

    Arguments
    ---------
    clip : Clip
        With an accompaniment. A separator cannot tell the singer from the
        backing singer, so both count as the voice.
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    np.ndarray (samples,)
        float32, see `speechbrain_ext.mixing.effects.imperfect_separation`.
    """
    sung = clip.voice + clip.stems.get("backing", np.float32(0))
    return imperfect_separation(sung, clip.mix - sung, rng)


def training_clip(
    seed, index, duration_s=8.0, sample_rate=16000, domain=None
) -> tuple[np.ndarray, NoteSequence]:
    """One item of the training stream.

    Arguments
    ---------
    seed, index : int
        Together they decide everything.
    duration_s : float, optional
        Seconds; default: 8.
    sample_rate : int, optional
        Default: 16000.
    domain : str, optional
        solo (voice in a room, hardly any noise), noisy (3 to 30 dB above
        noise), mixture (-3 to 20 dB above a band), separated (a mixture
        after an imperfect separation) or instrumental (nobody sings: no
        notes); drawn from `DOMAINS` by default.

    Returns
    -------
    wav : np.ndarray (samples,)
        float32.
    notes : NoteSequence

    Raises
    ------
    ConfigError
        If the domain is unknown.

    Example
    -------
    >>> wav, notes = training_clip(seed=1, index=0, duration_s=2.0)
    >>> wav.shape
    (32000,)
    """
    rng = np.random.default_rng([int(seed), int(index), 104729])
    if domain is None:
        weights = np.array(list(DOMAINS.values()))
        domain = str(rng.choice(list(DOMAINS), p=weights / weights.sum()))
    levels = {
        "solo": {"band": False, "noise_db": (25.0, 70.0)},
        "noisy": {"band": False, "noise_db": (3.0, 25.0)},
        "mixture": {"accompaniment_db": (-3.0, 20.0)},
        "separated": {"accompaniment_db": (-8.0, 8.0), "noise_db": (35, 70)},
        "instrumental": {"accompaniment_db": (-3.0, 20.0)},
    }
    if domain not in levels:
        raise ConfigError(
            f"domain {domain!r} is not one of {', '.join(levels)}"
        )
    clip = render_clip(
        [seed, index], duration_s, sample_rate=sample_rate, **levels[domain]
    )
    wav = clip.mix
    if domain == "separated":
        wav = separate_badly(clip, rng)
    elif domain == "instrumental":
        stems = [x for name, x in clip.stems.items() if name != "backing"]
        loudness = np.sqrt(np.mean(clip.mix**2) / np.mean(sum(stems) ** 2))
        level = loudness * 10 ** (rng.uniform(-30, 0) / 20)
        wav = np.clip(np.float32(level) * sum(stems), -1, 1)
        return wav, NoteSequence()
    return wav, clip.notes
