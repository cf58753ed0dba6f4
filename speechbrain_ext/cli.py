"""The command line of SingBrain.

`singbrain song | transcribe | lyrics | separate | split | align | report |
demo | export | evaluate | prepare`.

Exit codes: 0 all went well, 2 something the user can mend (one line on stderr
says what), 130 stopped with Ctrl-C.

Whatever is slow to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import glob
import io
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from speechbrain_ext import __version__
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ModelError,
    OutputError,
    SingBrainError,
    optional_library,
)
from speechbrain_ext.workers import BACKENDS

# A picture that is further out of step belongs to something else.
MAX_LATE_S = 10.0

# Work on less audio than this is over before a progress bar helps.
PROGRESS_FROM_S = 10.0

# Commands of two words, beside the corpora of `prepare`.
_AV_HUBERT_COMMAND = "prepare av_hubert"
_LIPS_COMMAND = "prepare lips"
_TWO_WORDS = (_AV_HUBERT_COMMAND, _LIPS_COMMAND)

# What `transcribe` writes unless told otherwise.
DEFAULT_FORMATS = ("mid", "csv")

_TRANSCRIBE = """\
examples:
  singbrain transcribe song.wav
      writes song.mid and song.csv into the current folder
  singbrain transcribe song.mp3 -o melody.mid
      writes one file
  singbrain transcribe recordings/ "more/*.m4a" -o notes --format mid,json
      writes notes/<name>.mid and .json for every recording; folders inside
      recordings/ are searched with --recursive and mirrored in notes/
  singbrain transcribe clip.mp4 --plot
      also draws clip.png, a piano roll
  singbrain transcribe song.wav --tempo 96 --quantize 16 --snap "A minor"
      puts the notes on sixteenths and on a scale, and the tempo into song.mid
  singbrain transcribe song.wav --f0 --bends --velocity
      also writes song.f0.csv, the pitch every 20 ms; the notes of song.mid
      follow it by pitch bends and are as loud as sung (--f0 and --bends need
      a model that gives the fundamental frequency)
  singbrain transcribe -o notes -- -1.wav
      names that begin with a dash come last, after two dashes
"""

_SONG = """\
examples:
  singbrain song song.mp3 --lyrics song.txt -o score
      isolates the voice and writes into score/: vocals.wav, accompaniment.wav,
      the notes with syllables (vocals.mid, .csv, .musicxml on the beats of the
      song), the words (song.lrc; song.txt for UltraStar), all that is known
      (song.jams) and report.html, which shows and plays it in any browser
  singbrain song duet.mp3 --singers 2 --splitter MODEL -o duet
      writes singer1.wav, singer1.mid ... singer2.musicxml too
  singbrain song album/ --lyrics texts/ -o scores --jobs 4
      writes a folder per song; lyrics are those of the same name
  singbrain song album/ -o scores --backend dask --cluster tcp://head:8786
      the same by the workers of a Dask cluster, which see the same folders;
      --backend ray --cluster head:6379 by those of a Ray cluster, and without
      --cluster by N processes of this computer (--jobs N)
  singbrain song song.mp3 -o score --separator demucs:htdemucs --json
      with another separator; prints what was found as JSON
Results of stages are kept in DIR/.cache: a run that was stopped goes on, and a
change does again only what depends on it. A song whose worker dies is done
again by another one. What cannot be found (no beat, no
splitter) is told of, and all else is written.
"""

_LYRICS = """\
AUDIO holds a voice alone: take the accompaniment away with `singbrain separate`
first. The recording is cut at its pauses; FILE gets a line for each part.

examples:
  singbrain lyrics voice.wav --model results/ssl/1234/model
      writes voice.txt into the current folder
  singbrain lyrics voice.wav --model MODEL -o words.txt --beam-size 128
      looks longer for the best words
  singbrain align voice.wav words.txt
      then finds when each word is sung
"""

_REPORT = """\
examples:
  singbrain report song.csv --audio song.wav -o song.html
      a page with the piano roll over the spectrum, players and tables
  singbrain report song.csv --reference truth.csv --audio song.wav
      colours notes that are right, missed and extra
  singbrain report results/notes --reference truth --audio songs -o pages
      a page per song of an evaluation, and pages/index.html with the scores
"""

_DEMO = """\
examples:
  singbrain demo
      shows at http://127.0.0.1:7860 a page that does what `singbrain song`
      does: a song is uploaded or recorded, heard, seen and downloaded
  singbrain demo --splitter MODEL --max-seconds 300 --keep-seconds 600
      splits singers too, takes songs of up to 5 minutes, forgets them after 10
  singbrain demo --host 0.0.0.0
      lets other computers connect; there is no password, and browsers record
      only from https, so put a web server with both in front
Nothing is asked of the internet. Songs go through one after the other; what
was uploaded and made is removed after --keep-seconds, and all of it at the end.
"""

_SEPARATE = """\
examples:
  singbrain separate song.mp3
      writes song_vocals.wav and song_accompaniment.wav into the current folder
  singbrain separate songs/ -o stems --format flac,mp3
      writes stems/<song>_vocals.flac and so on for every song; folders inside
      songs/ are searched with --recursive and mirrored in stems/
  singbrain separate song.wav --stems vocals --plot
      writes the voice alone, and song_separation.png
  singbrain separate song.wav --model demucs:htdemucs --stems drums,bass
      with a model of the package demucs, if that is installed
Stems have the rate, channels, length and level of the song and add up to it.
"""

_SPLIT = """\
AUDIO holds nothing but voices: take the accompaniment away with `singbrain
separate` first.

examples:
  singbrain split duet.wav
      writes duet_singer1.wav and duet_singer2.wav into the current folder
  singbrain split choir/ -o voices --singers 3 --model MODEL --format flac
      writes voices/<song>_singer1.flac to _singer3.flac for every song
  singbrain split song.wav --mode main
      the main voice is singer1
  singbrain split duet.wav --stitching ola
      joins the parts of the recording in a published way
  singbrain split duet.wav --confidence --json
      also writes duet_confidence.csv, how sure it is at each border of two
      parts; prints what was found as JSON
Voices have the rate, channels, length and level of the song and add up to it.
"""

_ALIGN = """\
LYRICS is a text file with a line per line: headings such as [Chorus] are left
out, words in round brackets may be left out in singing, and (x2) at a line's
end sings it twice. Or it is an .lrc or .srt file: then each line is sought near
its time, which is safer in long songs.

examples:
  singbrain align song.mp3 song.txt --isolate
      takes the voice out of the song and writes song.lrc, with times of words
  singbrain align voice.wav song.txt -o song.TextGrid
      .lrc, .srt, .csv, .TextGrid or .json; the last two with phones
  singbrain align song.mp3 lines.lrc --isolate -o song.lrc
      gives the words of timed lines their times
"""

_EVALUATE_ALIGNMENT = """\
REF and EST are two files of timed lyrics (.csv with the columns word, onset_s,
offset_s; .json, .TextGrid, .lrc or .srt), or two folders of them that are
paired by name. PCO is the share of words that begin within 0.3 s of the
reference, PCS the share of time that belongs to the right word.

examples:
  singbrain evaluate alignment reference.csv song.lrc
  singbrain evaluate alignment references/ aligned/ --csv scores.csv
"""

_EVALUATE = """\
REF and EST are two note files, two folders of note files that are paired by
name, or two MIR-ST500 annotation files (JSON, paired by song id).

examples:
  singbrain evaluate notes reference.csv estimate.mid
  singbrain evaluate notes annotations/ notes/ --csv scores.csv
  singbrain evaluate notes MIR-ST500.json predictions.json --json
"""

_EVALUATE_F0 = """\
REF and EST are two contour files (CSV with the columns time_s and f0_hz, as
`singbrain transcribe --f0` writes them, or MIR-1K's .pv), or two folders of
them that are paired by name.

examples:
  singbrain evaluate f0 reference.csv estimate.f0.csv
  singbrain evaluate f0 MIR-1K/PitchLabel contours/ --csv scores.csv
"""

_EVALUATE_SEPARATION = """\
REF_DIR and EST_DIR are folders of songs: a folder per song with vocals.wav and
accompaniment.wav, or files <song>_vocals.wav and <song>_accompaniment.wav (wav,
flac, mp3 ...). REF_DIR may also hold MIR-1K's stereo clips (accompaniment left,
voice right). Songs are paired by name.

protocols, never to be compared with each other:
  v3  BSS-Eval 3 of whole clips: NSDR, SDR, SIR, SAR; column G is their mean
      weighted by length (GNSDR, GSIR, GSAR); stereo files are scored as images
  v4  BSS-Eval 4 as museval: medians over frames of 1 s, then over songs
  si  SI-SDR and SNR of whole songs

examples:
  singbrain evaluate separation MIR-1K separated/ --csv scores.csv
  singbrain evaluate separation MUSDB18-HQ/test separated/ --protocol v4
  singbrain evaluate separation references/ separated/ --protocol si --json
"""

_EVALUATE_SINGERS = """\
REF_DIR and EST_DIR are folders of songs: a folder per song with singer1.wav,
singer2.wav ..., or files <song>_singer1.wav and so on (wav, flac, mp3 ...), as
`singbrain split` writes them. Songs are paired by name.

Outputs are assigned to the singers once per song, in the order with the best
SI-SDR; "fixed SI-SDRi" is what is gained if singer1 is to be singer1. The swap
rate says how often singers change places among the outputs, "away" for how
much of the song they are on another one than over the whole song.

examples:
  singbrain evaluate singers references/ voices/ --csv scores.csv
  singbrain evaluate singers references/ voices/ --stoi --pitch --json
"""

_PREPARE = """\
examples:
  singbrain prepare --list
  singbrain prepare mir_st500 corpora/MIR_ST500 manifests/mir_st500 --jobs 4
  singbrain prepare vocadito corpora/vocadito manifests/vocadito --download
  singbrain prepare musan corpora/musan noise/musan --jobs 4
      makes clips of babble and natural noise, for the next command
  singbrain prepare noise manifests/n20emv2/test.csv noisy/n20emv2 \\
      --set noise_folder=noise/musan --set data_root=corpora/N20EMv2
      writes noisy copies of the songs of a manifest, and their manifests
  singbrain prepare remixes manifests/musdb18_lyrics/train.csv remixes \\
      --set data_root=corpora/MUSDB18-HQ --jobs 4
      makes mashups of songs with lyrics, in one tempo and key
`singbrain prepare av_hubert -h` explains how to convert a lip reader.
`singbrain prepare lips -h` explains how to cut mouths out of videos.
"""

_AV_HUBERT = """\
Turns your own copy of an AV-HuBERT checkpoint (github.com/facebookresearch/
av_hubert) into a model folder: AVHubertEncoder(source="FOLDER"). Nothing that
the checkpoint names is run. Its weights stay under Meta's licence:
non-commercial research only.

