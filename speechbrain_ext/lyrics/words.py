"""Words of lyrics as they are compared and looked up."""

from __future__ import annotations

import re
import unicodedata

# Quotes of all kinds are one.
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})
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
