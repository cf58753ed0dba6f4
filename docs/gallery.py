"""Makes the pictures of the gallery, from synthetic songs and shipped models.

`python docs/gallery.py` writes them into `docs/gallery`; `--only faces lyrics`
some of them. The songs are MiniSinging's, of fixed seeds that no training has
used, so that the pictures can be made anew. The picture of the report needs
Chromium and selenium.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data_prep.minisinging import render_clip, render_mouth
from speechbrain_ext.audio import write_audio
from speechbrain_ext.errors import (
    DependencyError,
    SingBrainError,
    optional_library,
)
from speechbrain_ext.files import atomic_path

FOLDER = Path(__file__).parent / "gallery"
# Far from the seeds of the corpora that the shipped models learnt from.
SEED = 20_240
SONG_S = 12.0
WIDTH, HEIGHT = 1000, 780  # pixels
COLOURS = 128
MOUTHS = 12  # side by side
STEP = 6  # frames of 20 ms between them


def transcription(folder, clip, song) -> Path:
    """Draw the notes that are heard in a song over those that are sung.

    Arguments
    ---------
    folder : Path
        Gets the picture.
    clip : Clip
        What is known about the song.
    song : Path
        Its recording.

    Returns
    -------
    Path
        The picture.
    """
    from speechbrain_ext.inference.transcriber import Transcriber
    from speechbrain_ext.report.plots import piano_roll

    transcriber = Transcriber.from_hparams()
    posteriors, _ = transcriber.analyse_file(song)
    return piano_roll(
        clip.notes,
        transcriber.decoder(posteriors),
        folder / "transcription.png",
        posteriors,
        title="A synthetic song with its accompaniment",
        overwrite=True,
    )


def separation(folder, clip, song) -> Path:
    """Draw a song, what was taken out of it, and the masks that did it.

    Arguments
    ---------
    folder, clip, song
        As in `transcription`.

    Returns
    -------
    Path
        The picture.
    """
    from speechbrain_ext.inference.separator import VoiceSeparator
    from speechbrain_ext.report.plots import separation_figure
    from speechbrain_ext.report.spectrogram import Sketch

    stems = VoiceSeparator.from_hparams().separate(clip.mix, clip.sample_rate)
    sketches = {}
    for name, wav in {"song": clip.mix, **stems}.items():
        sketches[name] = Sketch(clip.sample_rate)
        sketches[name].listen(np.ravel(wav))
    return separation_figure(
        sketches.pop("song"),
        sketches,
        folder / "separation.png",
        "Voice and accompaniment",
        overwrite=True,
    )


def lyrics(folder, clip, song) -> Path:
    """Draw the phones that are heard, and the words that are put onto them.

    Arguments
    ---------
    folder, clip, song
        As in `transcription`.

    Returns
    -------
    Path
        The picture.
    """
    from speechbrain_ext.inference.aligner import LyricsAligner
    from speechbrain_ext.lyrics.align import align
    from speechbrain_ext.lyrics.timed import TimedLyrics, TimedWord
    from speechbrain_ext.report.plots import phone_picture

    aligner = LyricsAligner.from_hparams(isolate=True)
    heard = aligner.hear_file(song)
    text = " ".join(word for _, _, word in clip.words)
    return phone_picture(
        heard,
        align(heard, text, aligner.lexicon),
        folder / "lyrics.png",
        TimedLyrics([TimedWord(word, *span) for *span, word in clip.words]),
        "Words found in the song; below, when they are sung",
        overwrite=True,
    )


def faces(folder, clip, song) -> Path:
    """Show mouths of three synthetic singers at the same song.

    Arguments
    ---------
    folder, clip, song
        As in `transcription`.

    Returns
    -------
    Path
        The picture.
    """
    import cv2

    rows = []
    for singer in range(3):
        one = render_clip([SEED, 10 + singer], 3.0, band=False)
        begin = round(one.notes[0].onset * 50)
        rows.append(np.hstack(render_mouth(one)[begin::STEP][:MOUTHS]))
    path = folder / "faces.png"
    with atomic_path(path, overwrite=True) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows))
    return path


def report(folder, clip, song) -> Path:
    """Photograph the page that `singbrain song` writes.

    Arguments
    ---------
    folder, clip, song
        As in `transcription`.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    DependencyError
        If selenium or Chromium is missing.
    """
    webdriver = optional_library(
        "selenium.webdriver", "selenium", "dev", "the report's picture"
    )
    from speechbrain_ext.inference.song import SongChain, SongSettings

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise DependencyError(
            "the report's picture needs chromium and chromedriver: apt install "
            "chromium-driver"
        )
    text = song.with_suffix(".txt")
    text.write_text("\n".join(word for _, _, word in clip.words), "utf-8")
    settings = SongSettings(title="A synthetic song", artist="")
    chain = SongChain(settings)
    made = chain.run(song, song.parent / "score", text).folder
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={WIDTH},{HEIGHT}")
    service = webdriver.ChromeService(executable_path=driver)
    path = folder / "report.png"
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.get((made / "report.html").as_uri())
        time.sleep(1)  # until it is drawn
        data = browser.get_screenshot_as_png()
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(data)
    return path


def shrink(path) -> None:
    """Make a picture small: no wider than a page, and of few colours.

    Arguments
    ---------
    path : Path
        A PNG, which is replaced.
    """
    from PIL import Image  # which matplotlib brings

    picture = Image.open(path).convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
    with atomic_path(path, overwrite=True) as temporary:
        picture.quantize(COLOURS).save(temporary, optimize=True)


PICTURES = {
    make.__name__: make
    for make in (transcription, separation, lyrics, faces, report)
}


def main(argv=None) -> int:
    """Make pictures.

    Arguments
    ---------
    argv : list of str, optional
        Arguments without the program's name. Default: those of the process.

    Returns
    -------
    int
        Exit code: 2 if a picture could not be made.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PICTURES,
        default=list(PICTURES),
        metavar="NAME",
        help=f"some of {', '.join(PICTURES)}",
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where they go"
    )
    options = parser.parse_args(argv)
    options.folder.mkdir(exist_ok=True)
    clip = render_clip([SEED, 1], SONG_S)
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        song = Path(place) / "song.wav"
        write_audio(song, clip.mix, clip.sample_rate)
        for name in options.only:
            try:
                path = PICTURES[name](options.folder, clip, song)
            except SingBrainError as error:
                print(f"gallery: error: {name}: {error}", file=sys.stderr)
                failed = 2
            else:
                shrink(path)
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return failed


if __name__ == "__main__":
    sys.exit(main())
