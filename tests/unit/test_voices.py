"""Changes of single voices: pitch, formants, timing, vibrato, room."""

import numpy as np
import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.mixing.voices import (
    MARGIN_S,
    PUBLISHED_CHANGES,
    ChangeRanges,
    VoiceChange,
    add_room,
    change_voices,
    read_at,
    shift_formants,
    stretch,
)

RATE = 16000


def vowel(hz, formant=900.0, seconds=1.0, floor=0.002):
    """A steady voice with one formant, (1, samples)."""
    time = np.arange(round(seconds * RATE)) / RATE
    wav = sum(
        (1 / (1 + ((k * hz - formant) / 120) ** 2) + floor)
        * np.sin(2 * np.pi * k * hz * time + k * k)
        for k in range(1, int(RATE / 2 / hz))
    )
    return torch.tensor(wav / np.abs(wav).max() / 2, dtype=torch.float32)[None]


def spectrum(wav):
    """Power of the middle of a voice in bins of 1 Hz."""
    middle = wav[2000:-2000].double().numpy()
    return np.abs(np.fft.rfft(middle * np.hanning(len(middle)), RATE)) ** 2


def pitch(wav, near):
    """Fundamental frequency within a third of an octave of a guess."""
    power = spectrum(wav)
    grid = near * 2 ** np.linspace(-1 / 6, 1 / 6, 4001)
    comb = sum(
        np.interp(k * grid, np.arange(len(power)), power**0.25)
        for k in range(1, 8)
    )
    return grid[np.argmax(comb)]


def cents(one, other):
    return 1200 * np.log2(one / other)


def centre(wav, low, high):
    """Mean frequency of the power in a band."""
    hz = np.arange(low, high)
    power = spectrum(wav)[low:high]
    return (hz * power).sum() / power.sum()


def rms(wav):
    return float(wav.square().mean().sqrt())


def test_reading_between_samples():
    """Error of a sine at 0.7 of half the rate: below -60 dB."""
    steps = torch.arange(4000, dtype=torch.float64)
    angle = 0.7 * np.pi
    wav = torch.sin(angle * steps)[None].float()
    at = torch.linspace(100, 3800, 5000, dtype=torch.float64)[None]
    error = read_at(wav, at) - torch.sin(angle * at)
    assert error.abs().max() < 1e-3
    assert torch.allclose(read_at(wav, steps[None]), wav, atol=1e-5)
    outside = torch.tensor([[-40.0, 4100.0]])
    assert torch.equal(read_at(wav, outside), torch.zeros(1, 2))


def test_time_line_as_it_was():
    wav = vowel(200)
    times = torch.arange(60)[None] * 0.015
    same = stretch(wav, RATE, times)
    assert same.shape == (1, 59 * 240)
    assert torch.allclose(same, wav[:, : 59 * 240], atol=1e-6)


@pytest.mark.parametrize(
    "hz, semitones",
    [(110.0, -0.2), (110.0, 12.0), (220.0, 0.2), (220.0, -12.0), (440.0, 3.0)],
)
def test_pitch_moves_and_formant_stays(hz, semitones):
    wav = vowel(hz)
    change = VoiceChange(semitones=semitones)
    (other,) = change_voices(wav, RATE, [change])
    assert other.shape == wav[0].shape
    wanted = hz * 2 ** (semitones / 12)
    assert abs(cents(pitch(other, wanted), wanted)) < 5
    assert rms(other) == pytest.approx(rms(wav[0]), rel=1e-4)
    # The strongest partial is one of the two beside the formant.
    strongest = np.argmax(spectrum(other))
    assert abs(strongest - 900) < max(wanted, hz) + 10


def test_lowered_voice_keeps_its_band():
    """Half the rate again would be empty; a trivial cue for a separator."""
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    (low,) = change_voices(noise, RATE, [VoiceChange(semitones=-12)])
    power = spectrum(low)
    upper = 10 * np.log10(power[5000:7800].mean() / power[500:3500].mean())
    assert abs(upper) < 3


@pytest.mark.parametrize("ratio", [1.3, 1 / 1.3])
def test_formant_moves_and_pitch_stays(ratio):
    wav = vowel(110)
    (other,) = shift_formants(wav, RATE, ratio)
    assert abs(cents(pitch(other, 110), 110)) < 2
    before, after = centre(wav[0], 300, 2000), centre(other, 300, 2000)
    assert after / before == pytest.approx(ratio, rel=0.1)
    both = VoiceChange(semitones=4, formants=ratio)
    (other,) = change_voices(wav, RATE, [both])
    assert centre(other, 300, 2000) / before == pytest.approx(ratio, rel=0.12)


def test_timing_moves_sounds_and_not_pitch():
    wav = vowel(200)
    wav[:, :6400] = 0
    wav[:, 9600:] = 0
    for late in (0.05, -0.05):
        (other,) = change_voices(wav, RATE, [VoiceChange(timing_s=(late,))])
        sounding = np.flatnonzero(other.abs().numpy() > 0.05)
        assert abs(sounding[0] / RATE - 0.4 - late) < 0.02
        assert abs(sounding[-1] / RATE - 0.6 - late) < 0.02
    steady = vowel(200)
    wandering = VoiceChange(timing_s=(0.02, -0.02, 0.02, -0.02))
    (other,) = change_voices(steady, RATE, [wandering])
    assert abs(cents(pitch(other, 200), 200)) < 3
    assert not torch.allclose(other, steady[0], atol=0.05)


def test_early_voice_reads_the_lead():
    """With what lies before the segment, an early voice has no gap."""
    wav = vowel(200, seconds=1.0 + 2 * MARGIN_S)
    early = VoiceChange(timing_s=(-MARGIN_S,))
    (other,) = change_voices(wav, RATE, [early], MARGIN_S, 1.0)
    assert other.shape == (RATE,)
    assert rms(other[-800:]) > 0.5 * rms(other)