example:
  singbrain prepare av_hubert large_vox_iter5.pt -o models/av_hubert
"""

_LIPS = """\
Crops are 96 x 96 grey pictures of the mouth, upright and all of one scale, 50
per second: a NumPy array uint8 (frames, 96, 96). A frame without a face seen
from the front is all zero and has confidence 0 in CROPS.confidence.csv.

examples:
  singbrain prepare lips song.mp4 -o song.npy
      writes song.npy and song.confidence.csv
  singbrain prepare lips song.mp4 -o song.npy --detector landmarks
      with MediaPipe's face mesh, if that is installed
"""

_EXPORT = """\
examples:
  singbrain export transcriber.onnx
  singbrain export mine.onnx --model results/full/1986/model
  singbrain transcribe song.wav --model mine.onnx
"""


def main(argv=None) -> int:
    """Run a command.

    Arguments
    ---------
    argv : list of str, optional
        Arguments without the program's name. Default: those of the process.

    Returns
    -------
    int
        Exit code.

    Example
    -------
    >>> main(["evaluate", "notes", "no-such.csv", "song.csv"])
    2
    """
    for name in ("stdout", "stderr"):
        # The caller may have closed it.
        if getattr(sys, name) is None:
            setattr(sys, name, io.StringIO())
        # A file name may hold bytes that the terminal cannot show.
        with contextlib.suppress(AttributeError):
            getattr(sys, name).reconfigure(errors="backslashreplace")
    argv = list(sys.argv[1:] if argv is None else argv)
    if " ".join(argv[:2]) in _TWO_WORDS:
        argv[:2] = [" ".join(argv[:2])]
    try:
        options = _parser().parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    try:
        options.run(options)
        sys.stdout.flush()
    except SingBrainError as error:
        _complain(error)
        return 2
    except _Failed:
        return 2
    except KeyboardInterrupt:
        _complain("stopped")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `singbrain ... | head`.
        _mute()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _mute()
        _complain(f"cannot print the result ({error.strerror})")
        return 2
    return 0


def _mute():
    """Let standard output lead nowhere from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Failed(Exception):
    """Some files failed, and it has been said."""


