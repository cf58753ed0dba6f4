"""How words are said: a dictionary, and letter to sound for the others."""

from __future__ import annotations

import lzma
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from speechbrain_ext.errors import (
    DependencyError,
    LyricsError,
    optional_library,
)
from speechbrain_ext.lyrics.acoustic import pocketsphinx_folder
from speechbrain_ext.lyrics.phones import fold, ipa_to_phones
from speechbrain_ext.lyrics.words import spoken_form

# Pronunciations of a word that are tried, at most.
MAX_VARIANTS = 4


class Lexicon:
    """Pronunciations of words in the 41 phones.

    Arguments
    ---------
    language : str
        Of the lyrics, as "en" (default), "de", "es". English words are looked
        up in the dictionary of pocketsphinx (from CMU's); all others are
        spelt out by g2p2, of which the language's models must be installed.
    own : mapping of str to (list of) str, optional
        Words with their pronunciations, such as `{"qi": "CH IY"}` or
        `{"read": ["R EH D", "R IY D"]}`; they come first.

    Raises
    ------
    LyricsError
        If a pronunciation of `own` has no phone.

    Example
    -------
    >>> Lexicon(own={"la": "L AA1"}).pronounce("La!")
    [('L', 'AA')]
    """

    def __init__(self, language="en", own: Mapping | None = None):
        self.language = language
        self.own = {}
        for word, said in (own or {}).items():
            variants = [said] if isinstance(said, str) else list(said)
            known = [_folded(variant.split()) for variant in variants]
            if not known or not all(known):
                raise LyricsError(
                    f"the pronunciation of '{word}' has no phone: write it in "
                    "ARPAbet, as K AE T"
                )
            self.own[spoken_form(word)] = known

    def pronounce(self, word) -> list[tuple[str, ...]]:
        """Ways to say a word.

        Arguments
        ---------
        word : str

        Returns
        -------
        list of tuple of str
            1 to 4 sequences of phones; none for a word without a letter.

        Raises
        ------
        DependencyError
            If the word is in no dictionary and g2p2, or its model of the
            language, is not installed.
        LyricsError
            If nothing can be made of its letters.
        """
        word = spoken_form(word)
        if not word:
            return []
        known = self._look_up(word)
        if known:
            return known[:MAX_VARIANTS]
        # Parts that are known, as of "moon-lit"; digits are said as words.
        parts = re.split(r"[-–—_/]+", word)
        if len(parts) > 1:
            said = [self.pronounce(part) for part in parts]
            return [tuple(p for ways in said if ways for p in ways[0])]
        return [self._spell(word)]

    def _look_up(self, word):
        if word in self.own:
            return self.own[word]
        if self.language != "en":
            return None
        known = _dictionary()
        bare = word.strip("'")
        found = known.get(word) or known.get(bare)
        if found is None and word.endswith("in'"):  # singin'
            found = [(*way[:-1], "N") for way in known.get(word[:-1] + "g", [])]
        if found is None and word.endswith(("'s", "s'")):
            found = [(*way, *_plural(way)) for way in known.get(word[:-2], [])]
        return found

    def _spell(self, word):
        model, expand = _letters_to_sound(self.language)
        text = expand(word, self.language) if re.search(r"\d", word) else word
        pieces = [p for p in re.split(r"[\s-]+", text) if p]
        if len(pieces) > 1:
            said = [self.pronounce(p)[0] for p in pieces if spoken_form(p)]
            return tuple(phone for piece in said for phone in piece)
        phones = ipa_to_phones(model.phonemize(text.replace("'", "")))
        if not phones:
            raise LyricsError(
                f"'{word}' cannot be pronounced in the language "
                f"'{self.language}': write it in its letters, leave it out, or "
                "name the language of the lyrics (--language CODE, after "
                'pip install "g2p2[CODE]", as el, ja, ru, zh)'
            )
        return phones


def _folded(names):
    return tuple(phone for name in names for phone in fold(name))


def _plural(way):
    if way[-1] in ("S", "Z", "SH", "ZH", "CH", "JH"):
        return ("IH", "Z")
    return ("S",) if way[-1] in ("P", "T", "K", "F", "TH") else ("Z",)


@cache
def _dictionary():
    """Words of the dictionary of pocketsphinx, with their pronunciations."""
    path = pocketsphinx_folder() / "cmudict-en-us.dict"
    found: dict[str, list] = {}
    for line in path.read_text("utf-8").splitlines():
        word, *names = line.split()
        way = tuple(names)
        found.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(way)
    return found


@cache
def _letters_to_sound(language):
    """Model of a language, and what turns digits into words."""
    wanted = f"g2p2[{language}]" if language != "en" else None
    g2p2 = optional_library(
        "g2p2",
        wanted or "g2p2",
        None if wanted else "lyrics",
        "a word that is in no dictionary",
    )
    # g2p2 itself would fetch what is not installed.
    for name in _groups():
        home = Path(find_spec(name).submodule_search_locations[0])
        packed = home / f"{language}.g2p.xz"
        if packed.is_file():
            data = lzma.decompress(packed.read_bytes())
            return g2p2.Model.from_bytes(data), g2p2.expand_numbers
    raise DependencyError(
        f"words of the language '{language}' need its letter-to-sound model: "
        f'pip install "g2p2[{language}]"'
    )


def _groups():
    """Installed packages of g2p2's models."""
    from pkgutil import iter_modules

    return [m.name for m in iter_modules() if m.name.startswith("g2p2_group_")]