def test_duration():
    wav = vowel(200)
    wav[:, 8000:] = 0
    (longer,) = change_voices(wav, RATE, [VoiceChange(duration=1.5)])
    sounding = np.flatnonzero(longer.abs().numpy() > 0.05)
    assert abs(sounding[-1] / RATE - 0.75) < 0.02


def test_vibrato():
    """Rate and depth, from the phase of a sine."""
    time = torch.arange(RATE) / RATE
    wav = torch.sin(2 * torch.pi * 400 * time)[None]
    change = VoiceChange(vibrato_hz=5.0, vibrato_cents=50.0)
    (other,) = change_voices(wav, RATE, [change])
    half = np.fft.fft(other.double().numpy())
    half[RATE // 2 :] = 0
    hz = np.diff(np.unwrap(np.angle(np.fft.ifft(half)))) * RATE / 2 / np.pi
    curve = cents(hz[1600:-1600], 400)
    assert abs(np.max(curve) - 50) < 5 and abs(np.min(curve) + 50) < 5
    wave = np.abs(np.fft.rfft(curve - curve.mean(), RATE))
    assert abs(np.argmax(wave) - 5) < 0.5


def test_room():
    click = torch.zeros(RATE)
    click[100] = 1.0
    wet = add_room(click, RATE, seed=3, level_db=-6.0)
    assert wet[100] == pytest.approx(1.0, abs=1e-4)
    assert wet[:100].abs().max() < 1e-4
    tail = wet.clone()
    tail[100] = 0
    level = 10 * np.log10(float(tail.square().sum()))
    assert level == pytest.approx(-6.0, abs=0.5)
    change = VoiceChange(room_seed=3, room_db=-6.0)
    (voice,) = change_voices(click[None], RATE, [change])
    assert torch.allclose(voice, wet, atol=1e-6)


def test_batch_equals_single_voices():
    wavs = torch.cat([vowel(110), vowel(330), vowel(200), vowel(250)])
    changes = [
        VoiceChange(semitones=3, formants=0.8, timing_s=(0.01, -0.02)),
        VoiceChange(semitones=-12, vibrato_cents=30),
        VoiceChange(duration=0.9, room_seed=1),
        VoiceChange(formants=1.2),
    ]
    together = change_voices(wavs, RATE, changes)
    for k, change in enumerate(changes):
        (alone,) = change_voices(wavs[k : k + 1], RATE, [change])
        assert torch.allclose(together[k], alone, atol=1e-3), k


def test_nothing_to_change():
    wav = vowel(200)
    assert torch.equal(change_voices(wav, RATE, [VoiceChange()]), wav)
    cut = change_voices(wav, RATE, [VoiceChange()], 0.25, 0.5)
    assert torch.equal(cut, wav[:, 4000:12000])


def test_silence_and_level():
    change = VoiceChange(semitones=5, formants=1.3, timing_s=(0.01, 0))
    silence = change_voices(torch.zeros(1, RATE), RATE, [change])
    assert torch.equal(silence, torch.zeros(1, RATE))
    wav = vowel(200)
    wav[:, :5000] = 0
    one, half = (change_voices(x, RATE, [change]) for x in (wav, wav / 8))
    assert torch.allclose(one / 8, half, atol=1e-4)
    assert torch.isfinite(one).all()


def test_draws():
    """Ranges and shares of 400 draws; the same generator, the same draw."""
    rng = np.random.default_rng(0)
    drawn = [ChangeRanges().draw(rng, 3.0) for _ in range(400)]
    octaves = [round(c.semitones / 12) for c in drawn]
    assert {octaves.count(k) > 90 for k in (-1, 0, 1)} == {True}
    offsets = [
        c.semitones - 12 * k for c, k in zip(drawn, octaves, strict=True)
    ]
    assert 0.18 < max(offsets) <= 0.2 and -0.2 <= min(offsets) < -0.18
    formants = [c.formants for c in drawn]
    assert 1 / 1.4 <= min(formants) < 0.75 and 1.35 < max(formants) <= 1.4
    assert 160 < sum(f > 1 for f in formants) < 240
    late = np.array([c.timing_s for c in drawn])
    assert late.shape == (400, 7)
    assert late.std() == pytest.approx(0.02, rel=0.1)
    assert np.abs(late).max() <= 0.06
    assert 80 < sum(c.vibrato_cents > 0 for c in drawn) < 160
    assert 80 < sum(c.room_seed is not None for c in drawn) < 160
    assert {c.duration for c in drawn} == {1.0}
    again = ChangeRanges().draw(np.random.default_rng(0), 3.0)
    assert again == drawn[0]
    published = [PUBLISHED_CHANGES.draw(rng, 3.0) for _ in range(400)]
    duration = np.array([c.duration for c in published])
    assert duration.std() == pytest.approx(0.05, rel=0.15)
    assert {c.timing_s for c in published} == {()}
    assert {c.room_seed for c in published} == {None}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: VoiceChange(formants=3.0), "formants of a voice is 3.0"),
        (lambda: VoiceChange(semitones=float("nan")), "semitones .* is nan"),
        (lambda: VoiceChange(timing_s=(0.2,)), "timing_s .* is 0.2"),
        (lambda: ChangeRanges(room_share=2), "room_share is 2"),
        (lambda: ChangeRanges(room_db=(0, -1)), "room_db is 0 to -1"),
        (lambda: ChangeRanges(octaves=()), "octaves is empty"),
        (lambda: ChangeRanges(formants=0.5), "formants is 0.5"),
        (lambda: ChangeRanges(timing_every=0), "timing_every is 0"),
    ],
)
def test_ranges(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
