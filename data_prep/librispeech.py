"""LibriSpeech: English books read aloud; speech for mixtures with singing.

Licence: CC BY 4.0.

Citation: V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "LibriSpeech: an
ASR corpus based on public domain audio books", ICASSP 2015.

Layout (any of the subsets, in the folder or below it; FLAC as it comes, or
WAV):

    <subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac    16 kHz

Subsets that start with `train` are for training, with `dev` for validation,
with `test` for testing, as their authors mean them; no speaker is in two of
them. MedleyVox trains on train-clean-100 and train-clean-360 and validates on
dev-clean.
"""

from __future__ import annotations

from data_prep.corpus import Corpus
from data_prep.voice_corpus import VoiceSet

CORPUS = Corpus(
    name="librispeech",
    license="CC BY 4.0",
    terms="free with attribution",
    citation="Panayotov et al., LibriSpeech: an ASR corpus based on public "
    "domain audio books, ICASSP 2015",
    url="https://www.openslr.org/12",
)
LIBRISPEECH = VoiceSet(
    CORPUS,
    "<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac",
    r"(?P<part>train|dev|test)-[^/]+/(?P<singer>\d+)/(?P<chapter>\d+)/"
    r"(?P<take>(?P=singer)-(?P=chapter)-\d+)",
    singer="{singer}",
    splits={"train": "train", "dev": "valid", "test": "test"},
    kind="speech",
)
