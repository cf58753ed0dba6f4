"""Find when the phones of MUSDB18's lyrics are sung.

    python align_phones.py lines.csv --data_folder /path/to/musdb18hq \
        --output /path/to/phones --voice isolated

`lines.csv` has a row per line of lyrics: song, start_s, stop_s, and its text
(`words`, or `text`). Lines without words or times, and those marked in a column
`rejected`, are left out. Every song gets
`<output>/<song>/phones.csv` and `words.csv`, which `params.yaml` takes with
`--phones_folder`; songs that are there already are not aligned again.

`--voice vocals` listens to the voice's own stem, which nobody has who wants to
separate a song: what a separator then gains is a bound. `--voice isolated`
listens to what a separator (`--separator`) has taken out of the mixture.
"""

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from speechbrain_ext.errors import LyricsError, ManifestError, SingBrainError
from speechbrain_ext.files import atomic_folder
from speechbrain_ext.inference.aligner import LyricsAligner
from speechbrain_ext.lyrics.align import parse_lyrics
from speechbrain_ext.lyrics.lexicon import spoken_form
from speechbrain_ext.lyrics.timed import write_phones, write_timed


def main(arguments=None):
    """Align all songs that have lyrics and audio."""
    options = parsed(arguments)
    songs = lyric_lines(options.lines)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    isolate = options.voice == "isolated" and (options.separator or True)
    aligner = LyricsAligner.from_hparams(
        options.model, options.device, isolate=isolate
    )
    name = "vocals" if options.voice == "vocals" else "mixture"
    found = 0
    for song, lines in songs.items():
        paths = sorted(Path(options.data_folder).glob("t*/*/" + name + ".*"))
        audio = [path for path in paths if path.parent.name == song]
        if not audio:
            continue
        found += 1
        if (output / song / "phones.csv").is_file():
            continue
        try:
            timed = aligner.align_file(audio[0], lines)
        except LyricsError as error:
            print(f"{song}: left out: {error}", file=sys.stderr)
            continue
        with atomic_folder(output / song) as folder:
            phones = [phone for word in timed for phone in word.phones]
            write_phones(phones, folder / "phones.csv")
            write_timed(timed, folder / "words.csv")
        print(f"{song}: {len(timed)} words, {len(phones)} phones")
    if not found:
        raise ManifestError(
            f"{options.data_folder}: has {name}.wav of none of {len(songs)} "
            "songs: give the folder of MUSDB18-HQ"
        )


def parsed(arguments):
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("lines", help="CSV of the lyrics' lines")
    add("--data_folder", required=True, help="MUSDB18-HQ")
    add("--output", required=True, help="folder for the phones of all songs")
    add("--voice", choices=("isolated", "vocals"), default="isolated")
    add("--separator", help="model that isolates (default: the shipped one)")
    add("--model", help="what hears phones, as in `singbrain align`")
    add("--device", default="cpu", help="where to compute (default: cpu)")
    return parser.parse_args(arguments)


def lyric_lines(path):
    """Lines with their times, by song."""
    songs = defaultdict(list)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise LyricsError(f"{path}: cannot be read: {error.strerror}") from None
    if not rows or not {"song", "start_s", "stop_s"} <= rows[0].keys():
        raise LyricsError(
            f"{path}: needs the columns song, start_s, stop_s and text"
        )
    for row in rows:
        text = row.get("words") or row.get("text") or ""
        if row.get("rejected") or not spoken_form(text):
            continue
        if not (row["start_s"] and row["stop_s"]):
            continue
        onset, offset = float(row["start_s"]), float(row["stop_s"])
        songs[row["song"]] += [
            replace(line, onset=onset, offset=offset)
            for line in parse_lyrics(text)
        ]
    return {
        song: sorted(lines, key=lambda line: line.onset)
        for song, lines in songs.items()
    }


if __name__ == "__main__":
    try:
        main()
    except SingBrainError as error:
        print(f"singbrain: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
