"""Separation of a person's own recordings."""

import sys
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from speechbrain_ext.audio import audio_info, read_audio
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    ModelError,
    OutputError,
)
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.separation.separator import MaskSeparator


@pytest.fixture(scope="module")
def separator(tiny_separator):
    return VoiceSeparator.from_hparams(tiny_separator)


class Shares(nn.Module):
    """Waveforms that are known shares of the mixture."""

    sample_rate = 44100
    channels = 2
    context_s = 0.0

    def __init__(self, **shares):
        super().__init__()
        self.sources = tuple(shares)
        self.shares = torch.tensor(list(shares.values()))

    def forward(self, mixture):
        return self.shares.view(-1, 1, 1) * mixture.unsqueeze(1)


class Loud(nn.Module):
    """A voice twice as loud as the mixture, against an accompaniment."""

    context_frames = 0

    def forward(self, spec):
        mask = 2 * torch.ones(spec.shape)
        return torch.stack([mask, 1 - mask], 1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "shape, rate",
    [
        ((1,), 44100),
        ((1, 2), 8000),
        ((4001,), 16000),
        ((30000, 2), 44100),
        ((20000, 6), 22050),
        ((40000, 1), 96000),
    ],
)
def test_stems_add_up(separator, noise, shape, rate):
    wav = np.random.default_rng(0).uniform(-1, 1, shape).astype("f4")
    stems = separator.separate(wav, rate)
    assert list(stems) == ["vocals", "accompaniment"]
    assert all(stem.shape == shape for stem in stems.values())
    assert all(stem.dtype == np.float32 for stem in stems.values())
    assert np.abs(sum(stems.values()) - wav).max() < 1e-6
    if len(wav) > 1000:
        assert all(stem.std() > 0.1 * wav.std() for stem in stems.values())


def test_the_level_is_kept(separator, noise):
    wav = noise(2, 44100, 2)
    loud = separator.separate(wav, 44100)
    model = separator.separator
    with torch.inference_mode():
        expected = model(torch.from_numpy(noise(2).T)[None])[0, 0, 0].numpy()
    own = separator.separate(noise(2)[:, 0], 16000)["vocals"]
    assert np.abs(own - expected).max() < 2e-6
    assert sum(loud.values()).std() == pytest.approx(wav.std(), rel=1e-5)


def test_silence_stays_silence(separator):
    stems = separator.separate(np.zeros((5000, 2)), 44100)
    assert not any(stem.any() for stem in stems.values())


def test_file_and_signal_agree(separator, noise, tmp_path):
    wav = noise(7, 44100, 2)
    soundfile.write(tmp_path / "a.wav", wav, 44100, subtype="FLOAT")
    seconds, heard = [], []
    outputs = {
        tmp_path / "voice.wav": "vocals",
        tmp_path / "rest.flac": "accompaniment",
        tmp_path / "mono.wav": "mixture",
    }
    done = separator.separate_file(
        tmp_path / "a.wav",
        outputs,
        progress=seconds.append,
        listen=lambda rate, parts: heard.append((rate, parts["mixture"])),
    )
    assert done == (7.0, 44100, 2, [])
    assert seconds[-1] == 7.0 and seconds == sorted(seconds)
    assert {rate for rate, _ in heard} == {44100}
    stems = separator.separate(wav, 44100, ["vocals", "accompaniment"])
    voice, rest, mono = (soundfile.read(path)[0] for path in outputs)
    assert np.abs(voice - stems["vocals"]).max() < 1e-6
    assert np.abs(rest - stems["accompaniment"]).max() < 2**-23
    assert np.abs(mono - wav.mean(axis=1)).max() < 1e-6
    mixture = np.concatenate([part for _, part in heard])[:, 0]
    assert np.array_equal(mixture.astype("f4"), mono.astype("f4"))
    kinds = {p.name: audio_info(p).subtype for p in outputs}
    assert kinds == {
        "voice.wav": "FLOAT",
        "rest.flac": "PCM_24",
        "mono.wav": "FLOAT",
    }


