"""Fourteen corpora of single singers, and all of them together with speech.

What systems for several singers are trained on: 13 data sets of MedleyVox
(Jeon et al., ICASSP 2023) and the voices of MIR-1K. `VOICE_SETS` has a row for
each: where its recordings lie, who sings, what is sung together, splits,
licence. Each is prepared by its own name (`singbrain prepare csd DATA OUT`);
`singing_corpora` prepares all that lie in one folder, in folders of their
names, and speech with them:

    <folder>/csd/...  <folder>/opensinger/...  <folder>/librispeech/...

into one manifest per split, whose column `kind` tells singing from speech.
Nobody is in two splits. What MedleyVox's test set is sung by is left out.

Where the corpora differ from what their layouts say, recordings are left out
and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from data_prep import mir1k, musdb18, tonas, vocadito
from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    prepare_songs,
    subfolders,
    walk_audio,
)
from data_prep.librispeech import LIBRISPEECH
from data_prep.manifest import Summary
from data_prep.musdb18_lyrics import UNINTELLIGIBLE, read_lyrics_file
from data_prep.voice_corpus import (
    Recording,
    VoiceSet,
    check_options,
    list_voices,
    one_split_each,
    unknown_sets,
)
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.separation import MIR1K_CHANNELS

# Instruments of MedleyDB that are one person's voice.
MEDLEYDB_VOICES = frozenset(
    (
        "male singer",
        "female singer",
        "male speaker",
        "female speaker",
        "male rapper",
        "female rapper",
        "beatboxing",
    )
)


# ----------------------------------------------------- what needs more code


def _vocadito_singers(folder: Path) -> dict[str, str]:
    """Singer of each file of vocadito."""
    names = vocadito.singers(folder)
    return {f"vocadito_{number}": singer for number, singer in names.items()}


def solo_lines(path: Path) -> list[tuple[int, float, float]]:
    """Read where one person sings alone in a song of MUSDB18.

    Arguments
    ---------
    path : Path
        A song's file of the lyrics extension, see
        `musdb18_lyrics.read_lyrics_file`.

    Returns
    -------
    list of (int, float, float)
        Number of the line from 0, start and stop in seconds, of category
        `a` and not marked as unintelligible.

    Raises
    ------
    ManifestError
        If a line is something else.
    """
    return [
        (line.line - 1, line.start_s, line.stop_s)
        for line in read_lyrics_file(path)
        if line.category == "a"
        and line.timed
        and line.rejected != UNINTELLIGIBLE
    ]


def _musdb18_voices(folder: Path):
    """Lines of MUSDB18 that one person sings alone, and remarks."""
    cut = re.compile(
        r"(?:.*/)?(?P<part>train|test)/audio/vocals/a/"
        r"(?P<take>(?P<singer>.+?) - .+_\d+)",
        re.DOTALL,
    )
    whole = re.compile(
        r"(?:.*/)?(?P<part>train|test)/"
        r"(?P<take>(?P<singer>[^/]+?) - [^/]+)/vocals",
        re.DOTALL,
    )
    splits = {"train": "train", "test": "valid"}
    lyrics = {
        path.stem: path
        for path in sorted(folder.rglob("*.txt"))
        if path.name[0] != "."
    }
    found, without = [], []
    for path in walk_audio(folder):
        inside = path.relative_to(folder).with_suffix("").as_posix()
        inside = f"{folder.name}/{inside}"
        match, spans = cut.fullmatch(inside), None
        if match is None:
            match = whole.fullmatch(inside)
            if match is None:
                continue
            if match["take"] not in lyrics:
                without.append(match["take"])
                continue
            spans = tuple(
                (f"_{number}", start, stop)
                for number, start, stop in solo_lines(lyrics[match["take"]])
            )
        found.append(
            Recording(
                path,
                match["take"],
                match["singer"],
                split=splits[match["part"]],
                spans=spans,
            )
        )
    if without and not found:
        raise ManifestError(
            f"{folder}: {len(without)} songs, but no lyrics (<artist> - "
            "<title>.txt): get them from https://zenodo.org/records/3989267"
        )
    remarks = []
    if without:
        remarks.append(
            f"{len(without)} songs have no lyrics that tell where one person "
            f"sings alone and are left out: {', '.join(without)}"
        )
    return found, remarks


def _medleydb(folder: Path):
    """Raw stems of MedleyDB that are one person's voice, and remarks."""
    stem = re.compile(
        r"(?:.*/)?(?P<song>[^/]+)/(?P=song)_RAW/"
        r"(?P<take>(?P=song)_RAW_\d+_\d+)",
        re.DOTALL,
    )
    ending = "_METADATA.yaml"
    metadata = {
        path.name.removesuffix(ending): path
        for path in sorted(folder.rglob(f"*{ending}"))
        if path.name[0] != "."
    }
    found, without, bleeding = [], set(), set()
    voices = cache(_medleydb_voices)
    for path in walk_audio(folder):
        inside = path.relative_to(folder).with_suffix("").as_posix()
        match = stem.fullmatch(f"{folder.name}/{inside}")
        if match is None:
            continue
        song = match["song"]
        if song not in metadata:
            without.add(song)
            continue
        takes, bleeds = voices(metadata[song])
        if match["take"] not in takes:
            continue
        if bleeds:
            bleeding.add(song)
            continue
        artist = song.split("_", 1)[0]
        found.append(Recording(path, match["take"], artist))
    remarks = []
    for songs, what in (
        (without, "have no metadata"),
        (bleeding, "have the band in the singer's microphone"),
    ):
        if songs:
            remarks.append(
                f"{len(songs)} songs {what} and are left out: "
                f"{', '.join(sorted(songs))}"
            )
    return found, remarks


