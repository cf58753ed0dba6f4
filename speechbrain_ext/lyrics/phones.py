"""The 41 classes of phones: 39 of ARPAbet, silence and other noise.

They are those of the CMU dictionary without stress, SIL and SPN, in
alphabetical order, so that an array of 41 columns means the same everywhere.
Symbols of other inventories (TIMIT's, the International Phonetic Alphabet)
are folded onto them.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from speechbrain_ext.errors import ConfigError

SILENCE = "SIL"
NOISE = "SPN"  # spoken noise: breath, laughter, what is no phone
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = frozenset(_VOWELS.split())
CONSONANTS = frozenset(_CONSONANTS.split())
PHONES = tuple(sorted({*VOWELS, *CONSONANTS, SILENCE, NOISE}))
INDEX = {phone: k for k, phone in enumerate(PHONES)}

# Names of other inventories in capitals: TIMIT's 61 phones, pocketsphinx's
# noises, and the sounds of MiniSinging that English does not have.
_NAMED = {
    "AX": "AH", "AX-H": "AH", "AXR": "ER", "IX": "IH", "UX": "UW",
    "DX": "D", "NX": "N", "EL": "AH L", "EM": "AH M", "EN": "AH N",
    "ENG": "IH NG", "HV": "HH", "H": "HH",
    "H#": "SIL", "#H": "SIL", "PAU": "SIL", "EPI": "SIL", "SP": "SIL",
    "BCL": "SIL", "DCL": "SIL", "GCL": "SIL", "PCL": "SIL", "TCL": "SIL",
    "KCL": "SIL", "Q": "SIL", "<SIL>": "SIL", "|": "SIL",
    "NSN": "SPN", "+NSN+": "SPN", "+SPN+": "SPN", "<SPN>": "SPN",
    "X": "HH", "TS": "T S", "RR": "R", "GN": "N Y", "EE": "EY", "OO": "OW",
    "UE": "UW", "OE": "ER",
    "EH-IY": "EY", "AA-IH": "AY", "AA-UH": "AW", "AO-UH": "OW", "AO-IH": "OY",
}  # fmt: skip

# The International Phonetic Alphabet, as eSpeak NG and dictionaries write it;
# the longest entry that fits is taken.
_IPA = {
    "aɪ": "AY", "ai": "AY", "aʊ": "AW", "au": "AW", "eɪ": "EY", "ei": "EY",
    "oʊ": "OW", "əʊ": "OW", "ou": "OW", "ɔɪ": "OY", "oi": "OY", "ɔi": "OY",
    "tʃ": "CH", "dʒ": "JH", "ts": "T S", "dz": "D Z", "tɕ": "CH",
    "dʑ": "JH", "ʈʂ": "CH",
    "əl": "AH L", "ɪə": "IH R", "eə": "EH R", "ʊə": "UH R",
    "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "ɜː": "ER", "eː": "EY",
    "oː": "OW", "aː": "AA",
    "i": "IY", "ɪ": "IH", "e": "EH", "ɛ": "EH", "æ": "AE", "a": "AA",
    "ɑ": "AA", "ɒ": "AA", "ɐ": "AH", "ʌ": "AH", "ə": "AH", "ɔ": "AO",
    "o": "OW", "ʊ": "UH", "u": "UW", "ɜ": "ER", "ɝ": "ER", "ɚ": "ER",
    "ɨ": "IH", "ᵻ": "IH", "ɘ": "AH", "ɵ": "UH", "ʉ": "UW", "ɯ": "UW",
    "ɤ": "AH", "y": "UW", "ʏ": "UH", "ø": "ER", "œ": "ER", "ɞ": "ER",
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "g": "G", "ɡ": "G",
    "c": "K", "ɟ": "G", "q": "K", "ɢ": "G", "ʈ": "T", "ɖ": "D", "ɾ": "D",
    "m": "M", "ɱ": "M", "n": "N", "ɲ": "N Y", "ŋ": "NG", "ɳ": "N", "ɴ": "NG",
    "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH",
    "ʒ": "ZH", "ɕ": "SH", "ʑ": "ZH", "ʂ": "SH", "ʐ": "ZH", "ç": "HH",
    "ʝ": "Y", "x": "HH", "χ": "HH", "ɣ": "G", "ʁ": "R", "ħ": "HH", "ʕ": "AA",
    "h": "HH", "ɦ": "HH", "ɸ": "F", "β": "V", "ɬ": "L",
    "r": "R", "ɹ": "R", "ɻ": "R", "ʀ": "R", "ɽ": "R", "l": "L", "ɫ": "L",
    "ʎ": "L Y", "ɭ": "L", "j": "Y", "w": "W", "ɥ": "Y", "ʋ": "V", "ɰ": "W",
    "ʍ": "W", "ʔ": "",
}  # fmt: skip
_LONGEST = max(map(len, _IPA))
# Consonants that carry a syllable.
_SYLLABIC = re.compile("([lmnŋɹr])\u0329")
# Stress, ties, pauses and marks of intonation say nothing about the phone.
_SILENT_MARKS = re.compile("[ˈˌ'ˑ.‖|‿↗↘˞ʰʲʷˠˤⁿˡ^_*-]")


def fold(symbol) -> tuple[str, ...]:
    """Fold a symbol of any inventory onto the 41 classes.

    Arguments
    ---------
    symbol : str
        ARPAbet with or without stress, a name of TIMIT's or MiniSinging's
        inventory, in any case if it is longer than one letter, or IPA.

    Returns
    -------
    tuple of str
        Names of `PHONES`; more than one if it takes several to say it, none
        if it is only a mark or unknown.

    Example
    -------
    >>> fold("AH0"), fold("axr"), fold("t͡ʃ"), fold("TS"), fold("<pad>")
    (('AH',), ('ER',), ('CH',), ('T', 'S'), ())
    """
    symbol = unicodedata.normalize("NFC", str(symbol)).strip()
    name = symbol.upper().rstrip("0123456789")
    # A single small letter is IPA: y is a vowel there.
    if len(symbol) > 1 or symbol.isupper() or symbol == "|":
        if name in INDEX:
            return (name,)
        if name in _NAMED:
            return tuple(_NAMED[name].split())
    if re.fullmatch(r"<.*>|\[.*\]", symbol):
        return ()
    return ipa_to_phones(symbol)


def ipa_to_phones(text) -> tuple[str, ...]:
    """Phones of a word in the International Phonetic Alphabet.

    Arguments
    ---------
    text : str
        What is no letter of a phone (stress, ties, tones) is left out.

    Returns
    -------
    tuple of str

    Example
    -------
    >>> " ".join(ipa_to_phones("ˈd͡ʒɔɪfl̩"))
    'JH OY F AH L'
    """
    text = _SYLLABIC.sub("ə\\1", unicodedata.normalize("NFD", text))
    # Ties and all other marks; what NFD took apart comes together again.
    text = "".join(
        c for c in text if not unicodedata.combining(c) or c == "\u0327"
    )
    text = _SILENT_MARKS.sub("", unicodedata.normalize("NFC", text))
    found: list[str] = []
    place = 0
    while place < len(text):
        for length in range(_LONGEST, 0, -1):
            piece = text[place : place + length]
            if piece in _IPA:
                found += _IPA[piece].split()
                place += len(piece)
                break
        else:
            place += 1
    return tuple(found)


def folding(symbols) -> np.ndarray:
    """Matrix that turns probabilities of other symbols into the 41 classes.

    Arguments
    ---------
    symbols : iterable of str
        What the columns of the other model stand for.

    Returns
    -------
    np.ndarray (symbols, 41), float32
        Each row is 0 for a symbol that is no phone, else of sum 1: a symbol
        of several phones gives each its share.

    Raises
    ------
    ConfigError
        If fewer than 10 classes are reached: the symbols are letters of an
        alphabet, or something else.

    Example
    -------
    >>> matrix = folding(PHONES)
    >>> bool((matrix == np.eye(41)).all())
    True
    """
    symbols = list(symbols)
    matrix = np.zeros((len(symbols), len(PHONES)), np.float32)
    for row, symbol in enumerate(symbols):
        phones = fold(symbol)
        for phone in phones:
            matrix[row, INDEX[phone]] += 1 / len(phones)
    reached = int((matrix.sum(axis=0) > 0).sum())
    if reached < 10:
        raise ConfigError(
            f"the {len(symbols)} symbols of the model stand for {reached} of "
            f"{len(PHONES)} phones: take a model of phones, not of letters"
        )
    return matrix