@pytest.mark.parametrize(
    "subtype, kept", [("PCM_16", "PCM_16"), ("PCM_24", "PCM_24")]
)
def test_stems_in_integers_add_up(separator, noise, tmp_path, subtype, kept):
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(1, 48000, 2), 48000, subtype=subtype)
    for suffix in ("wav", "flac"):
        outputs = {
            tmp_path / f"{stem}.{suffix}": stem
            for stem in ("vocals", "accompaniment")
        }
        separator.separate_file(song, outputs)
        stems = [soundfile.read(path)[0] for path in outputs]
        assert {audio_info(path).subtype for path in outputs} == {kept}
        assert np.abs(sum(stems) - soundfile.read(song)[0]).max() < 1e-4


def test_peaks_over_full_scale(tmp_path, noise):
    separator = VoiceSeparator(MaskSeparator(Loud()))
    song = tmp_path / "song.wav"
    times = np.arange(32000) / 16000
    wav = np.where(times < 1, 0.25, 0.75) * np.sin(2 * np.pi * 440 * times)
    soundfile.write(song, wav, 16000)
    done = separator.separate_file(
        song,
        {
            tmp_path / "v.wav": "vocals",
            tmp_path / "v.flac": "vocals",
            tmp_path / "v.mp3": "vocals",
            tmp_path / "a.wav": "accompaniment",
        },
    )
    floats, clipped, kept = done.warnings
    assert "v.wav: the peak is 1.500, over 1: written as floats" in floats
    assert "v.flac: the peak is 1.500" in clipped
    count = int((np.abs(2 * soundfile.read(song)[0]) > 1).sum())
    assert f"{count} samples are clipped in PCM_16" in clipped
    assert "kept in the MP3" in kept
    voice, rest = (
        soundfile.read(tmp_path / name)[0] for name in ("v.wav", "a.wav")
    )
    assert np.abs(voice + rest - wav).max() < 1e-4
    assert np.abs(voice - 2 * wav).max() < 1e-4
    assert soundfile.read(tmp_path / "v.flac")[0].max() > 0.999
    assert read_audio(tmp_path / "v.mp3").max() == pytest.approx(1.5, abs=0.1)
    assert names(tmp_path) == ["a.wav", "song.wav", "v.flac", "v.mp3", "v.wav"]


def test_video_and_mp3(separator, noise, write_media, tmp_path):
    wav = noise(1, 44100, 2)
    write_media(tmp_path / "clip.mp4", wav, video_s=1)
    write_media(tmp_path / "song.mp3", wav, codec="mp3")
    for name in ("clip.mp4", "song.mp3"):
        song = read_audio(tmp_path / name, sample_rate=None, mono=False)
        outputs = {
            tmp_path / f"{stem}.wav": stem
            for stem in ("vocals", "accompaniment")
        }
        done = separator.separate_file(tmp_path / name, outputs, overwrite=True)
        assert (done.sample_rate, done.channels) == (44100, 2)
        stems = [
            read_audio(path, sample_rate=None, mono=False) for path in outputs
        ]
        assert sum(stems).shape == song.shape
        assert np.abs(sum(stems) - song).max() < 1e-4


def test_mp3_keeps_length_and_place(separator, tmp_path):
    times = np.arange(2 * 44100) / 44100
    wav = 0.5 * np.sin(2 * np.pi * 300 * times) * np.minimum(times, 1)
    soundfile.write(tmp_path / "a.wav", wav, 44100)
    separator.separate_file(tmp_path / "a.wav", {tmp_path / "a.mp3": "mixture"})
    heard = read_audio(tmp_path / "a.mp3", sample_rate=None)
    assert len(heard) == len(wav)
    assert np.abs(heard - wav)[1000:-1000].max() < 0.01


@pytest.mark.parametrize("cut", [44 + 4 * 10000 + 3, 60])
def test_a_file_cut_short(separator, noise, tmp_path, cut):
    whole, part = tmp_path / "whole.wav", tmp_path / "part.wav"
    soundfile.write(whole, noise(1, 44100, 2), 44100)
    part.write_bytes(whole.read_bytes()[:cut])
    outputs = {tmp_path / "v.wav": "vocals", tmp_path / "m.wav": "mixture"}
    done = separator.separate_file(part, outputs)
    samples = (cut - 44) // 4
    assert done.seconds == pytest.approx(samples / 44100)
    assert {audio_info(path).n_samples for path in outputs} == {samples}