def _medleydb_voices(path: Path) -> tuple[set[str], bool]:
    """Names of a song's raw stems that are voices; whether they bleed."""
    import yaml

    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        takes = {
            Path(raw["filename"]).stem
            for part in facts["stems"].values()
            for raw in part["raw"].values()
            if _is_voice(raw["instrument"])
        }
        return takes, str(facts.get("has_bleed", "no")).lower() != "no"
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ManifestError(f"{path}: cannot be read: {reason}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: is no metadata of MedleyDB: no usable {error}"
        ) from None


def _is_voice(instrument) -> bool:
    names = [instrument] if isinstance(instrument, str) else instrument
    return bool(names) and MEDLEYDB_VOICES.issuperset(names)


# ---------------------------------------------------------------- the table


def _voices_of(module, citation: str = "") -> Corpus:
    """Describe the voices of a corpus that has a preparation of its own."""
    corpus = module.CORPUS
    if citation:
        citation = f"{corpus.citation}; {citation}"
    return replace(
        corpus,
        name=f"{corpus.name}_voices",
        citation=citation or corpus.citation,
    )


_TABLE = (
    VoiceSet(
        Corpus(
            "csd",
            "CC BY-NC-SA 4.0",
            "free for non-commercial use with attribution",
            "Choi et al., Children's Song Dataset for Singing Voice Research, "
            "ISMIR 2020 (late-breaking demo)",
            "https://zenodo.org/records/4785016",
        ),
        "<language>/wav/<song>.wav",
        r"(?P<language>[^/]+)/wav/(?P<take>(?:en|kr)[^/]+)",
        singer="CSD",
    ),
    VoiceSet(
        Corpus(
            "nus48e",
            "NUS-48E terms",
            "granted on request, for research",
            "Duan et al., The NUS Sung and Spoken Lyrics Corpus, APSIPA 2013",
            "https://smcnus.comp.nus.edu.sg/nus-48e-sung-and-spoken-lyrics-corpus/",
        ),
        "<singer>/sing/<number>.wav",
        r"(?P<singer>[^/]+)/sing/(?P<take>[^/]+)",
        name="{singer}_{take}",
        singer="{singer}",
    ),
    VoiceSet(
        _voices_of(tonas),
        "<style>/<song>.wav",
        r"(?:Deblas|Martinetes ?\d?)/(?P<take>[^/]+)",
        singers=tonas.singers,
    ),
    VoiceSet(
        Corpus(
            "vocalset",
            "CC BY 4.0",
            "free with attribution",
            "Wilkins et al., VocalSet: A Singing Voice Dataset, ISMIR 2018",
            "https://zenodo.org/records/1442513",
        ),
        "{FULL,data_by_singer}/<singer>/<context>/<technique>/"
        "<f1|m1|...>_<name>.wav",
        # Files whose names start with another singer are left out.
        r"(?:FULL|data_by_singer)/(?P<singer>(?P<sex>fe)?male(?P<number>\d+))/[^/]+/[^/]+/"
        r"(?P<take>(?(sex)f|m)(?P=number)_[^/]+)",
        singer="{singer}",
    ),
    VoiceSet(
        Corpus(
            "jsut_song",
            "JSUT-song terms",
            "academic, non-commercial and personal use, no redistribution of "
            "the audio",
            "Takamichi et al., JSUT and JVS: Free Japanese Voice Corpora for "
            "Accelerating Speech Synthesis Research, AST 41(5), 2020",
            "https://sites.google.com/site/shinnosuketakamichi/publication/"
            "jsut-song",
        ),
        "child_song/wav/<number>.wav",
        r"child_song/wav/(?P<take>[^/]+)",
        singer="jsut",
    ),
    VoiceSet(
        Corpus(
            "jvs_music",
            "JVS-MuSiC terms",
            "academic, non-commercial and personal use, no redistribution of "
            "the audio",
            "Tamaru et al., JVS-MuSiC: Japanese Multispeaker Singing-Voice "
            "Corpus, arXiv 2001.07044, 2020",
            "https://sites.google.com/site/shinnosuketakamichi/research-topics/"
            "jvs_music",
        ),
        "jvs<number>/<song_common|song_unique>/wav/raw.wav",
        r"(?P<singer>jvs\d+)/(?:song_)?(?P<take>common|unique)/wav/raw",
        name="{singer}_{take}",
        singer="{singer}",
    ),
    VoiceSet(
        Corpus(
            "kiritan",
            "Tohoku Kiritan terms",
            "free for research; read its terms before any other use",
            "Ogawa and Morise, Tohoku Kiritan Singing Database: A Singing "
            "Database for Statistical Parametric Singing Synthesis Using "
            "Japanese Pop Songs, AST 42(3), 2021",
            "https://zunko.jp/kiridev/login.php",
        ),
        "wav/<number>.wav",
        r"wav/(?P<take>\d+)",
        singer="kiritan",
        trim_db=75.0,
    ),
    VoiceSet(
        _voices_of(vocadito),
        "Audio/vocadito_<number>.wav",
        r"Audio/(?P<take>vocadito_\d+)",
        singers=_vocadito_singers,
    ),
    VoiceSet(
        _voices_of(
            musdb18,
            "Schulze-Forster et al., Phoneme Level Lyrics Alignment and "
            "Text-Informed Singing Voice Separation, TASLP 29, 2021 (lyrics)",
        ),
        "{train,test}/<artist> - <title>/vocals.wav and <artist> - "
        "<title>.txt, or {train,test}/audio/vocals/a/<artist> - "
        "<title>_<number>.wav",
        artists=True,
        splits={"train": "train", "test": "valid"},
        listing=_musdb18_voices,
    ),
    VoiceSet(
        Corpus(
            "opensinger",
            "OpenSinger terms",
            "academic use; read its terms before any other use",
            "Huang et al., Multi-Singer: Fast Multi-Singer Singing Voice "
            "Vocoder With A Large-Scale Corpus, ACM MM 2021",
            "https://multi-singer.github.io/",
        ),
        "{Man,Woman}Raw/<singer>_<song>/<singer>_<song>_<number>.wav",
        r"(?P<group>Man|Woman)Raw/(?P<singer>\d+)_[^/]+/"
        r"(?P<take>(?P=singer)_[^/]+)",
        name="{group}Raw_{take}",
        singer="{group}Raw_{singer}",
    ),
    VoiceSet(
        Corpus(
            "medleydb",
            "CC BY-NC-SA 4.0",
            "free for non-commercial use with attribution, changes under the "
            "same licence",
            "Bittner et al., MedleyDB: A Multitrack Dataset for "
            "Annotation-Intensive MIR Research, ISMIR 2014",
            "https://medleydb.weebly.com",
        ),
        "<Song>/<Song>_RAW/<Song>_RAW_<ii>_<jj>.wav and <Song>_METADATA.yaml",
        trim_db=65.0,
        artists=True,
        listing=_medleydb,
    ),
    VoiceSet(
        Corpus(
            "k_multisinger",
            "AI-Hub terms",
            "granted on request to residents of Korea; no redistribution",
            "AI-Hub, data set 465 (several singers of one song)",
            "https://aihub.or.kr/aihubdata/data/view.do?dataSetSn=465",
        ),
        "<genre>_<song>_<key>_<x>_<singer>_<sex>_<number>.wav, at any depth",
        r"(?P<take>[^/_]+_(?P<piece>\d+)_(?P<key>[+-]\d+)_[^/_]+_"
        r"(?P<singer>s\d+)_[^/_]+_\d+)",
        singer="{singer}",
        song="{piece}_{key}",
    ),
    VoiceSet(
        Corpus(
            "k_multitimbre",
            "AI-Hub terms",
            "granted on request to residents of Korea; no redistribution",
            "AI-Hub, data set 473 (guide vocals of many timbres)",
            "https://aihub.or.kr/aihubdata/data/view.do?dataSetSn=473",
        ),
        "SINGER_<number>_<name>.wav, at any depth",
        r"(?P<take>(?P<singer>SINGER_\d+)_[^/]+)",
        singer="{singer}",
    ),
    VoiceSet(
        _voices_of(mir1k),
        "Wavfile/<singer>_<song>_<clip>.wav, the voice in the right channel",
        r"Wavfile/(?P<take>(?P<singer>[^/_]+)_\d+_\d+)",
        singer="{singer}",
        channel=MIR1K_CHANNELS["vocals"],
    ),
)
VOICE_SETS = {row.corpus.name: row for row in (*_TABLE, LIBRISPEECH)}