def _complain(error):
    line = " ".join(str(error).split())
    print(f"singbrain: error: {line}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """A parser that complains as everything else here does: on one line."""

    def error(self, message):
        """Complain and leave."""
        _complain(f"{message} (see {self.prog} -h)")
        self.exit(2)


def _parser():
    parser = _Parser(
        prog="singbrain",
        description="From songs to voices, from singing to notes.",
        epilog="`singbrain COMMAND -h` explains a command.",
    )
    parser.add_argument(
        "--version", action="version", version=f"singbrain {__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )

    def command(family, name, run, help, epilog):
        made = family.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        return made

    _add_song(
        command(
            commands,
            "song",
            _song,
            "turn songs into voice, notes, timed lyrics, scores and a report",
            _SONG,
        )
    )
    _add_transcribe(
        command(
            commands,
            "transcribe",
            _transcribe,
            "turn recordings of a singing voice into notes",
            _TRANSCRIBE,
        )
    )
    _add_lyrics(
        command(
            commands,
            "lyrics",
            _lyrics,
            "write down the words of a singing voice",
            _LYRICS,
        )
    )
    _add_separate(
        command(
            commands,
            "separate",
            _separate,
            "split songs into voice and accompaniment",
            _SEPARATE,
        )
    )
    _add_split(
        command(
            commands,
            "split",
            _split,
            "split recordings of several singers into one for each",
            _SPLIT,
        )
    )
    _add_align(
        command(
            commands,
            "align",
            _align,
            "find when the words of known lyrics are sung",
            _ALIGN,
        )
    )
    _add_report(
        command(
            commands,
            "report",
            _report,
            "make pages that show and play notes, against a reference too",
            _REPORT,
        )
    )
    _add_demo(
        command(
            commands,
            "demo",
            _demo,
            "show a page on which songs are worked on",
            _DEMO,
        )
    )
    _add_export(
        command(
            commands,
            "export",
            _export,
            "write a transcriber as an ONNX file that needs no PyTorch",
            _EXPORT,
        )
    )
    kinds = commands.add_parser(
        "evaluate",
        help="compare results with a reference",
        description="Compare results with a reference.",
    ).add_subparsers(title="what", metavar="WHAT", required=True)
    _add_evaluate_notes(
        command(
            kinds,
            "notes",
            _evaluate_notes,
            "score transcribed notes against reference notes",
            _EVALUATE,
        )
    )
    _add_evaluate_f0(
        command(
            kinds,
            "f0",
            _evaluate_f0,
            "score F0 contours against reference contours",
            _EVALUATE_F0,
        )
    )
    _add_evaluate_separation(
        command(
            kinds,
            "separation",
            _evaluate_separation,
            "score separated songs against their sources",
            _EVALUATE_SEPARATION,
        )
    )
    _add_evaluate_singers(
        command(
            kinds,
            "singers",
            _evaluate_singers,
            "score singers told apart against each of them alone",
            _EVALUATE_SINGERS,
        )
    )
    _add_evaluate_alignment(
        command(
            kinds,
            "alignment",
            _evaluate_alignment,
            "score times of words against a reference",
            _EVALUATE_ALIGNMENT,
        )
    )
    _add_prepare(
        command(
            commands,
            "prepare",
            _prepare,
            "turn a corpus into the manifests that recipes read",
            _PREPARE,
        )
    )
    _add_av_hubert(
        command(
            commands,
            _AV_HUBERT_COMMAND,
            _av_hubert,
            "convert a checkpoint of AV-HuBERT into a model folder",
            _AV_HUBERT,
        )
    )
    _add_lips(
        command(
            commands,
            _LIPS_COMMAND,
            _lips,
            "cut the mouth out of a video, for systems that see",
            _LIPS,
        )
    )
    return parser


# --- song ------------------------------------------------------------------


def _add_song(parser):
    add = parser.add_argument
    add(
        "audio",
        nargs="+",
        metavar="SONG",
        help="audio or video file, folder of such files, or glob pattern",
    )
    add(
        "-o",
        "--output",
        metavar="DIR",
        help="folder to write into, made if missing; of several songs each has "
        "a folder in it (default: a folder named like the song)",
    )
    add(
        "--lyrics",
        metavar="TEXT",
        help="lyrics (.txt, .lrc or .srt), or a folder of them, named like "
        "the songs",
    )
    add(
        "--reference",
        metavar="NOTES",
        help="what is sung, for the report: a note file, or a folder of them, "
        "named like the songs",
    )
    add(
        "--recursive",
        action="store_true",
        help="search folders inside folders too",
    )
    add("--force", action="store_true", help="replace existing files")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="songs worked on at a time, each by a process (default: 1; those "
        "of a --cluster are its own)",
    )
    add(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="what does the work: processes of this computer, or a cluster "
        "(default: %(default)s)",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="Dask scheduler, as tcp://host:8786, or head of a Ray cluster, as "
        "host:6379 (default: one is started with --jobs processes)",
    )
    add(
        "--cache",
        metavar="DIR",
        help="folder for the results of stages (default: .cache in the folder "
        "of the song)",
    )
    add("--no-report", action="store_true", help="write no report.html")
    add(
        "--no-isolate",
        action="store_true",
        help="the recordings are voices alone: take nothing out of them",
    )
    add("--no-transcribe", action="store_true", help="find no notes")
    add(
        "--json",
        action="store_true",
        help="print what was found as JSON and nothing else",
    )
    add("--quiet", action="store_true", help="print nothing but errors")
    add = parser.add_argument_group("music").add_argument
    add(
        "--singers",
        type=int,
        default=1,
        metavar="N",
        help="how many sing: 1, or as many as the splitter tells apart "
        "(default: 1)",
    )
    add(
        "--tempo",
        type=float,
        metavar="BPM",
        help="beats per minute (default: found out)",
    )
    add(
        "--beats-per-bar",
        type=int,
        default=4,
        metavar="N",
        help="quarter notes in a bar (default: 4)",
    )
    add("--title", help="of the song (default: from its file's name)")
    add("--artist", help="of the song (default: from its file's name)")
    add(
        "--language",
        default="en",
        metavar="CODE",
        help="of the lyrics (default: en)",
    )
    add(
        "--repeats",
        action="store_true",
        help="let any line be sung again before the next one",
    )
    _add_models(parser)


def _add_models(parser):
    """Add the models of a chain."""
    add = parser.add_argument_group("models").add_argument
    for name, what in (
        ("separator", "takes the voice out"),
        ("splitter", "tells singers apart"),
        ("transcriber", "hears notes"),
        ("aligner", "hears the lyrics"),
    ):
        add(
            f"--{name}",
            metavar="MODEL",
            help=f"what {what}, as --model of `singbrain "
            f"{_COMMAND_OF[name]}` (default: the same as there)",
        )
    add(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, mps (default: cpu)",
    )


_COMMAND_OF = {
    "separator": "separate",
    "splitter": "split",
    "transcriber": "transcribe",
    "aligner": "align",
}


def _song(options):
    from speechbrain_ext.inference.song import (
        SongJob,
        SongResult,
        SongSettings,
        run_songs,
    )
    from speechbrain_ext.lyrics.align import read_lyrics

    if options.cluster is not None and options.jobs is not None:
        raise ConfigError(
            f"--jobs {options.jobs}: the cluster at {options.cluster} has its "
            "own workers: leave one of the two out"
        )
    if options.jobs is None:
        options.jobs = 1
    _check_jobs(options)
    if options.output == "":
        raise OutputError("the name after -o is empty: use . for this folder")
    names = (
        *(*_COMMAND_OF, "device"),
        *("singers", "tempo", "beats_per_bar", "title", "artist"),
        *("language", "repeats"),
    )
    settings = SongSettings(
        report=not options.no_report,
        isolate=not options.no_isolate,
        transcribe=not options.no_transcribe,
        **{name: getattr(options, name) for name in names},
    )
    inputs = _inputs(options.audio, options.recursive)
    jobs = []
    for audio, stem in inputs.items():
        folder = Path(options.output or stem)
        if options.output and len(inputs) > 1:
            folder /= stem
        jobs.append(
            SongJob(
                audio,
                folder,
                _of_song(options.lyrics, audio, len(inputs), _LYRICS_SUFFIXES),
                _of_song(options.reference, audio, len(inputs), None),
                options.force,
                options.cache and Path(options.cache),
            )
        )
    folders = [os.path.normcase(job.folder) for job in jobs]
    for place, job in enumerate(jobs):
        first = folders.index(folders[place])
        if first != place:
            raise OutputError(
                f"{jobs[first].song} and {job.song} would both write into "
                f"{job.folder}: rename one"
            )
    if len(jobs) == 1 and jobs[0].lyrics is not None:
        read_lyrics(jobs[0].lyrics)
    failed, show = 0, not (options.quiet or options.json)
    with (
        _told_songs(options.json) as told,
        _share_bar(options.quiet) as (progress, write),
    ):
        found = run_songs(
            jobs,
            settings,
            options.jobs,
            progress,
            options.backend,
            options.cluster,
        )
        for job, result in zip(jobs, found, strict=True):
            if not isinstance(result, SongResult):
                failed += 1
                write(lambda error=result: _complain(error))
                told.append({"song": str(job.song), "error": str(result)})
                continue
            told.append({**result.as_json(), "files": result.files})
            if show:
                line = _told_song(result)
                write(lambda line=line: print(line, flush=True))
            # What was asked for by name and is missing is a failure.
            wanted = {"split"} if options.singers > 1 else set()
            wanted |= {"align"} if options.lyrics else set()
            reasons = [
                f"{job.song.name}: {what}: {why}"
                for what, why in result.missing.items()
            ]
            if options.lyrics and job.lyrics is None:
                reasons.append(
                    f"{job.song.name}: {options.lyrics} holds none "
                    "of its lyrics"
                )
            failed += bool(wanted & result.missing.keys())
            for line in [*reasons, *result.warnings]:
                write(lambda line=line: _warn(line))
    if failed:
        raise _Failed


@contextlib.contextmanager
def _told_songs(as_json):
    """Print what is told of songs, also of those before one that failed."""
    import json

    told = []
    try:
        yield told
    finally:
        if as_json:
            print(json.dumps({"songs": told}, ensure_ascii=False))


_LYRICS_SUFFIXES = (".txt", ".lrc", ".srt")


def _of_song(given, audio, count, suffixes):
    """File of a song: the one given, or that of its name in a folder."""
    from speechbrain_ext.formats import is_note_file, note_stem

    if given is None:
        return None
    path = Path(given)
    if not path.is_dir():
        if count > 1:
            raise ConfigError(
                f"{path}: is one file but there are {count} songs: name a "
                "folder"
            )
        return path
    for file in sorted(path.iterdir()):
        if suffixes is None:
            if is_note_file(file) and note_stem(file) == audio.stem:
                return file
        elif file.stem == audio.stem and file.suffix.lower() in suffixes:
            return file
    return None


def _told_song(result):
    """A line on what was found in a song."""
    notes = sum(map(len, result.melodies.values()))
    parts = [f"{notes} notes"]
    if len(result.melodies) > 1:
        parts[0] += f" of {len(result.melodies)} singers"
    if len(result.lyrics):
        parts.append(f"{len(result.lyrics)} words")
    if result.rhythm:
        parts.append(f"{result.rhythm.tempo:.0f} beats per minute")
    if result.key:
        parts.append(result.key.name)
    return (
        f"{result.song.name}: {', '.join(parts)}, {result.seconds:.1f} s -> "
        f"{result.folder} ({len(result.files)} files)"
    )


def _warn(line):
    print(f"singbrain: warning: {' '.join(line.split())}", file=sys.stderr)


@contextlib.contextmanager
def _share_bar(quiet):
    """Show on a terminal which share is done, and of what."""
    if quiet or not sys.stderr.isatty():
        yield None, lambda say: say()
        return
    from tqdm import tqdm

    with tqdm(
        total=100,
        bar_format="{desc} {percentage:3.0f}% |{bar}| [{elapsed}<{remaining}]",
        leave=False,
        file=sys.stderr,
    ) as bar:

        def progress(what, share):
            bar.set_description_str(what, refresh=False)
            bar.update(round(100 * share - bar.n, 1))
            bar.refresh()

        def write(say):
            bar.clear()
            say()

        yield progress, write


# --- demo ------------------------------------------------------------------


def _add_demo(parser):
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at; 0.0.0.0 lets other computers connect "
        "(default: 127.0.0.1, this computer alone)",
    )
    add(
        "--port",
        type=int,
        default=7860,
        metavar="N",
        help="port to listen at; 0 takes a free one (default: 7860)",
    )
    for name, default, what in (
        ("max-mb", 200, "largest file, in megabytes"),
        ("max-seconds", 900, "longest song, in seconds"),
        ("keep-seconds", 3600, "how long results are kept, in seconds"),
    ):
        add(
            f"--{name}",
            type=float,
            default=default,
            metavar="X",
            help=f"{what} (default: {default})",
        )
    add(
        "--queue",
        type=int,
        default=8,
        metavar="N",
        help="how many songs may wait (default: 8)",
    )
    add(
        "--language",
        default="en",
        metavar="CODE",
        help="of the lyrics (default: en)",
    )
    _add_models(parser)


def _demo(options):
    from speechbrain_ext.demo import Limits, serve
    from speechbrain_ext.inference.song import SongSettings

    limits = ("max_mb", "max_seconds", "keep_seconds", "queue")
    names = (*_COMMAND_OF, "device", "language")
    serve(
        SongSettings(**{name: getattr(options, name) for name in names}),
        Limits(*(getattr(options, name) for name in limits)),
        options.host,
        options.port,
        lambda address: print(f"{address} (Ctrl-C ends it)", flush=True),
    )


# --- report ----------------------------------------------------------------


def _add_report(parser):
    add = parser.add_argument
    add("notes", metavar="NOTES", help="note file, or folder of note files")
    add(
        "-o",
        "--output",
        metavar="PATH",
        help="page to write, ending in .html; for a folder a folder (default: "
        "the name of the notes with .html, or pages)",
    )
    add(
        "--reference",
        metavar="REF",
        help="what was sung: a note file, or a folder of them or annotation "
        "file for a folder, paired by name",
    )
    add(
        "--audio",
        metavar="AUDIO",
        help="the recording; for a folder a folder of recordings, paired by "
        "name",
    )
    add(
        "--words",
        metavar="TIMED",
        help="lyrics with times (.lrc, .json, .TextGrid ...) of one song",
    )
    add("--force", action="store_true", help="replace existing pages")


def _report(options):
    from speechbrain_ext.errors import NoteError
    from speechbrain_ext.formats import note_stem
    from speechbrain_ext.metrics.notes import note_collection

    source = Path(options.notes)
    if not source.exists():
        raise NoteError(f"{source}: no such file or folder: check the name")
    songs = note_collection(source)
    if songs is None:
        _report_one(options, source)
        return
    if options.words is not None:
        raise ConfigError("--words is for one song: give a note file")
    if not songs:
        raise NoteError(f"{source}: holds no note file")
    references = {}
    if options.reference is not None:
        references = note_collection(Path(options.reference))
        if references is None:
            raise NoteError(
                f"{options.reference}: is a single song but {source} holds "
                "several: give a folder"
            )
    audio = {}
    if options.audio is not None:
        found = _inputs([options.audio], recursive=False)
        audio = {path.stem: path for path in found}
    target = Path(options.output or "pages")
    pages = {song: target / f"{song}.html" for song in songs}
    index = target / "index.html"
    if index in pages.values():
        raise OutputError(
            f"{index}: a song is called index: rename {note_stem('index')}"
        )
    _refuse_existing([*pages.values(), index], options.force)
    with _folders([_Pages(pages.values())]):
        rows = []
        for song, read in songs.items():
            known = references.get(song)
            rows.append(
                _page(
                    song,
                    read(),
                    known and known(),
                    audio.get(song),
                    None,
                    pages[song],
                    options.force,
                )
            )
        from speechbrain_ext.report.page import write_index

        write_index(source.name, rows, index, options.force)
    print(f"{len(rows)} songs -> {index}")


class _Pages(NamedTuple):
    """Pages to write, as `_folders` takes them."""

    outputs: list[Path]


def _report_one(options, source):
    """Make the page of one song."""
    from speechbrain_ext.formats import note_stem, read_notes
    from speechbrain_ext.lyrics.timed import read_timed

    target = Path(options.output or f"{note_stem(source)}.html")
    if target.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{target}: its name must end in .html")
    _refuse_existing([target], options.force)
    reference = options.reference and read_notes(options.reference)
    words = read_timed(options.words) if options.words else None
    _page(
        note_stem(source),
        read_notes(source),
        reference,
        options.audio,
        words,
        target,
        options.force,
    )
    print(f"{source} -> {target}")


def _page(name, notes, reference, audio, words, target, force):
    """Write the page of a song; gives its row of the index."""
    from speechbrain_ext.metrics.notes import METRICS, evaluate_notes
    from speechbrain_ext.report.page import page_of_notes, write_page

    page = page_of_notes(name, notes, reference, audio, words)
    write_page(page, target, force)
    scores = None
    if reference is not None:
        found = evaluate_notes(reference, notes)
        scores = {metric: found[metric].f1 for metric in METRICS}
    return name, target.name, scores


# --- transcribe ------------------------------------------------------------


def _add_transcribe(parser):
    add = parser.add_argument
    add(
        "audio",
        nargs="+",
        metavar="AUDIO",
        help="audio or video file, folder of such files, or glob pattern",
    )
    add(
        "-o",
        "--output",
        metavar="PATH",
        help="folder to write into (made if missing); or, for one input, a "
        "file whose suffix tells the format (default: the current folder)",
    )
    add(
        "--format",
        metavar="NAMES",
        help="what to write, separated by commas: mid, csv, json, tonas, "
        "labels, musicxml, jams, mir_st500 (default: mid,csv)",
    )
    add("--plot", action="store_true", help="also draw a piano roll (.png)")
    add(
        "--f0",
        action="store_true",
        help="also write the pitch of every 20 ms (.f0.csv: time_s, f0_hz, 0 "
        "where unvoiced, voicing)",
    )
    add(
        "--recursive",
        action="store_true",
        help="search folders inside folders too",
    )
    add("--force", action="store_true", help="replace existing outputs")
    add(
        "--quiet",
        action="store_true",
        help="print nothing but errors",
    )
    group = parser.add_argument_group("notes")
    add = group.add_argument
    add(
        "--pitch",
        choices=("semitone", "continuous"),
        help="pitches to a semitone or as sung, then with fractions in csv and "
        "json and with bends in mid (default: the model's own)",
    )
    add(
        "--bends",
        action="store_true",
        help="let pitch bends in mid follow the voice inside each note",
    )
    add(
        "--velocity",
        action="store_true",
        help="give notes in mid and json a velocity from their level: 112 for "
        "the loudest, 2 less per dB, 20 or more",
    )
    add(
        "--snap",
        metavar="KEY",
        help="move pitches to the nearest one of a scale: chromatic, 'C "
        "major', 'a minor', 'F# dorian', 'Bb major pentatonic' ...",
    )
    add(
        "--tempo",
        type=float,
        metavar="BPM",
        help="quarter notes per minute, for mid, musicxml and --quantize "
        "(default: 120 in files; times in seconds stay as they are)",
    )
    add(
        "--quantize",
        type=int,
        metavar="DIVISION",
        help="move onsets and offsets to a grid: 16 for sixteenth notes, 12 "
        "for triplets of eighths; needs --tempo",
    )
    add(
        "--first-beat",
        type=float,
        metavar="S",
        help="where the grid of --quantize has a beat, in seconds (default: 0)",
    )
    group = parser.add_argument_group("lips")
    add = group.add_argument
    add(
        "--modality",
        choices=("audio", "video", "both"),
        help="what notes are read from (default: both in a video that shows "
        "the singer's face, else audio)",
    )
    add(
        "--lips",
        metavar="CROPS",
        help="mouth crops of the recording (.npy, from singbrain prepare lips) "
        "instead of those found in its picture",
    )
    add(
        "--late",
        type=float,
        metavar="S",
        help="how much the picture comes later than the sound, in seconds, "
        "negative if earlier (default: found out, and mended if it is clear)",
    )
    group = parser.add_argument_group("model")
    add = group.add_argument
    add(
        "--model",
        metavar="DIR",
        help="model folder, name of a shipped model, or .onnx file (default: "
        "the shipped transcriber, for lips the audio_visual_transcriber)",
    )
    add(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, mps (default: cpu)",
    )
    add(
        "--onset-threshold",
        type=float,
        metavar="P",
        help="lowest onset probability that starts a note, 0 to 1: lower "
        "finds more notes (default: the model's own)",
    )
    add(
        "--silence-threshold",
        type=float,
        metavar="P",
        help="lowest silence probability that ends a note, 0 to 1 (default: "
        "the model's own)",
    )
    add(
        "--voicing-threshold",
        type=float,
        metavar="P",
        help="lowest probability that the voice has a pitch, 0 to 1: higher "
        "leaves more frames of --f0 and --bends unvoiced (default: the "
        "model's own)",
    )
    add(
        "--min-duration",
        type=float,
        metavar="S",
        help="drop shorter notes, in seconds (default: the model's own)",
    )


class _Job(NamedTuple):
    """One recording and the files to write for it."""

    audio: Path
    notes: dict[str, Path]
    f0: Path | None
    plot: Path | None

    @property
    def outputs(self):
        others = [path for path in (self.f0, self.plot) if path]
        return [*self.notes.values(), *others]


def _transcribe(options):
    inputs = _inputs(options.audio, options.recursive)
    jobs = _plan(
        inputs, options.output, options.format, options.plot, options.f0
    )
    _check_outputs(jobs, options.force)
    _check_edits(jobs[0], options)
    _check_formats(jobs[0], options)
    _check_lips(jobs, options)
    with _folders(jobs):
        transcribers = _Transcribers(options)
        # Faults of the model show before the work.
        for job in jobs:
            transcribers.take(job)
        _work(jobs, _transcribe_one, transcribers, options)


def _check_lips(jobs, options):
    """Refuse options of lips that do not go together, before the work."""
    given = [
        name
        for name, value in (("--lips", options.lips), ("--late", options.late))
        if value is not None
    ]
    if given and options.modality == "audio":
        raise ConfigError(
            f"{given[0]} is of no use with --modality audio: leave one out"
        )
    if options.lips is not None:
        from speechbrain_ext.video import count_crops

        if len(jobs) > 1:
            raise ConfigError(
                f"--lips names the crops of one recording but there are "
                f"{len(jobs)}: do them one at a time"
            )
        count_crops(options.lips)
    if options.late is not None and not abs(options.late) <= MAX_LATE_S:
        raise ConfigError(
            f"--late is {options.late:g} s: take -{MAX_LATE_S:g} to "
            f"{MAX_LATE_S:g}"
        )
    if options.modality == "video":
        for name in ("velocity", "f0", "bends"):
            if getattr(options, name):
                raise ConfigError(
                    f"--{name} is read from the sound: leave it out with "
                    "--modality video"
                )


class _Transcribers:
    """The models for sound and for lips, each loaded when it is needed."""

    def __init__(self, options):
        self.options = options
        self.loaded = {}

    def take(self, job):
        """The model for a recording and the modality that is tried."""
        from speechbrain_ext.audio import VIDEO_SUFFIXES
        from speechbrain_ext.inference.model_folder import find_model

        options = self.options
        modality = options.modality
        if modality is None:
            watch = job.audio.suffix.lower() in VIDEO_SUFFIXES
            watch = watch or options.lips is not None
            watch = watch or options.late is not None
            modality = "both" if watch else "audio"
        source = options.model
        if source is None and modality != "audio":
            source = find_model(kind="audio_visual_transcriber")
        if source not in self.loaded:
            self.loaded[source] = self._load(source)
        transcriber = self.loaded[source]
        if not transcriber.sees:
            wanted = options.modality or options.lips or options.late
            if modality != "audio" and wanted is not None:
                raise ConfigError(
                    f"the model '{transcriber.model_name}' knows nothing of "
                    "lips: use --modality audio, or another --model"
                )
            return transcriber, "audio"
        transcriber.check_modality(modality)
        return transcriber, modality

    def _load(self, source):
        from speechbrain_ext.inference.transcriber import Transcriber

        options = self.options
        settings = {
            "onset_threshold": options.onset_threshold,
            "silence_threshold": options.silence_threshold,
            "voicing_threshold": options.voicing_threshold,
            "min_duration_s": options.min_duration,
            "pitch": options.pitch,
        }
        settings = {k: v for k, v in settings.items() if v is not None}
        transcriber = Transcriber.from_hparams(
            source,
            device=options.device,
            overrides={"decoder": settings} if settings else None,
        )
        if transcriber.sees and settings:
            settings.pop("pitch", None)
            transcriber.lip_decoder = replace(
                transcriber.lip_decoder, **settings
            )
        for name, wanted in (("--f0", options.f0), ("--bends", options.bends)):
            if wanted:
                transcriber.require_f0(name)
        return transcriber


def _work(jobs, work, model, options):
    """Do the jobs one after the other; complain about those that failed."""
    failures = []
    with _progress(jobs, options.quiet) as bar:
        for job in jobs:
            try:
                line = work(job, model, options, bar)
            except SingBrainError as error:
                failures.append(error)
                continue
            if not options.quiet:
                bar.write(line)
    if failures:
        for failure in failures:
            _complain(failure)
        if len(jobs) > 1:
            _complain(
                f"{len(failures)} of {len(jobs)} recordings failed; the "
                "others are done"
                if len(failures) < len(jobs)
                else f"all {len(jobs)} recordings failed"
            )
        raise _Failed


def _listen_and_look(job, transcriber, modality, options, bar):
    """Analyse a recording, its picture too, and tell what was found."""
    from speechbrain_ext.inference.synchrony import lag_message
    from speechbrain_ext.video import mouth_crops, read_crops

    with tempfile.TemporaryDirectory() as folder:
        crops = None
        try:
            if options.lips is not None:
                crops = read_crops(options.lips)
            elif modality != "audio":
                track = mouth_crops(job.audio, into=f"{folder}/crops.npy")
                crops = track.crops
                for note in track.notes:
                    bar.warn(f"{job.audio.name}: {note}")
        except SingBrainError as error:
            if options.modality is not None or options.lips is not None:
                raise
            bar.warn(f"{error}; the notes are read from the sound alone")
            modality = "audio"
        analysis = transcriber.analyse_media(
            job.audio,
            modality,
            crops,
            bar.progress,
            mend=options.late is None,
            late_s=options.late or 0.0,
        )
    if analysis.lag is not None and not options.quiet:
        mended = ", mended" if analysis.mended_s else ""
        bar.write(f"{job.audio.name}: {lag_message(analysis.lag)}{mended}")
    return analysis


def _transcribe_one(job, transcribers, options, bar):
    """Transcribe a recording, write its files, and tell about it."""
    from speechbrain_ext.formats import write_notes
    from speechbrain_ext.frames import FRAME_RATE

    bar.start(job.audio)
    transcriber, modality = transcribers.take(job)
    decoder = transcriber.decoder
    if transcriber.sees:
        analysis = _listen_and_look(job, transcriber, modality, options, bar)
        posteriors, levels = analysis
        decoder = transcriber.decoder_of(analysis.modality)
    else:
        posteriors, levels = transcriber.analyse_file(job.audio, bar.progress)
    notes = decoder(posteriors)
    if options.velocity:
        from speechbrain_ext.inference.levels import with_velocities

        notes = with_velocities(notes, levels)
    notes = _edited(notes, options)
    contour = None
    drawn = job.plot and transcriber.has_f0 and levels is not None
    if options.f0 or options.bends or drawn:
        contour = transcriber.f0(posteriors)
    for name, path in job.notes.items():
        more = _writer_options(name, notes, options)
        if name == "mid" and options.bends:
            more["contour"] = contour
        write_notes(notes, path, name, overwrite=options.force, **more)
    if job.f0:
        from speechbrain_ext.f0 import write_f0

        write_f0(contour, job.f0, overwrite=options.force)
    if job.plot:
        from speechbrain_ext.report.plots import piano_roll

        piano_roll(
            None,
            notes,
            job.plot,
            posteriors=posteriors,
            f0=contour,
            title=job.audio.name,
            overwrite=options.force,
        )
    what = "no notes"
    if len(notes):
        low, high = (note_name(m) for m in (min(notes.midi), max(notes.midi)))
        count = f"{len(notes)} note{'s' if len(notes) > 1 else ''}"
        what = f"{count}, {low} to {high}"
    seconds = len(posteriors) / FRAME_RATE
    where = ", ".join(str(path) for path in job.outputs)
    return f"{job.audio.name}: {what}, {seconds:.1f} s -> {where}"


def _check_edits(job, options):
    """Refuse options that do not go together, before the work."""
    from speechbrain_ext.notes import NoteSequence
    from speechbrain_ext.quantize import quantize_times

    if options.quantize is not None and options.tempo is None:
        raise ConfigError(
            "--quantize needs --tempo: give the quarter notes per minute"
        )
    if options.first_beat is not None and options.quantize is None:
        raise ConfigError("--first-beat needs --quantize: give both")
    if options.bends:
        if "mid" not in job.notes:
            raise ConfigError(
                f"--bends needs MIDI but only {', '.join(job.notes)} is "
                "written: add mid to --format"
            )
        if options.quantize is not None or options.snap is not None:
            other = "--snap" if options.quantize is None else "--quantize"
            raise ConfigError(
                f"--bends keeps notes as sung and {other} moves them: give "
                "one of them"
            )
    if options.tempo is not None:
        quantize_times(NoteSequence(), options.tempo, division=4)
    _edited(NoteSequence(), options)


def _edited(notes, options):
    """Notes on the scale and the grid that are asked for."""
    from speechbrain_ext.quantize import quantize_times, snap_to_scale

    if options.snap is not None:
        notes = snap_to_scale(notes, options.snap)
    if options.quantize is not None:
        notes = quantize_times(
            notes, options.tempo, options.quantize, options.first_beat or 0.0
        )
    return notes


def _writer_options(name, notes, options):
    """What a format's writer needs beside the notes."""
    more = {}
    if name in ("mid", "musicxml") and options.tempo is not None:
        more["tempo"] = options.tempo
    if name == "mid" and any(note.midi % 1 for note in notes):
        more["pitch_bend"] = True
    if name == "musicxml" and options.quantize is not None:
        # Steps per quarter note that hold every point of the grid.
        more["grid"] = math.lcm(options.quantize, 4) // 4
        more["first_beat_s"] = options.first_beat or 0.0
    return more


def note_name(midi) -> str:
    """Name of the nearest semitone, middle C = C4.

    Arguments
    ---------
    midi : float
        MIDI number.

    Returns
    -------
    str

    Example
    -------
    >>> note_name(60), note_name(68.6)
    ('C4', 'A4')
    """
    from speechbrain_ext.formats import NAMES

    number = int(midi + 0.5)
    return f"{NAMES[number % 12]}{number // 12 - 1}"


def _inputs(arguments, recursive):
    """Files that the arguments stand for, each with its name for outputs.

    Returns a dictionary from file to the path of its outputs, relative to the
    output folder and without suffix.
    """
    try:
        return _search(arguments, recursive)
    except OSError as error:
        raise AudioError(
            f"{error.filename}: cannot be read: {error.strerror}"
        ) from None


def _search(arguments, recursive):
    from speechbrain_ext.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES

    media = {*AUDIO_SUFFIXES, *VIDEO_SUFFIXES}
    found, known = {}, set()

    def take(file, home):
        real = file.resolve()
        if real not in known:
            known.add(real)
            found[file] = file.relative_to(home).with_name(file.stem)

    for argument in arguments:
        path = Path(argument)
        if not argument:
            raise AudioError("the name of a recording is empty")
        if path.is_dir():
            files = path.rglob("*") if recursive else path.iterdir()
            files = sorted(
                file
                for file in files
                if file.suffix.lower() in media
                and file.is_file()
                and not file.name.startswith(".")
            )
            if not files:
                hint = "" if recursive else "; --recursive searches deeper"
                raise AudioError(f"{path}: holds no audio or video file{hint}")
            for file in files:
                take(file, path)
        elif path.exists():
            take(path, path.parent)
        elif glob.has_magic(argument):
            files = [
                Path(name)
                for name in sorted(glob.glob(argument, recursive=True))
                if os.path.isfile(name)
            ]
            if not files:
                raise AudioError(f"{argument}: no file matches this pattern")
            for file in files:
                take(file, file.parent)
        else:
            raise AudioError(f"{path}: no such file: check the path")
    return found


def _plan(inputs, output, format, plot, f0):
    """Decide what is written where; nothing is touched yet."""
    from speechbrain_ext.formats import FORMATS, is_note_file, note_stem

    if output == "":
        raise OutputError("the name after -o is empty: use . for this folder")
    target = Path(output) if output is not None else Path()
    one_file = (
        output is not None
        and is_note_file(target)
        and not os.path.isdir(target)
        and not output.endswith(("/", os.sep))
    )
    if one_file and len(inputs) > 1:
        raise OutputError(
            f"{target}: one file cannot hold the notes of {len(inputs)} "
            "recordings: name a folder"
        )
    names = None
    if format is not None:
        names = list(dict.fromkeys(format.replace(" ", "").split(",")))
        aliases = {
            suffix[1:].lower(): name
            for name, known in FORMATS.items()
            for suffix in known.suffixes
        }
        names = [aliases.get(n, n) if n not in FORMATS else n for n in names]
        for name in names:
            if name not in FORMATS:
                raise ConfigError(
                    f"unknown note format '{name}': use one of "
                    f"{', '.join(FORMATS)}"
                )
    if one_file:
        if names is not None and len(names) > 1:
            raise OutputError(
                f"{target}: one file cannot hold {len(names)} formats: name a "
                "folder or one format"
            )
        name = names[0] if names else None
        if name and not _fits(target, FORMATS[name].suffixes):
            raise OutputError(
                f"{target}: is not named like a {name} file: change --format "
                "or the name"
            )
        name = name or next(
            known
            for known, form in FORMATS.items()
            if form.suffixes and _fits(target, form.suffixes)
        )
        stem = target.with_name(note_stem(target))
        jobs = [_job(next(iter(inputs)), {name: target}, stem, plot, f0)]
    else:
        jobs = []
        for audio, stem in inputs.items():
            base = target / stem
            notes = {
                name: base.with_name(
                    base.name + (FORMATS[name].suffixes or (".json",))[0]
                )
                for name in names or DEFAULT_FORMATS
            }
            jobs.append(_job(audio, notes, base, plot, f0))
    _check_names(jobs)
    for job in jobs:
        if len(set(job.outputs)) < len(job.outputs):
            raise OutputError(
                f"{job.audio}: two of the formats {', '.join(job.notes)} "
                "share a suffix: write them one at a time"
            )
    return jobs


def _check_names(jobs):
    """Refuse two recordings that would write one file."""
    taken = {}
    for job in jobs:
        for path in job.outputs:
            key = os.path.normcase(path)
            other = taken.setdefault(key, job.audio)
            if other != job.audio:
                raise OutputError(
                    f"{other} and {job.audio} would both write {path}: rename "
                    "one or give them different output folders"
                )


def _job(audio, notes, stem, plot, f0):
    return _Job(
        audio,
        notes,
        stem.with_name(f"{stem.name}.f0.csv") if f0 else None,
        stem.with_name(f"{stem.name}.png") if plot else None,
    )


def _fits(path, suffixes):
    """Whether a file name ends in one of a format's suffixes."""
    ends = tuple(s.lower() for s in suffixes or (".json",))
    return path.name.lower().endswith(ends)


def _check_outputs(jobs, force):
    """Refuse to replace anything that exists."""
    _refuse_existing([path for job in jobs for path in job.outputs], force)


def _refuse_existing(paths, force):
    """Refuse to replace any of some files."""
    existing = [
        path
        for path in paths
        if os.path.isdir(path) or (not force and os.path.lexists(path))
    ]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        verb = "exist" if more else "exists"
        raise OutputError(
            f"{existing[0]}{more} {verb} already: use --force to replace, or "
            "another -o"
        )


def _check_formats(job, options):
    """Find missing libraries before the work, by writing a note each."""
    from speechbrain_ext.formats import write_notes
    from speechbrain_ext.notes import NoteSequence

    note = NoteSequence([(0.0, 1.0, 60)])
    with tempfile.TemporaryDirectory() as folder:
        for name, path in job.notes.items():
            more = _writer_options(name, note, options)
            write_notes(note, Path(folder) / path.name, name, **more)
    if job.plot:
        _check_plot()


def _check_plot():
    """Find a missing library before the work."""
    optional_library("matplotlib", "matplotlib", what="--plot")


@contextlib.contextmanager
def _folders(jobs):
    """Make the output folders, writable; remove those that stay empty."""
    made = []
    try:
        for folder in dict.fromkeys(p.parent for j in jobs for p in j.outputs):
            try:
                missing = [
                    f for f in (folder, *folder.parents) if not f.exists()
                ]
                for new in reversed(missing):
                    new.mkdir()
                    made.append(new)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise OutputError(
                    f"{folder}: cannot write in this folder "
                    f"({error.strerror}): choose another one with -o"
                ) from None
        yield
    finally:
        for new in reversed(made):
            with contextlib.suppress(OSError):
                new.rmdir()


class _Progress:
    """A progress bar in seconds of audio, or nothing."""

    def __init__(self, bar):
        self.bar, self.done = bar, 0.0

    def start(self, path):
        """Begin a recording."""
        self.done = 0.0
        if self.bar is not None:
            self.bar.set_description_str(path.name[-30:])

    def progress(self, seconds):
        """Take the seconds done of this recording."""
        if self.bar is not None:
            self.bar.update(round(seconds - self.done, 2))
        self.done = seconds

    def write(self, line):
        """Print a line beside the bar."""
        if self.bar is not None:
            self.bar.clear()
        try:
            print(line, flush=True)
        except OSError:
            # Nobody listens any more, but the files are still wanted.
            _mute()

    def warn(self, line):
        """Print a warning beside the bar."""
        if self.bar is not None:
            self.bar.clear()
        print(f"singbrain: warning: {line}", file=sys.stderr)


@contextlib.contextmanager
def _progress(jobs, quiet):
    """Show a bar on a terminal if the work is long."""
    if quiet or not sys.stderr.isatty():
        yield _Progress(None)
        return
    from tqdm import tqdm

    from speechbrain_ext.audio import audio_info

    total = 0.0
    for job in jobs:
        # A file that cannot be read is told of when its turn comes.
        with contextlib.suppress(SingBrainError):
            total += audio_info(job.audio).duration or 0.0
    if 0 < total < PROGRESS_FROM_S:
        yield _Progress(None)
        return
    with tqdm(
        total=round(total, 1) or None,
        unit="s",
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s "
        "[{elapsed}<{remaining}]"
        if total
        else None,
        leave=False,
        file=sys.stderr,
    ) as bar:
        yield _Progress(bar)


# --- separate --------------------------------------------------------------


def _add_separate(parser):
    add = parser.add_argument
    _add_recordings(add)
    add(
        "--stems",
        metavar="NAMES",
        help="what to write, separated by commas (default: vocals,"
        "accompaniment; or all that the model has)",
    )
    add(
        "--mixture",
        action="store_true",
        help="also write the mean of the channels (<song>_mixture)",
    )
    add(
        "--plot",
        action="store_true",
        help="also draw the spectra and masks (<song>_separation.png)",
    )
    add(
        "--phones",
        metavar="FILE",
        help="phones that are sung and their times, for a model that has to be "
        "told and for one recording: what `singbrain align --phones` writes, "
        "or .TextGrid, .json or .npz",
    )
    _add_separator(
        parser,
        "model folder, name of a shipped model, or demucs:<name> (default: "
        "the shipped separator)",
    )


def _add_recordings(add):
    """Arguments of what takes recordings apart."""
    add(
        "audio",
        nargs="+",
        metavar="AUDIO",
        help="audio or video file, folder of such files, or glob pattern",
    )
    add(
        "-o",
        "--output",
        metavar="DIR",
        help="folder to write into, made if missing (default: the current "
        "folder)",
    )
    add(
        "--format",
        default="wav",
        metavar="NAMES",
        help="wav, flac, mp3 or several of them (default: wav)",
    )
    add(
        "--recursive",
        action="store_true",
        help="search folders inside folders too",
    )
    add("--force", action="store_true", help="replace existing outputs")
    add("--quiet", action="store_true", help="print nothing but errors")


def _add_separator(parser, help):
    """Which model, and where to compute; gives the group."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="DIR", help=help)
    group.add_argument(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, mps (default: cpu)",
    )
    return group


class _SeparationJob(NamedTuple):
    """One song, files to write for it with their stems, and one more file."""

    audio: Path
    stems: dict[Path, str]
    more: Path | None

    @property
    def outputs(self):
        return [*self.stems, *([self.more] if self.more else [])]


def _separate(options):
    formats, target = _sound_outputs(options, "stem")
    stems = None
    if options.stems is not None:
        stems = _listed(options.stems, "--stems")
    inputs = _inputs(options.audio, options.recursive)
    phones = None
    if options.phones is not None:
        if len(inputs) > 1:
            raise ConfigError(
                f"--phones is for one recording, not {len(inputs)}: separate "
                "them one by one"
            )
        from speechbrain_ext.lyrics.posteriorgram import read_sung

        phones = read_sung(options.phones)
    if options.plot:
        _check_plot()
    from speechbrain_ext.inference.separator import VoiceSeparator

    separator = VoiceSeparator.from_hparams(
        options.model, device=options.device
    )
    stems = separator.checked_stems(stems)
    if options.mixture:
        stems = separator.checked_stems([*stems, "mixture"])
    jobs = _plan_separation(
        inputs,
        target,
        options,
        stems,
        formats,
        "separation.png" if options.plot else None,
    )
    _check_names(jobs)
    _check_outputs(jobs, options.force)
    with _folders(jobs):
        _work(jobs, _separate_one, (separator, phones), options)


def _sound_outputs(options, part):
    """Formats and the folder of what a recording is taken apart into."""
    from speechbrain_ext.audio import AudioWriter

    formats = _listed(options.format, "--format")
    for name in formats:
        if f".{name}" not in AudioWriter.SUFFIXES:
            raise ConfigError(
                f"unknown audio format '{name}': use wav, flac or mp3"
            )
    if options.output == "":
        raise OutputError("the name after -o is empty: use . for this folder")
    target = Path(options.output or "")
    if target.suffix.lower() in AudioWriter.SUFFIXES and not target.is_dir():
        raise OutputError(
            f"{target}: is named like a file, but there is one for each "
            f"{part}: name a folder"
        )
    return formats, target


def _listed(text, option):
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"{option} '{text}': a name is missing")
    return list(dict.fromkeys(names))


def _plan_separation(inputs, target, options, stems, formats, more=None):
    """Decide what is written where; nothing is touched yet."""
    jobs = []
    for audio, stem in inputs.items():
        base = target / stem
        files = {
            base.with_name(f"{base.name}_{name}.{suffix}"): name
            for name in stems
            for suffix in formats
        }
        last = more and base.with_name(f"{base.name}_{more}")
        jobs.append(_SeparationJob(audio, files, last))
    return _without_results(jobs, options)


def _without_results(jobs, options):
    """Leave out what an earlier run wrote into the folder of the songs."""
    written = {
        os.path.realpath(path): job.audio for job in jobs for path in job.stems
    }
    named = {os.path.realpath(argument) for argument in options.audio}
    kept = []
    for job in jobs:
        song = written.get(os.path.realpath(job.audio))
        if song is None:
            kept.append(job)
        elif os.path.realpath(job.audio) in named:
            raise OutputError(
                f"{job.audio}: is to be read, and to be written as a stem of "
                f"{song}: choose another folder with -o"
            )
    return kept


def _separate_one(job, model, options, bar):
    """Separate a song, write its files, and tell about it."""
    separator, phones = model
    bar.start(job.audio)
    sketches, listen = {}, None
    if job.more:
        from speechbrain_ext.report.spectrogram import Sketch

        def listen(sample_rate, parts):
            for name, wav in parts.items():
                if name not in sketches:
                    sketches[name] = Sketch(sample_rate)
                sketches[name].listen(wav.mean(axis=1))

    done = separator.separate_file(
        job.audio, job.stems, options.force, bar.progress, listen, phones
    )
    if job.more:
        from speechbrain_ext.report.plots import separation_figure

        separation_figure(
            sketches.pop("mixture"),
            sketches,
            job.more,
            title=job.audio.name,
            overwrite=options.force,
        )
    return _told_separation(job, done, bar)


def _told_separation(job, done, bar):
    """Warn, and tell what was written."""
    for warning in done.warnings:
        bar.warn(warning)
    where = ", ".join(str(path) for path in job.outputs)
    channels = f"{done.channels} channel{'s' if done.channels > 1 else ''}"
    return (
        f"{job.audio.name}: {done.seconds:.1f} s, {done.sample_rate} Hz, "
        f"{channels} -> {where}"
    )


# --- split -----------------------------------------------------------------


def _add_split(parser):
    add = parser.add_argument
    _add_recordings(add)
    add(
        "--singers",
        type=int,
        metavar="N",
        help="how many sing; refused if the model tells another number apart "
        "(default: as many as it does)",
    )
    add(
        "--mode",
        choices=("duet", "main"),
        default="duet",
        help="duet: voices as they come; main: the loudest one first "
        "(default: duet)",
    )
    group = _add_separator(
        parser,
        "model folder, or name of a shipped model (default: the shipped "
        "singer_splitter)",
    )
    add = parser.add_argument_group("stitching").add_argument
    add(
        "--stitching",
        metavar="NAME",
        default="global",
        help="how parts of a recording are joined: global, or as published "
        "ola, ola_norm, w2v, w2v_chunk, sf_chunk (default: global)",
    )
    add(
        "--window",
        type=float,
        metavar="S",
        help="seconds that the model hears at once (default: 30)",
    )
    add(
        "--hop",
        type=float,
        metavar="S",
        help="seconds from part to part (default: 4 less than the window, or "
        "two thirds of it)",
    )
    add(
        "--vad",
        metavar="NAME",
        default="spec",
        help="how w2v_chunk and sf_chunk find active spans: spec, webrtc, "
        "silero (default: spec)",
    )
    add(
        "--features",
        metavar="NAME",
        default="mfcc",
        help="what sf_chunk compares: mfcc, spectral_centroid (default: mfcc)",
    )
    add(
        "--encoder",
        metavar="DIR",
        help="folder of a wav2vec 2.0, HuBERT, WavLM or data2vec model for "
        "voice prints (default: spectral ones)",
    )
    group.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="parts per forward pass (default: 1)",
    )
    add = parser.add_argument
    add(
        "--confidence",
        action="store_true",
        help="also write <song>_confidence.csv: at each border of two parts, "
        "how sure it is that nobody changes places",
    )
    add(
        "--json",
        action="store_true",
        help="print what was found as JSON and nothing else",
    )


def _split(options):
    formats, target = _sound_outputs(options, "voice")
    inputs = _inputs(options.audio, options.recursive)
    from speechbrain_ext.inference.singer_stitching import (
        WINDOW_S,
        Stitching,
    )
    from speechbrain_ext.inference.splitter import SingerSplitter

    window_s = WINDOW_S if options.window is None else options.window
    encoder = None
    if options.encoder is not None:
        if not Path(options.encoder).is_dir():
            raise ModelError(
                f"{options.encoder}: no such folder of an encoder: check the "
                "path"
            )
        from speechbrain_ext.encoders.ssl import SSLEncoder

        encoder = SSLEncoder(options.encoder, trainable=False)
    stitching = Stitching(
        options.stitching,
        window_s,
        options.hop,
        options.vad,
        options.features,
        encoder,
    )
    splitter = SingerSplitter.from_hparams(
        options.model,
        device=options.device,
        mode=options.mode,
        singers=options.singers,
        stitching=stitching,
        batch_size=options.batch,
    )
    jobs = _plan_separation(
        inputs,
        target,
        options,
        splitter.singers,
        formats,
        "confidence.csv" if options.confidence else None,
    )
    _check_names(jobs)
    _check_outputs(jobs, options.force)
    options.quiet = options.quiet or options.json
    with _folders(jobs), _told_songs(options.json) as told:
        _work(jobs, _split_one, (splitter, told), options)


def _split_one(job, model, options, bar):
    """Split a recording, write its files, and tell about it."""
    splitter, told = model
    bar.start(job.audio)
    done = splitter.split_file(
        job.audio, job.stems, options.force, bar.progress
    )
    if job.more:
        done.write_confidences(job.more, options.force)
    files = {name: str(path) for path, name in job.stems.items()}
    if job.more:
        files["confidence"] = str(job.more)
    told.append({"song": str(job.audio), **done.as_json(), "files": files})
    return _told_separation(job, done, bar)


# --- align -----------------------------------------------------------------


def _add_align(parser):
    add = parser.add_argument
    add("audio", metavar="AUDIO", help="audio or video file")
    add("lyrics", metavar="LYRICS", help="its lyrics: .txt, .lrc or .srt")
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write: .lrc, .srt, .csv, .TextGrid or .json (default: "
        "the recording's name with .lrc, in the current folder)",
    )
    add(
        "--isolate",
        action="store_true",
        help="take the voice out of the song first",
    )
    add(
        "--language",
        default="en",
        metavar="CODE",
        help="of the lyrics; other than en needs its letters-to-sound, as pip "
        'install "g2p2[es]" (default: en)',
    )
    add(
        "--repeats",
        action="store_true",
        help="let any line be sung again before the next one",
    )
    add(
        "--lines-only",
        action="store_true",
        help="leave out the times of words in .lrc",
    )
    add(
        "--slack",
        type=float,
        default=0.65,
        metavar="S",
        help="how far, in seconds, a line may lie outside the time that .lrc "
        "or .srt gives for it (default: 0.65)",
    )
    add(
        "--phones",
        metavar="FILE",
        help="also write the phones and their times, as CSV, for models that "
        "are told what is sung",
    )
    add(
        "--plot",
        action="store_true",
        help="also draw the phones heard and the words put onto them (.png)",
    )
    add("--force", action="store_true", help="replace an existing file")
    add("--quiet", action="store_true", help="print nothing but errors")
    group = parser.add_argument_group("model")
    add = group.add_argument
    add(
        "--model",
        metavar="DIR",
        help="what hears phones: a model folder, pocketsphinx (for speech), or "
        "a folder of a wav2vec 2.0 or HuBERT model of phones (default: the "
        "shipped model of singing)",
    )
    add(
        "--separator",
        metavar="DIR",
        help="what --isolate takes the voice out with (default: the shipped "
        "separator)",
    )
    add(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, mps (default: cpu)",
    )


class _AlignJob(NamedTuple):
    """A recording and the files to write for it."""

    audio: Path
    timed: Path
    phones: Path | None
    plot: Path | None

    @property
    def outputs(self):
        return [path for path in self[1:] if path]


def _align(options):
    from speechbrain_ext.lyrics.timed import FORMATS, timed_format

    if options.output == "":
        raise OutputError("the name after -o is empty: name a file")
    if options.separator is not None and not options.isolate:
        raise ConfigError("--separator is of no use without --isolate")
    if not 0 <= options.slack < math.inf:
        raise ConfigError(f"--slack is {options.slack:g} s: take 0 or above")
    audio = Path(options.audio)
    target = Path(options.output or f"{audio.stem}.lrc")
    try:
        name = timed_format(target)
    except KeyError as error:
        raise OutputError(f"{target}: {error.args[0]}") from None
    if options.lines_only and name != "lrc":
        raise ConfigError(
            f"--lines-only is for {FORMATS['lrc'].suffix} files, not {target}"
        )
    from speechbrain_ext.files import check_input
    from speechbrain_ext.lyrics.align import read_lyrics

    check_input(audio, AudioError, "audio file")
    lines = read_lyrics(options.lyrics)
    if os.path.exists(target) and os.path.samefile(target, options.lyrics):
        raise OutputError(
            f"{target}: holds the lyrics to be aligned: name another file "
            "with -o"
        )
    phones = None
    if options.phones is not None:
        phones = Path(options.phones)
        if phones.suffix.lower() != ".csv":
            raise OutputError(f"{phones}: its name must end in .csv")
        if os.path.normcase(phones) == os.path.normcase(target):
            raise OutputError(
                f"{target}: is for words and for phones: name two files"
            )
    if options.plot:
        _check_plot()
    plot = target.with_suffix(".png") if options.plot else None
    job = _AlignJob(audio, target, phones, plot)
    _check_outputs([job], options.force)
    from speechbrain_ext.inference.aligner import LyricsAligner

    aligner = LyricsAligner.from_hparams(
        options.model,
        options.device,
        options.language,
        isolate=options.isolate and (options.separator or True),
    )
    with _folders([job]):
        _work([job], _align_one, (aligner, lines), options)


def _align_one(job, model, options, bar):
    """Align a recording, write its file, and tell about it."""
    from speechbrain_ext.inference.aligner import doubt
    from speechbrain_ext.lyrics.align import align
    from speechbrain_ext.lyrics.timed import (
        timed_format,
        write_phones,
        write_timed,
    )

    aligner, lines = model
    bar.start(job.audio)
    heard = aligner.hear_file(job.audio, bar.progress)
    given = (lines, aligner.lexicon, options.slack, options.repeats)
    timed = align(heard, *given)
    more = {}
    if timed_format(job.timed) == "lrc":
        more["enhanced"] = not options.lines_only
    write_timed(timed, job.timed, options.force, **more)
    if job.phones:
        phones = [phone for word in timed for phone in word.phones]
        write_phones(phones, job.phones, options.force)
    if job.plot:
        from speechbrain_ext.report.plots import phone_picture

        phone_picture(
            heard,
            timed,
            job.plot,
            title=job.audio.name,
            overwrite=options.force,
        )
    warning = doubt(heard, timed, *given)
    if warning:
        hint = "" if options.isolate else " (--isolate)"
        bar.warn(f"{job.audio.name}: {warning}{hint}")
    sure = sum(word.confidence for word in timed) / len(timed)
    return (
        f"{job.audio.name}: {len(timed)} words, {timed[0].onset:.2f} to "
        f"{timed[-1].offset:.2f} s, mean confidence {sure:.2f} -> {job.timed}"
    )


# --- lyrics ----------------------------------------------------------------


def _add_lyrics(parser):
    add = parser.add_argument
    add("audio", metavar="AUDIO", help="audio or video file of a voice")
    add(
        "--model",
        metavar="DIR",
        required=True,
        help="what hears words: the model folder of a recipe for lyrics (none "
        "is shipped)",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write, .txt (default: the recording's name with .txt, in "
        "the current folder)",
    )
    add(
        "--beam-size",
        type=int,
        metavar="N",
        help="lines of words kept while looking for the best (default: as in "
        "the model)",
    )
    add("--force", action="store_true", help="replace an existing file")
    add("--quiet", action="store_true", help="print nothing but errors")
    add(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, mps (default: cpu)",
    )


class _LyricsJob(NamedTuple):
    """A recording and the file to write for it."""

    audio: Path
    outputs: list[Path]


def _lyrics(options):
    if options.output == "":
        raise OutputError("the name after -o is empty: name a file")
    audio = Path(options.audio)
    target = Path(options.output or f"{audio.stem}.txt")
    if target.suffix.lower() != ".txt":
        raise OutputError(f"{target}: its name must end in .txt")
    from speechbrain_ext.files import check_input

    check_input(audio, AudioError, "audio file")
    job = _LyricsJob(audio, [target])
    _check_outputs([job], options.force)
    from speechbrain_ext.inference.lyrics import LyricsTranscriber

    search = {}
    if options.beam_size is not None:
        search["beam_size"] = options.beam_size
    model = LyricsTranscriber.from_hparams(
        options.model, options.device, **search
    )
    with _folders([job]):
        _work([job], _lyrics_one, model, options)


def _lyrics_one(job, model, options, bar):
    """Transcribe a recording's words, write its file, and tell about it."""
    from speechbrain_ext.files import atomic_path

    bar.start(job.audio)
    lines = model.transcribe_file(job.audio, bar.progress)
    (target,) = job.outputs
    with atomic_path(target, options.force) as path:
        path.write_text("".join(f"{line.text}\n" for line in lines), "utf-8")
    words = sum(len(line.text.split()) for line in lines)
    return f"{job.audio.name}: {words} words in {len(lines)} lines -> {target}"


# --- export ----------------------------------------------------------------


def _add_export(parser):
    add = parser.add_argument
    add("file", metavar="FILE", help="the file to write, ending in .onnx")
    add(
        "--model",
        metavar="DIR",
        help="model folder, or name of a shipped model (default: the shipped "
        "transcriber)",
    )
    add("--force", action="store_true", help="replace an existing file")


def _export(options):
    from speechbrain_ext.inference.onnx import SUFFIX, export_onnx
    from speechbrain_ext.inference.transcriber import Transcriber

    path = Path(options.file)
    if path.suffix != SUFFIX:
        raise OutputError(f"{path}: its name must end in {SUFFIX}")
    transcriber = Transcriber.from_hparams(options.model)
    difference = export_onnx(transcriber, path, overwrite=options.force)
    size = path.stat().st_size / 1e6
    print(
        f"{path}: {size:.1f} MB, differs from PyTorch by at most "
        f"{difference:.0e}"
    )


# --- evaluate notes --------------------------------------------------------


def _add_evaluate_notes(parser):
    add = parser.add_argument
    add("reference", metavar="REF", help="what was sung")
    add("estimate", metavar="EST", help="what was transcribed")
    for name, default, unit, what in (
        ("onset-tolerance", 0.05, "S", "onset tolerance in seconds"),
        ("pitch-tolerance", 50.0, "CENTS", "pitch tolerance in cents"),
        (
            "offset-ratio",
            0.2,
            "R",
            "offset tolerance as a share of the reference note's duration",
        ),
        ("offset-min", 0.05, "S", "least offset tolerance in seconds"),
    ):
        add(
            f"--{name}",
            type=float,
            default=default,
            metavar=unit,
            help=f"{what} (default: {default:g})",
        )
    add(
        "--format",
        metavar="NAME",
        help="format of the note files (default: by their suffixes); in "
        "folders other files are left out",
    )
    _add_score_outputs(parser)


def _add_score_outputs(parser):
    add = parser.add_argument
    add(
        "--json",
        action="store_true",
        help="print the means as JSON and nothing else",
    )
    add("--csv", metavar="PATH", help="also write one row per song")
    add("--force", action="store_true", help="replace an existing --csv file")


def _evaluate_notes(options):
    from speechbrain_ext.metrics.notes import METRICS, as_json, evaluate_paths

    _check_csv(options)
    found = evaluate_paths(
        options.reference,
        options.estimate,
        format=options.format,
        onset_tolerance=options.onset_tolerance,
        pitch_tolerance=options.pitch_tolerance,
        offset_ratio=options.offset_ratio,
        offset_min_tolerance=options.offset_min,
    )
    _show_scores(
        options,
        found,
        as_json,
        {
            **{m: lambda song, m=m: song.scores[m].f1 for m in METRICS},
            "ref": lambda song: song.reference_notes,
            "est": lambda song: song.estimated_notes,
        },
        "F1 %",
    )


# --- evaluate f0 -----------------------------------------------------------


def _add_evaluate_f0(parser):
    add = parser.add_argument
    add("reference", metavar="REF", help="contour of the voice, or a folder")
    add("estimate", metavar="EST", help="estimated contour, or a folder")
    add(
        "--pitch-tolerance",
        type=float,
        default=50.0,
        metavar="CENTS",
        help="pitch tolerance in cents (default: 50)",
    )
    _add_score_outputs(parser)


def _evaluate_f0(options):
    from speechbrain_ext.metrics.melody import METRICS, evaluate_f0_paths

    _check_csv(options)
    found = evaluate_f0_paths(
        options.reference, options.estimate, options.pitch_tolerance
    )
    _show_scores(
        options,
        found,
        lambda stats: {
            key: stats.summarize()[key] for key in ("songs", *METRICS)
        },
        {m: lambda song, m=m: song.scores[m] for m in METRICS},
        "%",
    )


# --- evaluate separation ---------------------------------------------------


def _add_evaluate_separation(parser):
    add = parser.add_argument
    add("reference", metavar="REF_DIR", help="folder of the true sources")
    add("estimate", metavar="EST_DIR", help="folder of the estimates")
    add(
        "--protocol",
        choices=("v3", "v4", "si"),
        default="v3",
        help="what to compute (default: v3)",
    )
    add(
        "--sources",
        metavar="NAMES",
        help="names of all sources, separated by commas (default: vocals,"
        "accompaniment; or vocals,drums,bass,other if there are estimates of "
        "such stems)",
    )
    _add_song_folders(add)
    _add_score_outputs(parser)


def _add_song_folders(add):
    """Options of what reads songs with a file for each source."""
    add(
        "--mono",
        action="store_true",
        help="average the channels of every file first",
    )
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="songs scored at a time (default: 1)",
    )


