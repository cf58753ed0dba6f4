"""Making another voice out of a recorded one, in batches, on any device.

A voice is changed in pitch, formants, timing, vibrato and room, each on its
own: pitch leaves the formants where they are, timing leaves the pitch. What is
drawn at random for an item is one `VoiceChange`; `change_voices` applies a
batch of them.

Timing and pitch rest on waveform-similarity overlap-add (Verhelst and Roelands,
ICASSP 1993): pieces of the recording are put down at new times, each where it
goes on best from the one before. To change the pitch, the recording is made
longer or shorter by the same factor first and then read faster or slower.
Formants are the smooth envelope of the spectrum, found by the iteration of
Imai and Abe ("true envelope", 1979) with an order that follows the period of
the voice in each frame (Röbel and Rodet, DAFx 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from speechbrain_ext.audio import seconds_to_samples
from speechbrain_ext.errors import ConfigError

# Overlap-add: half a window, and how far a piece may move to fit. Together
# they cover one period of the lowest voice, 62.5 Hz.
_HOP_S = 0.015
_SEARCH_S = 0.008

# Spectra for the envelope: long enough to resolve the partials of 80 Hz.
_FRAME_S = 0.064
_OVERLAP = 4
_ROUNDS = 8
_VOICE_HZ = (60.0, 1100.0)
_FLOOR = 1e-6

_TAPS = 32

# What of a recording before and after a segment a change may reach for.
MARGIN_S = 0.1


@dataclass(frozen=True)
class VoiceChange:
    """How one voice is changed; by default not at all.

    Arguments
    ---------
    semitones : float
        Change of pitch.
    formants : float
        Factor on the frequencies of the formants, 0.5 to 2.
    duration : float
        Factor on the duration; what becomes too long is cut.
    timing_s : tuple of float
        Seconds by which the voice is late (or early, below 0) at times spread
        evenly from the start to the end of the segment, linear between them;
        at most `MARGIN_S`.
    vibrato_hz, vibrato_cents, vibrato_phase : float
        Rate, depth to each side, and phase at the start in radians.
    room_seed : int, optional
        Room, drawn by `data_prep.minisinging.room.draw_room`. Default: none.
    room_db : float
        Level of the room relative to the direct sound. Default: -12 dB.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Example
    -------
    >>> VoiceChange() == VoiceChange(semitones=0.0)
    True
    """

    semitones: float = 0.0
    formants: float = 1.0
    duration: float = 1.0
    timing_s: tuple[float, ...] = ()
    vibrato_hz: float = 5.5
    vibrato_cents: float = 0.0
    vibrato_phase: float = 0.0
    room_seed: int | None = None
    room_db: float = -12.0

    def __post_init__(self):
        object.__setattr__(self, "timing_s", tuple(self.timing_s))
        for name, value, low, high in (
            ("semitones", self.semitones, -24, 24),
            ("formants", self.formants, 0.5, 2),
            ("duration", self.duration, 0.5, 2),
            ("vibrato_hz", self.vibrato_hz, 0, 20),
            ("vibrato_cents", self.vibrato_cents, 0, 400),
            ("room_db", self.room_db, -120, 20),
            *(("timing_s", x, -MARGIN_S, MARGIN_S) for x in self.timing_s),
        ):
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} of a voice is {value}: use {low} to {high}"
                )


@dataclass(frozen=True)
class ChangeRanges:
    """From what the changes of voices are drawn.

    Defaults of pitch and formants are those of MedleyVox (Jeon et al., ICASSP
    2023); in place of its one factor on the duration, which makes two voices
    drift apart, the timing wanders.

    Arguments
    ---------
    octaves : tuple of int
        Semitones to choose from. Default: -12, 0, 12.
    detune : float
        Semitones to each side, on top. Default: 0.2.
    formants : float
        Largest factor; half of the voices get the inverse of what is drawn
        between 1 and this. Default: 1.4.
    duration_sd : float
        Standard deviation of the factor on the duration around 1, which is at
        least 0.7. Default: 0; published: 0.05.
    timing_sd : float
        Standard deviation in seconds of how late the voice is; at most three
        of them, and `MARGIN_S`. Default: 0.02.
    timing_every : float
        Seconds between two such draws. Default: 0.5.
    vibrato_share : float
        Share of voices that get more vibrato. Default: 0.3.
    vibrato_hz, vibrato_cents : tuple of float
        Ranges. Default: 4.5 to 7 Hz, 15 to 80 cents.
    room_share : float
        Share of voices in a room. Default: 0.3.
    room_db : tuple of float
        Range of the level of the room. Default: -24 to -6 dB.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    octaves: tuple[int, ...] = (-12, 0, 12)
    detune: float = 0.2
    formants: float = 1.4
    duration_sd: float = 0.0
    timing_sd: float = 0.02
    timing_every: float = 0.5
    vibrato_share: float = 0.3
    vibrato_hz: tuple[float, float] = (4.5, 7.0)
    vibrato_cents: tuple[float, float] = (15.0, 80.0)
    room_share: float = 0.3
    room_db: tuple[float, float] = (-24.0, -6.0)

    def __post_init__(self):
        for name in ("vibrato_share", "room_share"):
            check_share(name, getattr(self, name))
        # Lists of a YAML.
        object.__setattr__(self, "octaves", tuple(self.octaves))
        for name in ("vibrato_hz", "vibrato_cents", "room_db"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(
                    f"{name} is {low} to {high}: give the lower end first"
                )
        if not self.octaves:
            raise ConfigError("octaves is empty: give 0 for no change")
        if not 1 <= self.formants <= 2:
            raise ConfigError(f"formants is {self.formants}: use 1 to 2")
        if not self.timing_every > 0:
            raise ConfigError(
                f"timing_every is {self.timing_every}: give seconds above 0"
            )

    def draw(self, rng, length_s) -> VoiceChange:
        """Draw the change of one voice.

        Arguments
        ---------
        rng : np.random.Generator
        length_s : float
            Length of the segment in seconds.

        Returns
        -------
        VoiceChange

        Example
        -------
        >>> change = ChangeRanges().draw(np.random.default_rng(0), 3.0)
        >>> len(change.timing_s)
        7
        """
        # Every number is drawn, used or not: one setting changes one thing.
        octave = int(rng.choice(self.octaves))
        semitones = octave + float(rng.uniform(-self.detune, self.detune))
        formants = float(rng.uniform(1, self.formants))
        formants = 1 / formants if rng.uniform() < 0.5 else formants
        duration = 1 + self.duration_sd * float(rng.standard_normal())
        chances = rng.uniform(size=2)
        vibrato_hz = float(rng.uniform(*self.vibrato_hz))
        vibrato_cents = float(rng.uniform(*self.vibrato_cents))
        phase = float(rng.uniform(0, 2 * math.pi))
        room_seed = int(rng.integers(2**31))
        room_db = float(rng.uniform(*self.room_db))
        knots = max(1, math.ceil(length_s / self.timing_every)) + 1
        late = self.timing_sd * rng.standard_normal(knots)
        limit = min(3 * self.timing_sd, MARGIN_S)
        timing = tuple(np.clip(late, -limit, limit).tolist())
        return VoiceChange(
            semitones,
            formants,
            min(max(0.7, duration), 2.0),
            timing if self.timing_sd else (),
            vibrato_hz,
            vibrato_cents if chances[0] < self.vibrato_share else 0.0,
            phase,
            room_seed if chances[1] < self.room_share else None,
            room_db,
        )


def check_share(name, value) -> None:
    """Refuse what is not a share.

    Arguments
    ---------
    name : str
        What it is called, for the message.
    value : float

    Raises
    ------
    ConfigError
        If it is not a number from 0 to 1.

    Example
    -------
    >>> check_share("unison", 1.5)
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: unison is 1.5: use a number from 0 to 1
    """
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ConfigError(f"{name} is {value}: use a number from 0 to 1")


# Pitch, formants and duration as MedleyVox draws them, and nothing else.
PUBLISHED_CHANGES = ChangeRanges(
    duration_sd=0.05, timing_sd=0.0, vibrato_share=0.0, room_share=0.0
)


def change_voices(
    wavs, sample_rate, changes: Sequence[VoiceChange], lead_s=0.0, length_s=None
) -> torch.Tensor:
    """Change several voices at once, each in its own way.

    Arguments
    ---------
    wavs : torch.Tensor (batch, samples)
    sample_rate : int
        Hertz.
    changes : list of VoiceChange
        One per voice.
    lead_s : float
        Seconds of `wavs` that lie before the segment, for voices that are
        early. Default: 0.
    length_s : float, optional
        Length of the segment. Default: all of `wavs` after the lead.

    Returns
    -------
    torch.Tensor (batch, samples of the segment)
        As loud as before in root mean square, before the room is added.

    Example
    -------
    >>> voice = torch.sin(0.1 * torch.arange(16000.0))[None]
    >>> changed = change_voices(voice, 16000, [VoiceChange(semitones=3)])
    >>> changed.shape
    torch.Size([1, 16000])
    """
    batch, total = wavs.shape
    assert batch == len(changes), "one change per voice"
    lead = seconds_to_samples(lead_s, sample_rate)
    samples = total - lead
    if length_s is not None:
        samples = seconds_to_samples(length_s, sample_rate)

    def column(name):
        values = [getattr(change, name) for change in changes]
        return torch.tensor(values, dtype=torch.float64, device=wavs.device)

    plain = wavs[:, lead : lead + samples]
    voice = torch.nn.functional.pad(plain, (0, samples - plain.shape[1]))
    plain = voice.clone()
    ratio = 2 ** (column("semitones") / 12)
    wobble = column("vibrato_cents") > 0
    retimed = column("duration") != 1
    retimed |= torch.tensor(
        [any(change.timing_s) for change in changes], device=wavs.device
    )
    time = torch.arange(samples, dtype=torch.float64, device=wavs.device)
    time = (time / sample_rate).expand(batch, -1)

    def source_time(moments, which):
        """Second of the recordings that a second of the result is from."""
        late = _between(
            [changes[int(k)].timing_s for k in which],
            moments,
            samples / sample_rate,
        )
        return moments / column("duration")[which, None] - late + lead_s

    def read(source, which, speed, start):
        """Read recordings at a speed, with vibrato."""
        hertz = column("vibrato_hz")[which, None].clamp(min=1e-3)
        depth = 2 ** (column("vibrato_cents")[which, None] / 1200) - 1
        angle = 2 * math.pi * hertz * time[which]
        angle = angle + column("vibrato_phase")[which, None]
        # The reading runs ahead and back: its derivative is the pitch.
        ahead = depth / (2 * math.pi * hertz) * torch.sin(angle)
        at = (time[which] + ahead) * speed[:, None] + start
        return read_at(source, at * sample_rate, 1 / speed.clamp(min=1))

    # The timing first, and the duration that reading at the wanted pitch takes
    # back again.
    which = (retimed | (ratio != 1)).nonzero()[:, 0]
    if len(which):
        hop = seconds_to_samples(_HOP_S, sample_rate)
        # Some pieces more than needed, for the vibrato at the end.
        pieces = math.ceil(samples * float(ratio[which].max()) / hop) + 4
        centres = torch.arange(pieces, dtype=torch.float64, device=wavs.device)
        centres = centres * (hop / sample_rate) / ratio[which, None]
        times = source_time(centres, which)
        voice[which] = read(
            stretch(wavs[which], sample_rate, times), which, ratio[which], 0.0
        )
    which = (wobble & ~retimed & (ratio == 1)).nonzero()[:, 0]
    if len(which):
        voice[which] = read(wavs[which], which, ratio[which], lead_s)
    formants = column("formants")
    which = ((ratio != 1) | (formants != 1)).nonzero()[:, 0]
    if len(which):
        voice[which] = _with_formants(
            voice[which],
            sample_rate,
            formants[which],
            ratio[which],
            wavs[which],
            source_time(time[which], which),
        )
    voice = _as_loud(voice, plain)
    for k, change in enumerate(changes):
        if change.room_seed is not None:
            voice[k] = add_room(
                voice[k], sample_rate, change.room_seed, change.room_db
            )
    return voice


def stretch(wavs, sample_rate, times) -> torch.Tensor:
    """Play recordings on another time line, at the same pitch.

    Arguments
    ---------
    wavs : torch.Tensor (batch, samples)
    sample_rate : int
        Hertz.
    times : torch.Tensor (batch, pieces)
        Second of the recording that is heard at each multiple of 15 ms.

    Returns
    -------
    torch.Tensor (batch, (pieces - 1) x 15 ms)
        Silence where the recording has nothing.

    Example
    -------
    >>> times = torch.arange(21)[None] * 0.015 / 2  # half as fast
    >>> stretch(torch.ones(1, 2400), 16000, times).shape
    torch.Size([1, 4800])
    """
    hop = seconds_to_samples(_HOP_S, sample_rate)
    reach = seconds_to_samples(_SEARCH_S, sample_rate)
    size = 2 * hop
    batch, total = wavs.shape
    device = wavs.device
    edge = size + reach
    padded = torch.nn.functional.pad(wavs, (edge, edge + hop))
    starts = (times * sample_rate).round().long() - hop
    starts = starts.clamp(-size, total)
    # A step aside costs a little, so that still stretches stay as they are.
    aside = torch.arange(-reach, reach + 1, device=device)
    cost = 1e-3 * aside.abs() / reach
    index = torch.arange(size, device=device)
    wide = torch.arange(size + 2 * reach, device=device)
    chosen, expected = [], None
    for k in range(starts.shape[1]):
        place = starts[:, k]
        if expected is not None:
            region = padded.gather(
                1, (place + edge - reach)[:, None] + wide[None]
            )
            fit = torch.nn.functional.conv1d(
                region[None], expected[:, None], groups=batch
            )[0]
            energy = torch.nn.functional.pad(region.square().cumsum(1), (1, 0))
            energy = (energy[:, size:] - energy[:, :-size]).clamp(min=0)
            own = expected.square().sum(1, keepdim=True)
            fit = fit / (energy * own + 1e-12).sqrt() - cost
            place = place + fit.argmax(1) - reach
        piece = (place + edge)[:, None] + index[None]
        chosen.append(padded.gather(1, piece))
        # What would follow in the recording if it simply went on.
        onward = (piece + hop).clamp(max=padded.shape[1] - 1)
        expected = padded.gather(1, onward)
    window = torch.hann_window(size, device=device, dtype=wavs.dtype)
    pieces = torch.stack(chosen, 1) * window
    rising, falling = pieces[..., :hop], pieces[..., hop:]
    return (falling[:, :-1] + rising[:, 1:]).reshape(batch, -1)


def read_at(wavs, positions, cutoff=None) -> torch.Tensor:
    """Read recordings between their samples.

    A sinc of 32 points under a Hann window: error below -60 dB for what lies
    below 0.7 of half the sample rate, and -50 dB below 0.8.

    Arguments
    ---------
    wavs : torch.Tensor (batch, samples)
    positions : torch.Tensor (batch, points)
        In samples, with fractions; silence outside the recording.
    cutoff : torch.Tensor (batch,), optional
        Band limit as a share of half the sample rate, below 1 for reading
        faster than one sample at a time. Default: 1.

    Returns
    -------
    torch.Tensor (batch, points)

    Example
    -------
    >>> wav = torch.arange(100.0)[None]
    >>> float(read_at(wav, torch.tensor([[50.5]])).round(decimals=2))
    50.5
    """
    if cutoff is None:
        cutoff = torch.ones(len(wavs), device=wavs.device)
    cutoff = cutoff.to(wavs.dtype)[:, None]
    half = _TAPS // 2
    padded = torch.nn.functional.pad(wavs, (half, half))
    last = wavs.shape[1] + half
    base = positions.floor()
    share = (positions - base).to(wavs.dtype)
    base = base.long()
    out = torch.zeros_like(share)
    for tap in range(1 - half, half + 1):
        away = tap - share
        window = torch.cos(math.pi / 2 * away / half).square()
        weight = cutoff * torch.sinc(cutoff * away) * window
        place = (base + tap).clamp(-half, last - 1) + half
        inside = (base + tap >= 0) & (base + tap < wavs.shape[1])
        out += weight * padded.gather(1, place) * inside
    return out


def shift_formants(wavs, sample_rate, ratio) -> torch.Tensor:
    """Move the formants of voices, at the same pitch.

    Arguments
    ---------
    wavs : torch.Tensor (batch, samples)
    sample_rate : int
        Hertz.
    ratio : torch.Tensor (batch,) or float
        Factor on the frequencies of the formants.

    Returns
    -------
    torch.Tensor (batch, samples)

    Example
    -------
    >>> wav = torch.sin(0.1 * torch.arange(16000.0))[None]
    >>> bool((shift_formants(wav, 16000, 1.0) - wav).abs().max() < 1e-4)
    True
    """
    ratio = torch.as_tensor(ratio, dtype=torch.float64, device=wavs.device)
    ratio = ratio.expand(len(wavs))
    time = torch.arange(wavs.shape[1], device=wavs.device) / sample_rate
    moved = _with_formants(
        wavs,
        sample_rate,
        ratio,
        torch.ones_like(ratio),
        wavs,
        time.expand(len(wavs), -1),
    )
    return _as_loud(moved, wavs)


def add_room(wav, sample_rate, seed, level_db) -> torch.Tensor:
    """Let a voice sound in a room.

    Arguments
    ---------
    wav : torch.Tensor (samples,)
    sample_rate : int
        Hertz.
    seed : int
        Of the room.
    level_db : float
        Level of the reverberation relative to the direct sound.

    Returns
    -------
    torch.Tensor (samples,)
        The direct sound as it was, and the room after it.

    Example
    -------
    >>> click = torch.zeros(100)
    >>> click[7] = 1.0
    >>> wet = add_room(click, 16000, seed=0, level_db=-6.0)
    >>> round(float(wet[7]), 5), float(wet[:7].abs().max()) < 1e-5
    (1.0, True)
    """
    from data_prep.minisinging.room import draw_room

    response = draw_room(
        np.random.default_rng(seed), sample_rate, wet=10 ** (level_db / 20)
    )
    response = torch.from_numpy(response).to(wav)
    size = len(wav) + len(response) - 1
    spectrum = torch.fft.rfft(wav, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[: len(wav)]


def _between(knots, time, length_s):
    """Curves (batch, points) through knots spread over a segment."""
    rows = []
    for values, moments in zip(knots, time, strict=True):
        if not values:
            rows.append(torch.zeros_like(moments))
            continue
        values = torch.tensor(values, dtype=time.dtype, device=time.device)
        values = torch.cat([values, values[-1:]])
        place = (moments / length_s).clamp(0, 1) * max(len(values) - 2, 0)
        left = place.floor().long()
        share = place - left
        rows.append((1 - share) * values[left] + share * values[left + 1])
    return torch.stack(rows)


def _as_loud(wavs, model):
    """Scale each voice to the root mean square of another."""
    own = wavs.square().mean(1, keepdim=True).sqrt()
    wanted = model.square().mean(1, keepdim=True).sqrt()
    # Exactly 1 for what was not changed.
    gain = torch.where(own > 0, wanted / own.clamp(min=1e-12), 1.0)
    return wavs * gain


def _with_formants(voice, sample_rate, formants, ratio, model, moments):
    """Give voices the envelope of others, its frequencies times a factor.

    Arguments
    ---------
    voice : torch.Tensor (batch, samples)
        Shifted in pitch by `ratio`, so that for a ratio below 1 nothing is
        left above that share of the spectrum: what lies below is repeated
        there, for the envelope to shape.
    sample_rate : int
    formants, ratio : torch.Tensor (batch,)
    model : torch.Tensor (batch, other samples)
        The voices before.
    moments : torch.Tensor (batch, samples)
        Second of `model` for each sample of `voice`.

    Returns
    -------
    torch.Tensor (batch, samples)
    """
    hop = seconds_to_samples(_FRAME_S / _OVERLAP, sample_rate)
    size = hop * _OVERLAP
    window = torch.hann_window(size, device=voice.device, dtype=voice.dtype)

    def spectrum(wavs):
        return torch.stft(
            wavs,
            size,
            hop,
            window=window,
            pad_mode="constant",
            return_complex=True,
        )

    level = model.abs().amax(1).clamp(min=1e-9)[:, None, None]
    fine = spectrum(voice)
    own = _envelope(fine.abs(), sample_rate, size, level)
    wanted = _envelope(spectrum(model).abs(), sample_rate, size, level)
    # Time: the frame of the model that each frame of the voice comes from.
    frames = fine.shape[2]
    at = (torch.arange(frames, device=voice.device) * hop).clamp(
        max=moments.shape[1] - 1
    )
    frame = (moments[:, at] * sample_rate / hop).round().long()
    frame = frame.clamp(0, wanted.shape[2] - 1)
    bins = wanted.shape[1]
    wanted = wanted.gather(2, frame[:, None].expand(-1, bins, -1))
    # Frequency: formants that are higher are read further down.
    k = torch.arange(bins, device=voice.device, dtype=torch.float64)
    place = (k / formants[:, None]).clamp(max=bins - 1)
    left = place.floor().long().clamp(max=bins - 2)
    share = (place - left).to(voice.dtype)[..., None]
    left = left[..., None].expand(-1, -1, frames)
    wanted = (1 - share) * wanted.gather(1, left) + share * wanted.gather(
        1, left + 1
    )
    # The highest bins of a lowered voice: a copy from below, by multiples of
    # `_OVERLAP` bins, so that its phases go on from frame to frame.
    top = (0.95 * ratio * (bins - 1)).floor().long().clamp(max=bins)
    top = torch.where(ratio < 1, top, torch.full_like(top, bins))
    step = (top // 2 // _OVERLAP * _OVERLAP).clamp(min=_OVERLAP)[:, None]
    over = (k.long() - top[:, None] + 1).clamp(min=0)
    origin = k.long() - -(-over // step) * step
    origin = origin[..., None].expand(-1, -1, frames)
    fine = (fine / own.exp()).gather(1, origin)
    return torch.istft(
        fine * wanted.exp(), size, hop, window=window, length=voice.shape[1]
    )


def _envelope(magnitude, sample_rate, size, level):
    """Logarithm of the smooth envelope (batch, bins, frames) of spectra."""
    floor = _FLOOR * level * size
    log = magnitude.maximum(floor).log()
    # Period of each frame, from the autocorrelation.
    ripple = torch.fft.irfft(magnitude, size, dim=1)
    low = max(1, int(sample_rate / _VOICE_HZ[1]))
    high = min(size // 2, int(sample_rate / _VOICE_HZ[0]))
    period = low + ripple[:, low:high].argmax(1)
    cut = (0.5 * period / sample_rate).clamp(0.0005, 0.003) * sample_rate
    lag = torch.arange(size // 2 + 1, device=log.device, dtype=log.dtype)
    slope = lag[None, :, None] / cut[:, None].to(log.dtype)
    lifter = torch.cos(math.pi * (slope - 0.75).clamp(0, 0.5)).square()
    smooth = log
    for turn in range(_ROUNDS):
        above = log if turn == 0 else torch.maximum(log, smooth)
        cepstrum = torch.fft.irfft(above, size, dim=1)
        half = cepstrum[:, : size // 2 + 1] * lifter
        whole = torch.cat([half, half[:, 1 : size // 2].flip(1)], 1)
        smooth = torch.fft.rfft(whole, dim=1).real
    return smooth
