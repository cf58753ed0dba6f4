"""Small recordings and a small model, made on the spot."""

import errno
import json
import shutil
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

TINY_MODEL = """\
model_name: tiny
sample_rate: 16000
width: 128  # 8, then 5 for each of 24 semitones
chunk_s: 4
encoder: !new:speechbrain_ext.encoders.spectral.HarmonicEncoder
  channels: 8
  front_channels: [2, 2, 4]
  harmonics: [1, 2]
  low: 48
  n_pitches: 24
  dilations: [1, 4]
head: !new:speechbrain_ext.heads.NoteHead
  input_size: !ref <width>
decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.4
"""

MELODY_MODEL = """\
model_name: melody
sample_rate: 16000
chunk_s: 4
encoder: !new:speechbrain_ext.encoders.spectral.HarmonicEncoder
  channels: 8
  front_channels: [2, 2, 2]
  harmonics: [1, 2]
  low: 48
  n_pitches: 24
  dilations: [1, 4]
head: !new:speechbrain_ext.heads.MelodyHead
  input_size: 128  # 8, then 5 for each of 24 semitones
  low: 48
  n_pitches: 24
decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.4
"""


LIP_MODEL = """\
model_name: lips
sample_rate: 16000
chunk_s: 4
encoder: !new:speechbrain_ext.encoders.two_stream.TwoStreamEncoder
  lips: !new:speechbrain_ext.encoders.lips.LipEncoder
    channels: 16
    widths: [8, 16]
    dilations: [1, 2]
head: !new:speechbrain_ext.heads.NoteHead
  input_size: 16
decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.4
lip_decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.4
"""


@pytest.fixture
def lock(monkeypatch):
    """Take the right to enter a folder, and to list it unless told so."""

    def make(folder, listed):
        def guarded(method, refused):
            def call(self, *arguments, **options):
                if refused(self):
                    raise PermissionError(errno.EACCES, "Permission denied")
                return method(self, *arguments, **options)

            return call

        iterdir = guarded(Path.iterdir, lambda p: p == folder and not listed)
        stat = guarded(Path.stat, lambda path: folder in path.parents)
        monkeypatch.setattr(Path, "iterdir", iterdir)
        monkeypatch.setattr(Path, "stat", stat)

    return make


SEPARATOR = """\
model_name: tiny-separator
sample_rate: 16000
chunk_s: 4
separator: !new:speechbrain_ext.separation.separator.MaskSeparator
  sample_rate: !ref <sample_rate>
  network: !new:speechbrain_ext.separation.recurrent.RecurrentNetwork
    hidden_size: 8
"""


@pytest.fixture(scope="session")
def noise():
    """Samples (samples, channels) of white noise, always the same."""

    def make(seconds, rate=16000, channels=1, seed=0):
        shape = (round(seconds * rate), channels)
        generator = np.random.default_rng(seed)
        return generator.uniform(-0.5, 0.5, shape).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_media():
    """Write audio and video with ffmpeg's encoders."""

    def write(path, wav=None, rate=44100, codec="aac", video_s=0, late_s=0):
        with av.open(str(path), "w") as container:
            if video_s:
                video = container.add_stream("mpeg4", rate=25)
                video.width = video.height = 32
                video.pix_fmt = "yuv420p"
            if wav is not None:
                layout = {1: "mono", 2: "stereo"}[wav.shape[1]]
                sound = container.add_stream(codec, rate=rate, layout=layout)
                sound.bit_rate = 128000
            for index in range(round(25 * video_s)):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(video.encode(picture))
            if wav is not None:
                planar = np.ascontiguousarray(wav.T)
                frame = av.AudioFrame.from_ndarray(planar, "fltp", layout)
                frame.sample_rate = rate
                frame.time_base = Fraction(1, rate)
                frame.pts = round(late_s * rate)
                sound.codec_context.open(strict=False)
                pieces = av.AudioResampler(
                    sound.codec_context.format,
                    layout,
                    rate,
                    frame_size=sound.codec_context.frame_size or None,
                )
                for piece in (*pieces.resample(frame), *pieces.resample(None)):
                    container.mux(sound.encode(piece))
                container.mux(sound.encode(None))
            if video_s:
                container.mux(video.encode(None))
        return path

    return write