def _evaluate_separation(options):
    from speechbrain_ext.metrics.separation import (
        PROTOCOLS,
        as_json,
        evaluate_folder,
    )

    _check_csv(options)
    _check_jobs(options)
    sources = None
    if options.sources is not None:
        sources = [name.strip() for name in options.sources.split(",")]
    with _song_bar() as progress:
        found = evaluate_folder(
            options.reference,
            options.estimate,
            options.protocol,
            sources,
            options.mono,
            options.jobs,
            progress,
        )
    columns = {
        f"{target} {metric}": lambda song, m=metric, t=place: song.scores[m][t]
        for place, target in enumerate(found[0].fields)
        for metric in PROTOCOLS[options.protocol].shown
    }
    _show_scores(options, found, as_json, columns, "dB", scale=1)


# --- evaluate singers ------------------------------------------------------


def _add_evaluate_singers(parser):
    add = parser.add_argument
    add("reference", metavar="REF_DIR", help="folder of the true voices")
    add("estimate", metavar="EST_DIR", help="folder of the separated ones")
    add(
        "--no-bss",
        action="store_true",
        help="leave out SDR, SIR and SAR, which take longest",
    )
    add(
        "--stoi",
        action="store_true",
        help="also intelligibility (needs the package pystoi)",
    )
    add(
        "--pitch",
        action="store_true",
        help="also how much the singers' pitch ranges overlap",
    )
    _add_song_folders(add)
    _add_score_outputs(parser)