def test_files_are_written_together_or_not_at_all(separator, noise, tmp_path):
    song = tmp_path / "song.wav"
    wav = noise(12, 16000)
    wav[11 * 16000] = np.nan
    soundfile.write(song, wav, 16000, subtype="FLOAT")
    outputs = {tmp_path / "v.wav": "vocals", tmp_path / "a.mp3": "mixture"}
    with pytest.raises(AudioError, match="11.000 s is not a finite"):
        separator.separate_file(song, outputs)
    assert names(tmp_path) == ["song.wav"]
    wav[11 * 16000] = 0
    soundfile.write(song, wav, 16000, subtype="FLOAT")
    (tmp_path / "a.mp3").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.mp3: exists already"):
        separator.separate_file(song, outputs)

    def late(seconds):
        (tmp_path / "v.wav").write_text("somebody else's")

    with pytest.raises(OutputError, match=r"v\.wav: exists already"):
        separator.separate_file(
            song, {tmp_path / "v.wav": "vocals"}, progress=late
        )
    assert (tmp_path / "a.mp3").read_text() == "mine"
    assert names(tmp_path) == ["a.mp3", "song.wav", "v.wav"]
    separator.separate_file(song, outputs, overwrite=True)
    assert audio_info(tmp_path / "v.wav").n_samples == len(wav)


def test_formats_that_cannot_hold_the_song(separator, noise, tmp_path):
    song = tmp_path / "song.wav"
    for rate, channels, says in (
        (96000, 1, "knows no rate of 96000 Hz"),
        (44100, 6, "MP3 holds 2 channels and not 6"),
    ):
        soundfile.write(song, noise(0.01, rate, channels), rate)
        with pytest.raises(AudioError, match=says):
            separator.separate_file(song, {tmp_path / "v.mp3": "vocals"})
        assert names(tmp_path) == ["song.wav"]
    with pytest.raises(AudioError, match=r"cannot write a '\.txt' file"):
        separator.separate_file(song, {tmp_path / "v.txt": "vocals"})


def test_stems_of_a_model_with_more_sources(noise):
    wav = noise(0.5, 44100, 2)
    shares = {"drums": 0.5, "bass": 0.1, "other": 0.1, "vocals": 0.2}
    separator = VoiceSeparator(Shares(**shares))
    assert separator.stems == (*shares, "accompaniment")

    def found(*stems, add_up=True):
        separator.add_up = add_up
        parts = separator.separate(wav, 44100, stems or None)
        return {
            name: float(np.vdot(part, wav) / np.vdot(wav, wav))
            for name, part in parts.items()
        }

    assert found() == pytest.approx({"vocals": 0.2, "accompaniment": 0.8})
    # The sources add up to 0.9: the rest goes to the one called other.
    assert found(*shares) == pytest.approx({**shares, "other": 0.2})
    assert found(*shares, add_up=False) == pytest.approx(shares)
    assert found("other") == pytest.approx({"other": 0.2})
    mono = separator.separate(wav, 44100, ["mixture"])["mixture"]
    assert np.abs(mono - wav.mean(axis=1)).max() < 1e-7
    separator = VoiceSeparator(Shares(lead=0.25, backing=0.5))
    assert separator.checked_stems() == ("lead", "backing")
    assert found() == pytest.approx({"lead": 0.25, "backing": 0.75})


@pytest.mark.parametrize(
    "wav, says",
    [
        (np.zeros(0), r"shape \(0,\)"),
        (np.zeros((2, 0)), r"shape \(2, 0\)"),
        (np.zeros((1, 2, 3)), r"shape \(1, 2, 3\)"),
        (np.array([0, np.inf]), "not finite"),
        (np.full(9000, 1e38), "its level is far outside -1 to 1"),
    ],
)
def test_bad_signals(separator, wav, says):
    with pytest.raises(AudioError, match=says):
        separator.separate(wav, 44100)


