"""MiniSinging: synthetic singing with exact annotations, from a seed.

| module | what it draws |
|---|---|
| `lexicon` | phones, syllables, words |
| `score` | melody, rhythm, words, harmony |
| `singer` | what stays the same about a voice |
| `voice` | the singing itself |
| `band` | accompaniment |
| `room` | reverberation, microphone, noise |
| `clip` | all of them together: `render_clip`, `render_song` |
| `training` | an endless stream of training clips |
"""

from data_prep.minisinging.clip import Clip, render_clip
from data_prep.minisinging.training import training_clip

__all__ = ["Clip", "render_clip", "training_clip"]