def _evaluate_singers(options):
    from speechbrain_ext.metrics.singers import (
        as_json,
        evaluate_singer_folders,
    )

    _check_csv(options)
    _check_jobs(options)
    with _song_bar() as progress:
        found = evaluate_singer_folders(
            options.reference,
            options.estimate,
            options.mono,
            options.jobs,
            progress,
            bss=not options.no_bss,
            stoi=options.stoi,
            pitch=options.pitch,
        )
    columns = {m: lambda song, m=m: song.scores[m] for m in found[0].metrics}
    _show_scores(options, found, as_json, columns, "dB, share", scale=1)


# --- evaluate alignment ----------------------------------------------------


def _add_evaluate_alignment(parser):
    add = parser.add_argument
    add("reference", metavar="REF", help="lyrics with true times, or a folder")
    add("estimate", metavar="EST", help="aligned lyrics, or a folder")
    add(
        "--window",
        type=float,
        default=0.3,
        metavar="S",
        help="how far an onset may be out for PCO, in seconds (default: 0.3)",
    )
    _add_score_outputs(parser)


def _evaluate_alignment(options):
    from speechbrain_ext.metrics.alignment import (
        METRICS,
        evaluate_alignment_paths,
    )

    _check_csv(options)
    found = evaluate_alignment_paths(
        options.reference, options.estimate, options.window
    )
    _show_scores(
        options,
        found,
        lambda stats: {
            key: stats.summarize()[key] for key in ("songs", *METRICS)
        },
        {
            **{m: lambda song, m=m: song.scores[m] for m in METRICS},
            "words": lambda song: song.words,
        },
        "s, share",
        scale=1,
    )