def exported(tmp_path_factory, text):
    """Export a model with random weights that sings everywhere."""
    import torch

    from speechbrain_ext.inference.model_folder import (
        export_model,
        load_hyperparams,
    )

    torch.manual_seed(1)
    hparams = load_hyperparams(text)
    with torch.no_grad():
        hparams["head"].linear.bias[1] = -10  # the silence output
    folder = tmp_path_factory.mktemp("models") / hparams["model_name"]
    modules = {name: hparams[name] for name in ("encoder", "head")}
    return export_model(folder, text, modules, "# Tiny\n")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a transcriber with random weights, small enough for tests."""
    return exported(tmp_path_factory, TINY_MODEL)


@pytest.fixture(scope="session")
def melody_model(tmp_path_factory):
    """The same, for one that gives the fundamental frequency too."""
    return exported(tmp_path_factory, MELODY_MODEL)


@pytest.fixture(scope="session")
def lip_model(tmp_path_factory):
    """Folder of a reader of lips with random weights."""
    return exported(tmp_path_factory, LIP_MODEL)


@pytest.fixture(scope="session")
def lip_rows(tmp_path_factory):
    """Three songs of 4 s in 2 s segments, with mouths that open at onsets."""
    from data_prep.minisinging import render_clip
    from speechbrain_ext.audio import write_audio
    from speechbrain_ext.formats import write_notes
    from speechbrain_ext.video import write_crops

    folder = tmp_path_factory.mktemp("songs")
    rows = []
    for song in range(3):
        clip = render_clip([1, song], 4.0, noise_db=False)
        write_audio(folder / f"{song}.wav", clip.voice, 16000)
        write_audio(folder / f"{song}_band.wav", clip.accompaniment, 16000)
        write_notes(clip.notes, folder / f"{song}.csv")
        crops = np.full((200, 96, 96), 120, np.uint8)
        crops += np.random.default_rng(song).integers(
            0, 30, crops.shape, np.uint8
        )
        for note in clip.notes:
            first, last = round(note.onset * 50), round(note.offset * 50) - 2
            crops[first:last, 40:60, 30:66] = 20
        write_crops(folder / f"{song}.npy", crops)
        rows += [
            {
                "ID": f"{song}_{k + 1}",
                "song_id": str(song),
                "segment": k + 1,
                "n_segments": 2,
                "start": 2.0 * k,
                "stop": 2.0 * k + 2,
                "wav": str(folder / f"{song}.wav"),
                "accomp_wav": str(folder / f"{song}_band.wav"),
                "notes": str(folder / f"{song}.csv"),
                "video": str(folder / f"{song}.npy"),
            }
            for k in range(2)
        ]
    return rows


@pytest.fixture(scope="session")
def tiny_separator(tmp_path_factory):
    """Folder of a separator with random weights."""
    import torch

    from speechbrain_ext.inference.model_folder import (
        export_model,
        load_hyperparams,
    )

    torch.manual_seed(1)
    modules = {"separator": load_hyperparams(SEPARATOR)["separator"]}
    folder = tmp_path_factory.mktemp("models") / "separator"
    return export_model(folder, SEPARATOR, modules, "# Tiny\n")


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1200,900",
        # What the browser itself would ask the network for.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture
def browser_told(browser):
    """What the console said, as (level, message), and which URLs were asked."""

    def read():
        messages = [
            (row["level"], row["message"]) for row in browser.get_log("browser")
        ]
        asked = [
            message["params"]["request"]["url"]
            for row in browser.get_log("performance")
            if (message := json.loads(row["message"])["message"])["method"]
            == "Network.requestWillBeSent"
        ]
        return messages, asked

    return read


@pytest.fixture(scope="session")
def wait_for():
    """Wait until something is true, and give it."""

    def wait(condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.05)
        return found

    return wait
