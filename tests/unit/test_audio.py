"""Reading, streaming and writing of audio."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechbrain_ext import audio
from speechbrain_ext.audio import (
    SLICE_TOLERANCE,
    AudioWriter,
    audio_info,
    audio_tracks,
    kept_subtype,
    level_db,
    read_audio,
    resample,
    resample_stream,
    split_channel,
    stream_audio,
    write_audio,
    write_tracks,
)
from speechbrain_ext.errors import AudioError, OutputError

SOUNDFILE = ["wav", "flac", "ogg", "mp3", "aiff"]
FFMPEG = {"m4a": "aac", "mkv": "libopus", "wma": "wmav2", "mp2": "mp2"}


@pytest.fixture(scope="module")
def media(tmp_path_factory, noise, write_media):
    """A 3 s stereo recording in many formats, by suffix."""
    folder = tmp_path_factory.mktemp("media")
    files = {}
    for suffix in SOUNDFILE:
        files[suffix] = folder / f"a.{suffix}"
        soundfile.write(files[suffix], noise(3, 44100, 2), 44100)
    for suffix, codec in FFMPEG.items():
        rate = 48000 if suffix == "mkv" else 44100
        files[suffix] = write_media(
            folder / f"b.{suffix}", noise(3, rate, 2), rate, codec
        )
    files["mp4"] = write_media(folder / "c.mp4", noise(3, 44100, 2), video_s=3)
    return files


@pytest.fixture
def ramp(tmp_path):
    """Sample k is k / 32768, exactly, 2 s at 16 kHz."""
    path = tmp_path / "ramp.wav"
    values = np.arange(32000, dtype=np.int16)
    soundfile.write(path, values, 16000, subtype="PCM_16")
    return path


def test_info(media):
    info = audio_info(media["wav"])
    assert (info.sample_rate, info.channels) == (44100, 2)
    assert (info.duration, info.n_samples) == (3.0, 132300)
    info = audio_info(media["m4a"])
    assert (info.sample_rate, info.channels, info.n_samples) == (44100, 2, None)
    assert info.duration == pytest.approx(3.0, abs=0.05)
    info = audio_info(media["mp3"])
    assert (info.duration, info.n_samples) == (3.0, None)


def test_samples_of_a_slice(ramp):
    # 0.5 s x 16000 = sample 8000; 0.75 s = sample 12000.
    wav = read_audio(ramp, 0.5, 0.75)
    assert wav.dtype == np.float32
    assert (wav * 32768).tolist() == list(range(8000, 12000))
    # 0.50004 s is sample 8000.64, rounded to 8001.
    assert read_audio(ramp, 0.50004)[0] * 32768 == 8001
    assert len(read_audio(ramp, 1.5, 99)) == 8000
    assert len(read_audio(ramp, 1.5, math.inf)) == 8000


def test_mono_is_the_mean_of_the_channels(tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.tile([[0.5, -0.25]], (8, 1)), 16000)
    assert read_audio(path).tolist() == [0.125] * 8
    assert read_audio(path, mono=False).tolist() == [[0.5, -0.25]] * 8


@pytest.fixture
def two_ramps(tmp_path):
    """Left rises by 1 / 32768 a sample, right falls; 1 s at 16 kHz."""
    path = tmp_path / "two.wav"
    values = np.arange(16000, dtype=np.int16)
    soundfile.write(path, np.stack([values, -values], axis=1), 16000)
    return path


def test_one_channel_of_a_file(two_ramps):
    left, right = f"{two_ramps}#0", f"{two_ramps}#1"
    # 0.5 s is sample 8000; the channels cancel each other in the mean.
    assert (read_audio(left, 0.5)[:2] * 32768).tolist() == [8000, 8001]
    wav = read_audio(right, 0.5, 0.75)
    assert (wav * 32768).tolist() == [-k for k in range(8000, 12000)]
    assert not read_audio(two_ramps).any()
    assert np.array_equal(
        read_audio(right, mono=False), read_audio(two_ramps, mono=False)[:, 1:]
    )
    blocks = list(stream_audio(right, 0.3))
    assert [len(block) for block in blocks] == [4800, 4800, 4800, 1600]
    assert np.array_equal(np.concatenate(blocks), read_audio(right))
    halves = np.concatenate(list(stream_audio(right, 0.3, 8000)))
    assert np.abs(halves - read_audio(right, sample_rate=8000)).max() <= 1e-5
    info = audio_info(right)
    assert (str(info.path), info.channels, info.n_samples) == (right, 1, 16000)


def test_one_channel_of_a_file_that_ffmpeg_reads(media):
    for k in (0, 1):
        wav = read_audio(f"{media['m4a']}#{k}", 1.0, 2.0)
        both = read_audio(media["m4a"], 1.0, 2.0, mono=False)
        assert np.array_equal(wav, both[:, k])


def test_a_channel_that_is_not_there(two_ramps, ramp):
    for path, says in (
        (f"{two_ramps}#2", "#2: has no channel 2: the file has 2, counted"),
        (f"{ramp}#1", "#1: has no channel 1: the file has 1, counted"),
        (f"{ramp.parent}/missing.wav#1", "missing.wav#1: no such file"),
        (f"{ramp}#", "ramp.wav#: no such file"),
        (f"{ramp}#-1", "ramp.wav#-1: no such file"),
    ):
        for function in (
            audio_info,
            read_audio,
            lambda p: next(stream_audio(p)),
        ):
            with pytest.raises(AudioError, match=says) as caught:
                function(path)
            assert "\n" not in str(caught.value)


def test_a_file_that_is_named_like_a_channel(two_ramps):
    literal = two_ramps.with_name("two.wav#1")
    assert split_channel(literal) == (two_ramps, 1)
    soundfile.write(
        str(literal), np.full(80, 0.5), 8000, format="WAV", subtype="PCM_16"
    )
    assert split_channel(literal) == (literal, None)
    assert read_audio(literal, sample_rate=None).tolist() == [0.5] * 80
    assert split_channel(f"{literal}#0") == (literal, 0)
    assert audio_info(f"{literal}#0").n_samples == 80


@pytest.mark.parametrize("name", ["#1", "a/#1", "a.wav#1.5", "a.wav#x"])
def test_paths_without_a_channel(name):
    assert split_channel(name) == (Path(name), None)


@pytest.mark.parametrize("suffix", [*SOUNDFILE, *FFMPEG, "mp4"])
@pytest.mark.parametrize("rate", [16000, None])
def test_slices_and_streams_equal_the_whole(media, suffix, rate):
    path = media[suffix]
    whole = read_audio(path, sample_rate=rate)
    own = audio_info(path).sample_rate
    # Lossy formats may add a codec frame at the end; wma drops its first.
    assert 2.95 <= len(whole) / (rate or own) <= 3.1
    for start, stop in ((0.0, 0.5), (1.2345, 1.9), (2.5, None)):
        part = read_audio(path, start, stop, sample_rate=rate)
        first = audio.seconds_to_samples(start, rate or own)
        expected = whole[first:]
        if stop is not None:
            last = audio.seconds_to_samples(stop, rate or own)
            expected = whole[first:last]
        assert part.shape == expected.shape
        tolerance = SLICE_TOLERANCE
        if rate is None:
            tolerance = 1e-6 if suffix == "mp3" else 0
        assert np.abs(part - expected).max() <= tolerance
    blocks = list(stream_audio(path, 0.4, sample_rate=rate))
    size = audio.seconds_to_samples(0.4, rate or own)
    assert {len(block) for block in blocks[:-1]} == {size}
    assert 0 < len(blocks[-1]) <= size
    streamed = np.concatenate(blocks)
    assert streamed.shape == whole.shape
    assert np.abs(streamed - whole).max() <= 1e-5


@pytest.mark.parametrize("rate", [8000, 11025, 37800, 48000, 44101])
def test_odd_rates(tmp_path, noise, rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(4, rate), rate, subtype="FLOAT")
    whole = read_audio(path)
    assert len(whole) == 64000
    part = read_audio(path, 2.71, 3.02)
    assert np.abs(part - whole[43360:48320]).max() <= SLICE_TOLERANCE
    streamed = np.concatenate(list(stream_audio(path, 1.0)))
    assert np.abs(streamed - whole).max() <= 1e-5


def test_stereo_stream(media):
    blocks = list(stream_audio(media["flac"], 1.0, mono=False))
    assert [block.shape for block in blocks] == [(16000, 2)] * 3
    whole = read_audio(media["flac"], mono=False)
    assert np.abs(np.concatenate(blocks) - whole).max() <= 1e-5


def test_lossless_and_lossy_hold_the_same_sound(media):
    wav = read_audio(media["wav"])
    for suffix, least in (("flac", 0.9999), ("m4a", 0.5), ("mp4", 0.5)):
        other = read_audio(media[suffix])
        # White noise is hard on codecs, but a shift by a sample gives 0.
        correlation = np.corrcoef(wav[4000:44000], other[4000:44000])[0, 1]
        assert correlation > least, suffix


def test_sound_that_starts_after_its_video(tmp_path, noise, write_media):
    path = write_media(
        tmp_path / "late.mkv",
        noise(1, 16000),
        16000,
        "flac",
        video_s=2,
        late_s=0.5,
    )
    wav = read_audio(path)
    assert len(wav) == 24000
    assert not wav[:7900].any()
    assert np.abs(wav[8000:] - noise(1)[:, 0]).max() < 1e-4


def test_stream_reads_no_more_than_it_gives(ramp, monkeypatch):
    taken = []
    original = audio._finite

    def counted(*arguments):
        for block in original(*arguments):
            taken.append(len(block))
            yield block

    monkeypatch.setattr(audio, "_BLOCK", 1000)
    monkeypatch.setattr(audio, "_finite", counted)
    next(stream_audio(ramp, block_s=0.1))
    assert sum(taken) == 2000  # 0.1 s are 1600 samples


def bad_files(folder, write_media):
    (folder / "text.wav").write_text("These are words.\n" * 99)
    (folder / "text.mp3").write_text("These are words.\n" * 99)
    (folder / "text.aac").write_text("These are words.\n" * 99)
    (folder / "nothing.wav").write_bytes(b"")
    soundfile.write(folder / "zero.wav", np.zeros(0), 16000)
    (folder / "folder.wav").mkdir()
    write_media(folder / "silent.mp4", video_s=1)
    write_media(folder / "picture.mkv", video_s=0.04)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        wav = np.zeros((32000, 2), np.float32)
        wav[24000, 1] = value
        soundfile.write(folder / f"{name}.wav", wav, 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    "name, says",
    [
        ("missing.wav", "no such file"),
        ("folder.wav", "is a folder"),
        ("text.wav", "is not an audio or video file"),
        ("text.mp3", "is not an audio or video file"),
        ("text.aac", "is not an audio or video file"),
        ("nothing.wav", "is empty"),
        ("zero.wav", "no samples"),
        ("silent.mp4", "has no sound"),
        ("picture.mkv", "has no sound"),
        ("nan.wav", "at 1.500 s is not a finite"),
        ("inf.wav", "at 1.500 s is not a finite"),
    ],
)
def test_bad_files(tmp_path, write_media, capfd, name, says):
    bad_files(tmp_path, write_media)
    capfd.readouterr()
    for function in (read_audio, lambda path: list(stream_audio(path, 0.1))):
        with pytest.raises(AudioError) as caught:
            function(tmp_path / name)
        message = str(caught.value)
        assert says in message
        assert message.startswith(str(tmp_path / name))
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_list_of_files_is_no_recording(tmp_path):
    """What a stranger sends must not name another file to be read."""
    (tmp_path / "songs").mkdir()
    secret = tmp_path / "secret.mp3"
    audio.write_audio(secret, np.zeros(16000), 16000)
    texts = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
        f"file://{secret}\n#EXT-X-ENDLIST\n",
        "b.mp3": "ffconcat version 1.0\nfile secret.mp3\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="but a list of files"):
            audio.read_audio(tmp_path / name)


def test_slice_is_read_although_the_rest_is_not_finite(tmp_path, write_media):
    bad_files(tmp_path, write_media)
    assert len(read_audio(tmp_path / "nan.wav", 0, 1.5)) == 24000
    with pytest.raises(AudioError, match=r"at 1\.500 s"):
        read_audio(tmp_path / "nan.wav", 1.2, 1.6)


def test_a_hole_in_the_middle_is_an_error(tmp_path, noise, write_media):
    path = write_media(tmp_path / "a.m4a", noise(3, 44100, 1))
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 20000
    data[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"is damaged at [12]\.\d+ s"):
        read_audio(path)


def test_a_header_with_an_absurd_rate(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(99), 16)
    with pytest.raises(AudioError, match="16 samples per second"):
        read_audio(path)


@pytest.mark.parametrize(
    "start, stop, says",
    [
        (-1, None, "cannot start"),
        (math.nan, None, "cannot start"),
        (1, 1, "ends at 1 s but starts at 1 s"),
        (1, 1.00001, "no sample lies between"),
        (2.0, None, r"after the end of 2\.000 s"),
        (7, 8, r"start reading at 7 s, after the end of 2\.000 s"),
    ],
)
def test_bad_slices(ramp, start, stop, says):
    with pytest.raises(AudioError, match=says):
        read_audio(ramp, start, stop)


def test_bad_rate(ramp):
    with pytest.raises(AudioError, match="no sample rate"):
        read_audio(ramp, sample_rate=0)


def test_write_and_read(tmp_path, noise):
    wav = noise(1)
    for name, tolerance in (("a.wav", 2**-15), ("a.flac", 2**-15)):
        path = write_audio(tmp_path / name, wav, 16000)
        assert np.abs(read_audio(path) - wav[:, 0]).max() <= tolerance
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"
    path = write_audio(tmp_path / "b.wav", 3 * wav, 16000)
    assert np.array_equal(read_audio(path), 3 * wav[:, 0])
    assert soundfile.info(write_audio(tmp_path / "c.opus", wav, 16000))


def test_write_errors_leave_nothing(tmp_path, noise):
    wav = noise(0.1)
    for name, signal, options, says in (
        ("a.flac", 3 * wav, {}, "peak 1.499 is over 1"),
        ("a.wav", 3 * wav, {"subtype": "PCM_24"}, "would be clipped"),
        ("a.wav", wav * np.nan, {}, "not finite"),
        ("a.wav", wav[:0], {}, "0 samples"),
        ("a.xyz", wav, {}, "into a '.xyz' file"),
        ("a.flac", wav, {"subtype": "FLOAT"}, "cannot write FLOAT"),
    ):
        with pytest.raises(AudioError, match=says):
            write_audio(tmp_path / name, signal, 16000, **options)
    assert not list(tmp_path.iterdir())
    write_audio(tmp_path / "a.wav", wav, 16000)
    with pytest.raises(OutputError, match="exists already"):
        write_audio(tmp_path / "a.wav", wav, 16000)
    write_audio(tmp_path / "a.wav", wav / 2, 16000, overwrite=True)
    assert read_audio(tmp_path / "a.wav").max() < 0.26
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_resample_keeps_a_sine():
    def sine(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    made = resample(sine(44100), 44100, 16000)
    assert np.abs(made - sine(16000))[500:-500].max() < 1e-4
    for count, rate in itertools.product((1, 99, 441, 442), (8000, 48000)):
        expected = math.floor(count * 16000 / rate + 0.5)
        assert len(resample(np.zeros(count), rate, 16000)) == expected


def test_level():
    wav = np.sin(np.arange(16000) * 2 * np.pi / 160)
    assert level_db(wav) == pytest.approx(-3.0103, abs=1e-3)
    assert level_db(np.zeros(9)) == -math.inf


# --- Several tracks in one file --------------------------------------------


def tones(hz, seconds=1.0, rate=44100, channels=2):
    time = np.arange(round(seconds * rate)) / rate
    return np.outer(np.sin(2 * np.pi * hz * time), np.full(channels, 0.3))


def test_tracks_come_back_in_order(tmp_path):
    tracks = [tones(300), tones(500, channels=1), tones(800)]
    path = write_tracks(tmp_path / "a.stem.mp4", tracks, 44100)
    infos = audio_tracks(path)
    assert [info.channels for info in infos] == [2, 1, 2]
    assert {info.sample_rate for info in infos} == {44100}
    for number, track in enumerate(tracks):
        blocks = list(stream_audio(path, 0.3, None, False, track=number))
        assert len(blocks[0]) == 13230
        wav = np.concatenate(blocks)
        # Aligned to the sample; the coder pads the end to whole frames.
        assert 44100 <= len(wav) < 44100 + 2048
        inside = slice(4410, 39690)
        assert (
            np.abs(wav - np.pad(track, [(0, len(wav) - 44100), (0, 0)]))[
                inside
            ].max()
            < 0.02
        )
    first = read_audio(path, sample_rate=None, mono=False)
    blocks = stream_audio(path, sample_rate=None, mono=False)
    assert np.array_equal(np.concatenate(list(blocks)), first)
    again = write_tracks(tmp_path / "b.mp4", tracks, 44100)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_has_one_track_at_least(ramp, media):
    (info,) = audio_tracks(ramp)
    assert info == audio_info(ramp)
    assert audio_tracks(media["mp4"]) == [audio_info(media["mp4"])]
    for path in (ramp, media["mp4"]):
        with pytest.raises(
            AudioError, match="no sound track 1: the file has 1, counted"
        ):
            next(stream_audio(path, track=1))


@pytest.mark.parametrize(
    ("tracks", "rate", "says"),
    [
        ([], 44100, "cannot write 0 tracks"),
        ([np.zeros((0, 2))], 44100, "tracks of 0 samples"),
        ([np.zeros(9), np.zeros(8)], 44100, "tracks of 8 and 9 samples"),
        ([np.full(9, np.nan)], 44100, "not finite"),
        ([np.zeros(2000)], 12345, "a.mp4: cannot be written"),
        ([np.zeros((2000, 3))], 44100, "has 3 channels: give one or two"),
    ],
)
def test_bad_tracks(tracks, rate, says, tmp_path):
    with pytest.raises(AudioError, match=says):
        write_tracks(tmp_path / "a.mp4", tracks, rate)
    assert list(tmp_path.iterdir()) == []


def test_tracks_replace_no_file(tmp_path):
    path = write_tracks(tmp_path / "a.mp4", [tones(300)], 44100)
    with pytest.raises(OutputError, match="exists already"):
        write_tracks(path, [tones(400)], 44100)
    write_tracks(path, [tones(400, 0.5)], 44100, overwrite=True)
    assert audio_info(path).duration == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("to_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("block", [7, 5000, 99999])
def test_a_stream_is_resampled_as_the_whole(noise, to_rate, block):
    wav = noise(1, 16000, 2)
    parts = list(
        resample_stream(
            [wav[k : k + block] for k in range(0, len(wav), block)],
            16000,
            to_rate,
            2,
        )
    )
    whole = resample(wav, 16000, to_rate)
    joined = np.concatenate(parts)
    assert joined.shape == whole.shape
    assert np.abs(joined - whole).max() < SLICE_TOLERANCE
    assert list(resample_stream([], 16000, to_rate, 2)) == []


@pytest.mark.parametrize("block", [1, 100, 10000])
@pytest.mark.parametrize(
    "suffix, subtype, tolerance",
    [
        (".wav", None, 2**-16),
        (".wav", "PCM_24", 2**-24),
        (".wav", "FLOAT", 0),
        (".flac", None, 2**-16),
        (".flac", "PCM_24", 2**-24),
    ],
)
def test_blocks_are_written_one_after_the_other(
    tmp_path, noise, block, suffix, subtype, tolerance
):
    wav = noise(0.05, 44100, 2)
    path = tmp_path / f"a{suffix}"
    with AudioWriter(path, 44100, 2, subtype) as writer:
        for start in range(0, len(wav), block):
            writer.write(wav[start : start + block])
    info = audio_info(path)
    assert (info.sample_rate, info.subtype) == (44100, subtype or "PCM_16")
    found = read_audio(path, sample_rate=None, mono=False)
    assert np.abs(found - wav).max() <= tolerance
    assert writer.peak == np.abs(wav).max() and writer.clipped == 0


@pytest.mark.parametrize("rate", AudioWriter.MP3_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_of_any_rate(tmp_path, rate, channels):
    times = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * times) * np.minimum(1, 4 * times)
    wav = np.repeat(tone[:, None], channels, axis=1)
    path = tmp_path / "a.mp3"
    with AudioWriter(path, rate, channels) as writer:
        for start in range(0, rate, 1000):
            writer.write(wav[start : start + 1000])
    info = audio_info(path)
    assert (info.sample_rate, info.channels) == (rate, channels)
    found = read_audio(path, sample_rate=None, mono=False)
    assert found.shape == wav.shape
    assert np.abs(found - wav)[: -rate // 20].max() < 0.02


def test_writing_floats_where_integers_would_clip(tmp_path):
    path = tmp_path / "a.wav"
    wav = np.linspace(0, 1.5, 3000)[:, None]
    with AudioWriter(path, 8000, 1) as writer:
        for start in range(0, 3000, 500):
            writer.write(wav[start : start + 500])
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert (writer.peak, writer.clipped) == (1.5, 0)
    found = read_audio(path, sample_rate=None)
    assert audio_info(path).subtype == "FLOAT"
    assert np.abs(found - wav[:, 0]).max() <= 2**-16
    with AudioWriter(tmp_path / "a.flac", 8000, 1) as writer:
        writer.write(wav)
    assert writer.clipped == (wav > 1).sum() == 1000
    found = read_audio(tmp_path / "a.flac", sample_rate=None)
    assert np.abs(found - np.minimum(wav[:, 0], 1)).max() <= 2**-15


def test_long_files_get_the_header_for_them(tmp_path):
    for hours, kind in ((1, "WAV"), (10, "RF64")):
        path = tmp_path / f"{kind}.wav"
        with AudioWriter(path, 44100, 2, "FLOAT", 3600 * hours) as writer:
            writer.write(np.full((10, 2), 0.5))
        assert soundfile.info(path).format == kind
        found = read_audio(path, sample_rate=None, mono=False)
        assert found.tolist() == [[0.5, 0.5]] * 10


def test_what_a_writer_refuses(tmp_path):
    for suffix, rate, channels, says in (
        (".ogg", 44100, 1, r"a\.ogg: cannot write a '\.ogg' file: use \.wav"),
        (".mp3", 44100, 3, "MP3 holds 2 channels and not 3"),
        (".mp3", 96000, 2, "MP3 knows no rate of 96000 Hz"),
        (".flac", 44100, 9, "FLAC holds at most 8 channels"),
    ):
        with pytest.raises(AudioError, match=says):
            AudioWriter(tmp_path / f"a{suffix}", rate, channels)
    with pytest.raises(OutputError, match="song: cannot be written"):
        AudioWriter(tmp_path / "no" / "a.wav", 44100, 1, name="song")
    assert list(tmp_path.iterdir()) == []


def test_formats_that_keep_what_there_is():
    for own, wav, flac in (
        ("PCM_16", "PCM_16", "PCM_16"),
        ("PCM_U8", "PCM_16", "PCM_16"),
        ("PCM_24", "PCM_24", "PCM_24"),
        ("PCM_32", "PCM_32", "PCM_24"),
        ("DOUBLE", "FLOAT", "PCM_24"),
        (None, "PCM_16", "PCM_16"),
    ):
        assert kept_subtype(".wav", own) == wav
        assert kept_subtype(".flac", own) == flac
        assert kept_subtype(".mp3", own) is None


def test_the_sample_format_is_told(tmp_path, media):
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 8000, subtype="PCM_24")
    assert audio_info(tmp_path / "a.wav").subtype == "PCM_24"
    assert audio_info(f"{tmp_path / 'a.wav'}#0").subtype == "PCM_24"
    assert audio_info(media["m4a"]).subtype is None