@contextlib.contextmanager
def _song_bar():
    """Show on a terminal how many songs are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="song", leave=False, file=sys.stderr) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _check_jobs(options):
    if options.jobs < 1:
        raise ConfigError(f"--jobs is {options.jobs}: use 1 or more")


def _check_csv(options):
    """Refuse a table that cannot be written, before the scoring."""
    from speechbrain_ext.files import check_output

    if options.csv is None:
        return
    if not options.csv:
        raise ConfigError("--csv is empty: give the path of a file")
    if not options.force and os.path.lexists(options.csv):
        raise OutputError(
            f"{options.csv} exists already: use --force to replace it"
        )
    check_output(options.csv, options.force)


_NAMED_SONGS = 10  # that are on one side only


def _show_scores(options, found, as_json, columns, title, scale=100):
    """Print and write what an evaluation found."""
    import json

    stats, only_reference, only_estimate = found
    for side, songs in (
        (options.reference, only_reference),
        (options.estimate, only_estimate),
    ):
        named, more = songs[:_NAMED_SONGS], songs[_NAMED_SONGS:]
        lines = [f"{song} is only in {side}" for song in named]
        if more:
            lines.append(f"{len(more)} more only in {side}")
        for line in lines:
            print(f"singbrain: left out: {line}", file=sys.stderr)
    if options.csv:
        stats.write_csv(options.csv, overwrite=options.force)
    if options.json:
        print(json.dumps(as_json(stats)))
        return
    print(_song_table(stats.songs, columns, title, scale))
    print()
    stats.write_table(sys.stdout)


def _song_table(songs, columns, title, scale):
    """A line per song: scores times a factor, counts as they are."""
    width = max(4, *(len(song.song_id) for song in songs))
    lines = [f"{title:{width}}"] + [f"{s.song_id:{width}}" for s in songs]
    for name, column in columns.items():
        values = [column(song) for song in songs]
        if isinstance(values[0], int):
            cells = [f"{value:7}" for value in values]
        else:
            cells = [f"{scale * value:9.2f}" for value in values]
        room = max(len(name) + 2, *map(len, cells))
        for place, cell in enumerate([name, *cells]):
            lines[place] += f"{cell:>{room}}"
    return "\n".join(lines)


# --- prepare ---------------------------------------------------------------


def _add_prepare(parser):
    add = parser.add_argument
    add("corpus", nargs="?", metavar="CORPUS", help="name, see --list")
    add(
        "data_dir",
        nargs="?",
        metavar="DATA_DIR",
        help="the corpus on disk; for noise and remixes, a manifest",
    )
    add(
        "out_dir",
        nargs="?",
        metavar="OUT_DIR",
        help="folder for manifests and what else is made (made if missing)",
    )
    add(
        "--segment-s",
        type=float,
        metavar="S",
        help="length of a training segment in seconds (default: 5; lines of "
        "dsing and n20em are not cut)",
    )
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="files worked on at a time (default: 1)",
    )
    add(
        "--force",
        action="store_true",
        help="replace another preparation in OUT_DIR",
    )
    add(
        "--download",
        action="store_true",
        help="fetch the corpus into DATA_DIR first, where it is public",
    )
    add(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="another option of the corpus, as annotator=A2 (vocadito), "
        "medium=mixture (mir_st500), cut_overlaps=false or "
        "layout=tonas (minisinging), protocol=random_song or whole=true "
        "(mir1k), stems=false, audio_folder=DIR or phones_folder=DIR "
        "(musdb18), lyrics_folder=DIR (musdb18_lyrics), config=DIR "
        "(medleyvox), size=3 or damp_folder=DIR (dsing), "
        "datasets=[csd, nus48e] (singing_corpora), n_train=8000 "
        "(musan), kinds=[white, babble] or level=mean_abs (noise), "
        "passes=2 or keep_vocals=true (remixes); may be repeated",
    )
    add("--list", action="store_true", help="list the corpora and noises known")


def _prepare(options):
    import data_prep

    if options.list:
        known = data_prep.CORPORA | data_prep.MATERIAL
        width = max(map(len, known))
        for name, entry in known.items():
            print(f"{name:{width}}  {entry.license}  {entry.url}".rstrip())
        return
    if options.out_dir is None:
        raise ConfigError(
            "prepare needs CORPUS DATA_DIR OUT_DIR; singbrain prepare --list "
            "names the corpora"
        )
    _check_jobs(options)
    if options.download:
        data_prep.download(options.corpus, options.data_dir)
    settings = _settings(options.settings)
    if options.segment_s is not None:
        settings["segment_s"] = options.segment_s
    summary = data_prep.prepare(
        options.corpus,
        options.data_dir,
        options.out_dir,
        n_jobs=options.jobs,
        overwrite=options.force,
        **settings,
    )
    print(summary.table())


def _settings(pairs):
    """Options from OPTION=VALUE, with values in YAML's notation."""
    import yaml

    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--set {pair}: write it as OPTION=VALUE")
        if key in ("segment_s", "n_jobs", "overwrite"):
            raise ConfigError(
                f"--set {pair}: use --segment-s, --jobs and --force"
            )
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"--set {pair}: the value is not YAML: put it in quotes"
            ) from None
    return settings