# ------------------------------------------------------------- all together

CORPUS = Corpus(
    "singing_corpora",
    "of each corpus",
    "see the column license of the manifests",
    "",
    # Its README lists them.
    "https://github.com/jeonchangbin49/MedleyVox",
)


def prepare_singing_corpora(
    data_folder,
    output_folder,
    datasets: Sequence[str] | None = None,
    segment_s: float = 5.0,
    trim: bool | None = None,
    min_s: float = 1.0,
    sample_rate: int | None = None,
    valid_share: float = 0.05,
    audio_folder=None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write manifests of all corpora of singing and speech in a folder.

    Nobody is in two splits: an artist of MUSDB18 and of MedleyDB counts as one
    singer, and what who is held out sings elsewhere is left out.

    Arguments
    ---------
    data_folder : str or Path
        Holds corpora in folders (or links to folders) of their names in
        `VOICE_SETS`.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv` and `test.csv`, as far as there are any.
    datasets : sequence of str, optional
        Names of the corpora to take. Default: all that are there.
    segment_s, trim, min_s, sample_rate, valid_share, audio_folder
        As in `voice_corpus.prepare_voices`.
    n_jobs : int
        Recordings worked on at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary
        Its remarks start with the name of the corpus that they are about.

    Raises
    ------
    ConfigError
        If an option is out of range or a corpus unknown.
    ManifestError
        If the folder holds no corpus, or not the wanted ones.
    AudioError, OutputError
        As `voice_corpus.prepare_voices`.
    """
    folder = check_folder(data_folder, CORPUS)
    options = check_options(trim, min_s, sample_rate, valid_share, audio_folder)
    there = {place.name: place for place in subfolders(folder)}
    if datasets is not None:
        if isinstance(datasets, str) or not datasets:
            raise ConfigError(
                f"datasets is {datasets!r}: give a list of names, as [csd]"
            )
        unknown_sets(datasets, VOICE_SETS)
    names = [
        name
        for name in VOICE_SETS
        if name in (there if datasets is None else datasets)
    ]
    lost = [name for name in names if name not in there]
    if lost or not names:
        raise ManifestError(
            f"{folder}: has no folder {lost[0] if lost else 'of any corpus'}: "
            f"name the corpora's folders {', '.join(names or VOICE_SETS)}"
        )
    songs: list[Song] = []
    remarks = []
    for name in names:
        found, said = list_voices(
            VOICE_SETS[name], there[name], folder, options
        )
        songs += found
        remarks += [f"{name}: {remark}" for remark in said]
    songs, crossing = one_split_each(songs)
    rows = [VOICE_SETS[name].corpus for name in names]
    licenses = "; ".join(f"{row.name} {row.license}" for row in rows)
    return prepare_songs(
        replace(
            CORPUS,
            license=licenses,
            citation="; ".join(row.citation for row in rows),
            url="",
        ),
        songs,
        folder,
        output_folder,
        segment_s,
        options | {"datasets": names},
        remarks + crossing,
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def download_singing_corpora(data_folder) -> None:
    """Say how to get the corpora: one by one.

    Arguments
    ---------
    data_folder : str or Path
        Where they are to be put, in folders of their names.

    Raises
    ------
    ManifestError
        Always: with their names and addresses.
    """
    places = "; ".join(
        f"{name} {row.corpus.url}" for name, row in VOICE_SETS.items()
    )
    raise ManifestError(
        f"{CORPUS.name} have to be fetched by hand, each into its folder in "
        f"{data_folder}: {places}"
    )
