"""MiniSinging: synthetic singing with exact annotations, from a seed.

| module | what it draws |
|---|---|
| `lexicon` | phones, syllables, words |
| `score` | melody, rhythm, words, harmony |
| `singer` | what stays the same about a voice |
| `tracks` | values that change over time |
| `voice` | the singing itself |
| `band` | accompaniment: who plays what and when |
| `instruments` | what makes its sounds: `wavetable`, or `sound_font` |
| `room` | reverberation, microphone, noise |
| `clip` | all of them together: `render_clip`, `render_song` |
| `choir` | several singers at once, and people who talk |
| `voice_sets` | single voices in the layouts of many corpora |
| `mouth` | how lips, jaw and tongue move while singing |
| `face` | what it looks like: `render_mouth` |
| `camera` | how it is filmed |
| `training` | an endless stream of training clips |
| `corpus` | folders in the layouts of real corpora, and in its own |

`native` turns the latter into manifests.
"""

from data_prep.minisinging.choir import Choir, render_choir
from data_prep.minisinging.clip import Clip, render_clip, render_song
from data_prep.minisinging.corpus import (
    LAYOUTS,
    as_dsing,
    as_ismir2014,
    as_medleyvox,
    as_minisinging,
    as_mir1k,
    as_mir_st500,
    as_musdb18,
    as_n20em,
    as_n20emv2,
    as_singing_corpora,
    as_tonas,
)
from data_prep.minisinging.face import render_mouth
from data_prep.minisinging.training import training_clip

__all__ = [
    "LAYOUTS",
    "Choir",
    "Clip",
    "as_dsing",
    "as_ismir2014",
    "as_medleyvox",
    "as_minisinging",
    "as_mir1k",
    "as_mir_st500",
    "as_musdb18",
    "as_n20em",
    "as_n20emv2",
    "as_singing_corpora",
    "as_tonas",
    "render_choir",
    "render_clip",
    "render_mouth",
    "render_song",
    "training_clip",
]