# --- prepare av_hubert -----------------------------------------------------


def _add_av_hubert(parser):
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="file of fairseq (.pt)")
    add(
        "-o",
        "--output",
        metavar="FOLDER",
        required=True,
        help="model folder to make",
    )
    add("--force", action="store_true", help="replace a model in FOLDER")


def _av_hubert(options):
    from speechbrain_ext.encoders.av_hubert import (
        LICENSE_NOTE,
        convert_av_hubert,
    )

    convert_av_hubert(options.checkpoint, options.output, options.force)
    print(LICENSE_NOTE)
    print(f"{options.output}: for AVHubertEncoder(source=...)")


# --- prepare lips ----------------------------------------------------------


def _add_lips(parser):
    add = parser.add_argument
    add("video", metavar="VIDEO", help="video file with a face")
    add(
        "-o",
        "--output",
        metavar="CROPS",
        required=True,
        help="file to write, ending in .npy; the confidence of each frame "
        "goes beside it, into CROPS.confidence.csv",
    )
    add(
        "--detector",
        choices=("auto", "haar", "landmarks"),
        default="auto",
        help="how faces are found: haar, by OpenCV's cascades; landmarks, by "
        "MediaPipe; auto, by landmarks where MediaPipe is installed (default: "
        "auto)",
    )
    add("--force", action="store_true", help="replace existing files")


def _lips(options):
    from speechbrain_ext.video import confidence_path, write_mouth_crops

    crops = Path(options.output)
    _refuse_existing([crops, confidence_path(crops)], options.force)
    with _clock() as progress:
        track = write_mouth_crops(
            options.video, crops, options.detector, options.force, progress
        )
    present = track.confidence > 0
    line = (
        f"{crops}: {len(present)} frames ({track.duration:.2f} s), "
        f"{present.mean():.1%} with a face, mean confidence "
        f"{track.confidence.mean():.2f}, detector {track.detector}"
    )
    print("; ".join([line, *track.notes]))


@contextlib.contextmanager
def _clock():
    """Show on a terminal how many seconds are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="s", leave=False, file=sys.stderr) as bar:
        yield lambda seconds: bar.update(round(seconds - bar.n, 1))
