"""Words of lyrics as they are compared and looked up."""

from __future__ import annotations

import re
import unicodedata

# Quotes of all kinds are one.
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})
# What lyrics are spelled with: 28 characters.
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"

_EDGE = re.compile(r"^[^\w']+|[^\w']+$")


def spoken_form(word) -> str:
    """A word without the marks around it, in small letters.

    Arguments
    ---------
    word : str

    Returns
    -------
    str
        Empty if it has no letter and no digit.

    Example
    -------
    >>> spoken_form("“Don’t,”"), spoken_form("–"), spoken_form("'cause")
    ("don't", '', "'cause")
    """
    word = unicodedata.normalize("NFC", word).translate(_QUOTES).lower()
    word = _EDGE.sub("", word)
    return word if re.search(r"\w", word) else ""


def plain_words(text) -> str:
    """Lyrics as they are spelled with few letters.

    Arguments
    ---------
    text : str

    Returns
    -------
    str
        Words in small letters without accents, parted by single spaces; of
        marks only apostrophes are kept. Digits and letters of other scripts
        stay, see `is_spellable`.

    Example
    -------
    >>> plain_words("Don\u2019t say \u201cCAF\u00c9\u201d, oh-oh!")
    "don't say cafe oh oh"
    """
    text = unicodedata.normalize("NFKD", text.translate(_QUOTES))
    text = "".join(c for c in text if not unicodedata.combining(c))
    words = map(spoken_form, re.sub(r"[^\w']|_", " ", text).split())
    return " ".join(filter(None, words))


def is_spellable(text) -> bool:
    """Whether `CHARACTERS` are enough to spell words.

    Arguments
    ---------
    text : str
        From `plain_words`.

    Returns
    -------
    bool
        False for no words at all.

    Example
    -------
    >>> is_spellable("don't"), is_spellable("99 times"), is_spellable("")
    (True, False, False)
    """
    return bool(text) and set(text) <= set(CHARACTERS)
