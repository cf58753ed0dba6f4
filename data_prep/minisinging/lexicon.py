"""Phones, syllables and words that the singers sing.

The phones carry ARPAbet names where ARPAbet has them, with a few more for the
sounds of other languages (`X`, `TS`, `RR`, `GN`, `Q`, and the vowels `EE`,
`OO`, `UE`, `OE`). The words mean nothing; they are generated once, from
syllables of the forms V, CV, CCV, CVC and CCVC.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Vowel:
    """Formants of a vowel, for a tract of average male length.

    Arguments
    ---------
    f1, f2, f3 : float
        Centre frequencies in hertz.
    """

    f1: float
    f2: float
    f3: float


@dataclass(frozen=True)
class Consonant:
    """How a consonant sounds.

    Arguments
    ---------
    kind : str
        stop, fricative, affricate, aspirate, nasal, liquid, glide, trill.
    duration : tuple of float
        Shortest and longest duration in seconds.
    voice_db : float
        Level of the voice relative to the vowel; -inf when unvoiced.
    noise_db : float
        Level of the noise relative to the vowel; -inf without noise.
    noise : tuple of float
        Centre and width of the noise in kilohertz.
    locus : tuple of float
        Formants in hertz towards which neighbouring vowels bend.
    muffle : float
        Added to the exponent of the falling spectrum while it lasts.
    spelling : str
        Letters.
    """

    kind: str
    duration: tuple[float, float]
    voice_db: float
    noise_db: float
    noise: tuple[float, float]
    locus: tuple[float, float, float]
    muffle: float
    spelling: str

    @property
    def voiced(self) -> bool:
        """Whether the vocal folds vibrate."""
        return self.voice_db > -60.0


VOWELS = {
    "IY": Vowel(285, 2250, 2950),
    "IH": Vowel(390, 1980, 2580),
    "EE": Vowel(400, 2080, 2640),
    "EH": Vowel(550, 1780, 2500),
    "AE": Vowel(670, 1690, 2430),
    "AA": Vowel(730, 1130, 2480),
    "AH": Vowel(620, 1230, 2430),
    "AO": Vowel(565, 860, 2450),
    "OO": Vowel(430, 790, 2420),
    "UH": Vowel(440, 1040, 2270),
    "UW": Vowel(315, 830, 2280),
    "ER": Vowel(480, 1350, 1720),
    "UE": Vowel(285, 1760, 2210),
    "OE": Vowel(420, 1500, 2260),
}
DIPHTHONGS = {
    "AY": ("AA", "IH"),
    "EY": ("EH", "IY"),
    "OW": ("AO", "UH"),
    "AW": ("AA", "UH"),
    "OY": ("AO", "IH"),
}
VOWEL_SPELLING = {
    "IY": "i", "IH": "y", "EE": "e", "EH": "eh", "AE": "ae", "AA": "a",
    "AH": "u", "AO": "o", "OO": "oo", "UH": "uh", "UW": "ou", "ER": "er",
    "UE": "ue", "OE": "oe", "AY": "ai", "EY": "ei", "OW": "ow", "AW": "au",
    "OY": "oi",
}  # fmt: skip

_OFF = -120.0
_LABIAL = (320, 850, 2250)
_DENTAL = (320, 1700, 2650)
_PALATAL = (290, 2150, 2900)
_VELAR = (310, 1550, 2150)
_THROAT = None  # takes the formants of the neighbouring vowel


def _c(kind, low, high, voice, noise, centre, width, locus, muffle, letters):
    return Consonant(
        kind,
        (low / 1000, high / 1000),
        voice,
        noise,
        (centre, width),
        locus,
        muffle,
        letters,
    )


CONSONANTS = {
    "P": _c("stop", 45, 130, _OFF, -20, 1.0, 1.6, _LABIAL, 0, "p"),
    "T": _c("stop", 45, 130, _OFF, -13, 4.6, 2.4, _DENTAL, 0, "t"),
    "K": _c("stop", 50, 140, _OFF, -14, 2.2, 1.3, _VELAR, 0, "k"),
    "B": _c("stop", 30, 90, -16, -26, 0.9, 1.4, _LABIAL, 1.6, "b"),
    "D": _c("stop", 30, 90, -16, -20, 3.8, 2.2, _DENTAL, 1.6, "d"),
    "G": _c("stop", 30, 95, -17, -20, 2.0, 1.2, _VELAR, 1.6, "g"),
    "F": _c("fricative", 50, 150, _OFF, -24, 5.5, 5.0, _LABIAL, 0, "f"),
    "TH": _c("fricative", 45, 130, _OFF, -26, 6.0, 4.0, _DENTAL, 0, "th"),
    "S": _c("fricative", 60, 190, _OFF, -12, 6.6, 1.9, _DENTAL, 0, "s"),
    "SH": _c("fricative", 60, 190, _OFF, -10, 3.6, 1.7, _PALATAL, 0, "sh"),
    "X": _c("fricative", 50, 140, _OFF, -17, 1.9, 1.3, _VELAR, 0, "ch"),
    "HH": _c("aspirate", 30, 120, _OFF, -20, 1.5, 2.2, _THROAT, 0, "h"),
    "V": _c("fricative", 35, 100, -10, -27, 5.0, 4.0, _LABIAL, 0.7, "v"),
    "DH": _c("fricative", 30, 80, -9, -29, 5.5, 4.0, _DENTAL, 0.6, "dh"),
    "Z": _c("fricative", 45, 130, -13, -17, 6.4, 2.0, _DENTAL, 0.8, "z"),
    "ZH": _c("fricative", 45, 130, -12, -16, 3.5, 1.7, _PALATAL, 0.7, "zh"),
    "CH": _c("affricate", 70, 180, _OFF, -10, 3.8, 1.8, _PALATAL, 0, "tsh"),
    "TS": _c("affricate", 70, 180, _OFF, -12, 6.6, 2.0, _DENTAL, 0, "ts"),
    "JH": _c("affricate", 50, 130, -16, -15, 3.7, 1.8, _PALATAL, 1.3, "j"),
    "M": _c("nasal", 40, 120, -6, _OFF, 1, 1, (260, 1050, 2250), 1.1, "m"),
    "N": _c("nasal", 35, 110, -6, _OFF, 1, 1, (260, 1500, 2550), 1.0, "n"),
    "NG": _c("nasal", 40, 120, -7, _OFF, 1, 1, (270, 1800, 2400), 1.2, "ng"),
    "GN": _c("nasal", 40, 110, -6, _OFF, 1, 1, (260, 2000, 2700), 1.0, "gn"),
    "L": _c("liquid", 35, 110, -5, _OFF, 1, 1, (350, 1100, 2700), 0.5, "l"),
    "R": _c("liquid", 35, 110, -5, _OFF, 1, 1, (380, 1200, 1650), 0.5, "r"),
    "RR": _c("trill", 30, 110, -6, _OFF, 1, 1, (420, 1450, 2350), 0.5, "rr"),
    "W": _c("glide", 40, 110, -4, _OFF, 1, 1, (310, 720, 2250), 0.5, "w"),
    "Y": _c("glide", 40, 110, -4, _OFF, 1, 1, (280, 2200, 2950), 0.3, "y"),
    "Q": _c("stop", 20, 60, _OFF, _OFF, 1, 1, _THROAT, 0, "q"),
}

_ONSETS = {
    "": 8, "P": 4, "T": 7, "K": 7, "B": 5, "D": 6, "G": 4, "F": 3, "TH": 1,
    "S": 6, "SH": 4, "X": 2, "HH": 4, "V": 3, "DH": 2, "Z": 2, "ZH": 2,
    "CH": 3, "TS": 2, "JH": 3, "M": 6, "N": 6, "GN": 1, "L": 6, "R": 3,
    "RR": 3, "W": 4, "Y": 4, "S T": 1, "K L": 1, "P R": 1, "T R": 1,
    "F L": 1, "K W": 1, "M Y": 1, "N Y": 1, "G R": 1, "SH W": 1, "S N": 1,
}  # fmt: skip
_NUCLEI = {
    "IY": 9, "IH": 4, "EE": 6, "EH": 5, "AE": 3, "AA": 13, "AH": 5, "AO": 4,
    "OO": 8, "UH": 2, "UW": 7, "ER": 2, "UE": 2, "OE": 2, "AY": 4, "EY": 3,
    "OW": 3, "AW": 2, "OY": 1,
}  # fmt: skip
_CODAS = {
    "": 62, "N": 9, "NG": 6, "M": 4, "L": 3, "R": 2, "S": 3, "T": 4, "K": 3,
    "P": 1, "D": 1, "Z": 1, "SH": 1, "V": 1, "TH": 1, "F": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Syllable:
    """Phones of one syllable.

    Arguments
    ---------
    onset : tuple of str
        Consonants before the vowel.
    nucleus : str
        The vowel or diphthong.
    coda : tuple of str
        Consonants after the vowel.

    Example
    -------
    >>> Syllable(("S", "T"), "AA", ("N",)).spelling
    'stan'
    """

    onset: tuple[str, ...]
    nucleus: str
    coda: tuple[str, ...]

    @property
    def spelling(self) -> str:
        """Letters."""
        return (
            "".join(CONSONANTS[c].spelling for c in self.onset)
            + VOWEL_SPELLING[self.nucleus]
            + "".join(CONSONANTS[c].spelling for c in self.coda)
        )

    @property
    def vowels(self) -> tuple[str, str]:
        """First and last vowel; they differ in diphthongs."""
        return DIPHTHONGS.get(self.nucleus, (self.nucleus, self.nucleus))


@dataclass(frozen=True)
class Word:
    """A word.

    Arguments
    ---------
    spelling : str
        Its letters.
    syllables : tuple of Syllable
        At least one.
    """

    spelling: str
    syllables: tuple[Syllable, ...]


def _draw(rng, table):
    keys = list(table)
    weights = np.array([table[k] for k in keys], dtype=np.float64)
    return keys[int(rng.choice(len(keys), p=weights / weights.sum()))]


@cache
def lexicon(size=600) -> tuple[Word, ...]:
    """All words, always the same ones.

    Arguments
    ---------
    size : int, optional
        Number of words; default: 600. Short words come first.

    Returns
    -------
    tuple of Word

    Example
    -------
    >>> words = lexicon(50)
    >>> len({word.spelling for word in words})
    50
    """
    rng = np.random.default_rng(20230424)
    words = {}
    while len(words) < size:
        length = 1 + int(rng.choice(3, p=[0.45, 0.4, 0.15]))
        syllables = tuple(
            Syllable(
                tuple(_draw(rng, _ONSETS).split()),
                _draw(rng, _NUCLEI),
                tuple(_draw(rng, _CODAS).split()),
            )
            for _ in range(length)
        )
        spelling = "".join(s.spelling for s in syllables)
        words.setdefault(spelling, Word(spelling, syllables))
    return tuple(sorted(words.values(), key=lambda w: len(w.syllables)))