def test_bad_settings(separator, tiny_separator, tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="no stem 'drums': use some of voc"):
        separator.separate(np.zeros(9), 8000, ["drums"])
    with pytest.raises(ConfigError, match="no stem: name some of vocals, acc"):
        separator.separate(np.zeros(9), 8000, [])
    with pytest.raises(ModelError, match="chunk_s is 0 s"):
        VoiceSeparator(separator.separator, chunk_s=0)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        VoiceSeparator(separator.separator, batch_size=0)
    with pytest.raises(ModelError, match="has no usable 'separator'"):
        VoiceSeparator.from_hparams(tiny_model)
    with pytest.raises(ModelError, match="works at 8000 Hz but its separator"):
        VoiceSeparator.from_hparams(
            tiny_separator,
            overrides={"sample_rate": 8000, "separator": {"sample_rate": 9000}},
        )
    with pytest.raises(ConfigError, match="no key 'chunk'"):
        VoiceSeparator.from_hparams(tiny_separator, overrides={"chunk": 1})
    changed = VoiceSeparator.from_hparams(
        tiny_separator, overrides={"chunk_s": 7}
    )
    assert changed.chunk_s == 7 and changed.model_name == "tiny-separator"


# --- demucs ----------------------------------------------------------------


class FakeDemucs(nn.Module):
    """As demucs's models look from outside."""

    sources = ("drums", "bass", "other", "vocals")
    samplerate = 44100
    audio_channels = 2
    max_allowed_segment = 1.5


@pytest.fixture
def demucs(monkeypatch):
    """A package demucs whose voice is a quarter of the mixture."""
    calls = []
    package, pretrained, apply = (
        ModuleType(name)
        for name in ("demucs", "demucs.pretrained", "demucs.apply")
    )

    def get_model(name):
        if name == "offline":
            raise ConnectionError("no route to host")
        if name != "htdemucs":
            raise RuntimeError(f"Could not find {name}")
        return FakeDemucs()

    def apply_model(model, mix, shifts, split, device):
        assert isinstance(model, FakeDemucs) and not shifts and not split
        calls.append(tuple(mix.shape))
        shares = torch.tensor([0.5, 0.125, 0.125, 0.25]).view(4, 1, 1)
        return shares * mix.unsqueeze(1)

    pretrained.get_model, apply.apply_model = get_model, apply_model
    for module in (package, pretrained, apply):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_demucs(demucs, noise):
    separator = VoiceSeparator.from_hparams("demucs:htdemucs")
    wav = noise(4, 44100, 1)[:, 0]
    stems = separator.separate(wav, 44100)
    assert np.abs(stems["vocals"] - 0.25 * wav).max() < 1e-6
    assert np.abs(stems["accompaniment"] - 0.75 * wav).max() < 1e-6
    # Segments of 1.5 s in stereo, a quarter of them faded.
    assert demucs[0] == (1, 2, 66150)
    assert len(demucs) == 4
    drums = separator.separate(wav, 44100, ["drums"])["drums"]
    assert np.abs(drums - 0.5 * wav).max() < 1e-6


def test_demucs_that_cannot_be_used(demucs, monkeypatch):
    def load(name, **options):
        return VoiceSeparator.from_hparams(f"demucs:{name}", **options)

    with pytest.raises(DependencyError, match="no route to host"):
        load("offline")
    with pytest.raises(ModelError, match="cannot be loaded .Could not find"):
        load("htdemics")
    for name in ("", "hf://somebody/model", "../x"):
        with pytest.raises(ModelError, match="is no name: try demucs:htdem"):
            load(name)
    with pytest.raises(ConfigError, match="no settings to override: .*chunk_s"):
        load("htdemucs", overrides={"chunk_s": 3})
    monkeypatch.setitem(sys.modules, "demucs", None)
    monkeypatch.delitem(sys.modules, "demucs.pretrained")
    with pytest.raises(DependencyError, match=r'pip install "singbrain\[demu'):
        load("htdemucs")
