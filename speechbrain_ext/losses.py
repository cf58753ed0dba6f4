"""Losses of the trainable systems."""

import torch
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNKNOWN
from speechbrain_ext.separation.codec import STFT


def note_losses(head, logits, targets, mask, onset_positive_weight=15.0):
    """Loss terms of frame-wise note transcription.

    Binary cross-entropy for onset (positive frames weighted) and silence,
    cross-entropy for each pitch part; each is the mean over valid frames whose
    target is known, as in Gu et al. (ACM TOMM 2024).

    Arguments
    ---------
    head : NoteHead or MelodyHead
        Knows how the logits are laid out.
    logits : torch.Tensor (batch, frames, outputs)
    targets : dict
        "onset" and "silence", float (batch, frames), NaN where unknown;
        "pitch", int64 (batch, frames) of MIDI numbers with -1 in silence and
        -100 where unknown.
    mask : torch.Tensor (batch, frames) of bool
        True = valid.
    onset_positive_weight : float
        Weight of onset frames. Default: 15.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars "onset", "silence" and "pitch", or "octave" and "pitch_class".

    Example
    -------
    >>> from speechbrain_ext.heads import NoteHead
    >>> head = NoteHead(4)
    >>> targets = {
    ...     "onset": torch.zeros(1, 3),
    ...     "silence": torch.ones(1, 3),
    ...     "pitch": torch.full((1, 3), -1),
    ... }
    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> sorted(note_losses(head, torch.zeros(1, 3, 63), targets, mask))
    ['onset', 'pitch', 'silence']
    """
    onset, silence, parts = head.split(logits.float())
    terms = {
        "onset": _binary(
            onset,
            targets["onset"],
            mask,
            torch.as_tensor(onset_positive_weight, device=logits.device),
        ),
        "silence": _binary(silence, targets["silence"], mask),
    }
    names = ["pitch"] if len(parts) == 1 else ["octave", "pitch_class"]
    classes = head.classes(targets["pitch"])
    for name, part, target in zip(names, parts, classes, strict=True):
        target = target.masked_fill(~mask, UNKNOWN)
        loss = functional.cross_entropy(
            part.transpose(1, 2), target, reduction="sum", ignore_index=UNKNOWN
        )
        terms[name] = loss / (target != UNKNOWN).sum().clamp(min=1)
    return terms


def contour_losses(head, logits, f0, mask, width=0.25):
    """Loss terms of the fundamental frequency.

    Binary cross-entropy for voicing, and the cross-entropy between the pitch
    bins and a normal distribution around the true pitch, as in CREPE (Kim et
    al., ICASSP 2018) but over one softmax; each is the mean over valid frames
    whose target is known.

    Arguments
    ---------
    head : MelodyHead
        Knows how the logits are laid out.
    logits : torch.Tensor (batch, frames, outputs)
    f0 : torch.Tensor (batch, frames)
        MIDI numbers, 0 where unvoiced, NaN where unknown.
    mask : torch.Tensor (batch, frames) of bool
        True = valid.
    width : float
        Standard deviation of the target in semitones. Default: 0.25.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars "voicing" and "contour".

    Example
    -------
    >>> from speechbrain_ext.heads import MelodyHead
    >>> head = MelodyHead(308)
    >>> logits, mask = torch.zeros(1, 3, 243), torch.ones(1, 3).bool()
    >>> f0 = torch.tensor([[60.0, 0.0, torch.nan]])
    >>> terms = contour_losses(head, logits, f0, mask)
    >>> round(terms["voicing"].item(), 3), round(terms["contour"].item(), 3)
    (0.693, 5.193)
    """
    voicing, contour = head.contour(logits.float())
    voiced = torch.where(f0.isnan(), f0, (f0 > 0).to(f0.dtype))
    terms = {"voicing": _binary(voicing, voiced, mask)}
    at = head.bins(f0)
    known = mask & (f0 > 0) & (at > -0.5) & (at < head.n_bins - 0.5)
    bins = torch.arange(head.n_bins, device=logits.device)
    spread = width * head.n_bins / head.n_pitches
    target = -0.5 * ((bins - at[known][:, None]) / spread) ** 2
    loss = functional.cross_entropy(
        contour[known], target.softmax(1), reduction="sum"
    )
    terms["contour"] = loss / known.sum().clamp(min=1)
    return terms


def _binary(logit, target, mask, weight=None):
    """Mean binary cross-entropy over valid frames with a known target."""
    known = mask & ~target.isnan()
    loss = functional.binary_cross_entropy_with_logits(
        logit, target.nan_to_num(), pos_weight=weight, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


class WaveformLoss:
    """Error of separated signals, in decibels.

    For each source, ten times the logarithm of the energy of its error over
    that of the mixture: its gradient makes the signal-to-noise ratio of the
    source grow, and unlike that ratio it is defined where a source is silent.

    Arguments
    ---------
    limit_db : float
        Errors so far below the mixture are good enough. Default: 40.
    spectral_weight : float
        Of the mean absolute difference of magnitude spectrograms, relative to
        the mixture's. Default: 0.
    transforms : sequence of int
        Sizes of these spectrograms' windows in samples; hops are a quarter.
        Default: 512, 1024, 2048.

    Example
    -------
    >>> sources = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    >>> loss = WaveformLoss(limit_db=100.0)
    >>> terms = loss.terms(0.9 * sources[None], sources[None])
    >>> terms["error_db"]
    tensor(-23.0103)
    """

    def __init__(
        self, limit_db=40.0, spectral_weight=0.0, transforms=(512, 1024, 2048)
    ):
        self.floor = 10 ** (-limit_db / 10)
        self.spectral_weight = spectral_weight
        self.transforms = transforms

    def __call__(self, separator, mixture, sources, epoch=None):
        """Terms of the loss of a batch.

        Arguments
        ---------
        separator : torch.nn.Module
            `mixture` to `sources`.
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int, optional
            Makes no difference.

        Returns
        -------
        dict of str to torch.Tensor
            Scalars, to be added up.
        """
        return self.terms(separator(mixture), sources)

    def terms(self, estimates, sources):
        """Terms of the loss of estimates.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, ..., samples)

        Returns
        -------
        dict of str to torch.Tensor
        """
        mixture = sources.sum(1, keepdim=True)
        energy = mixture.flatten(2).square().sum(2).clamp(min=1e-6)
        error = (estimates - sources).flatten(2).square().sum(2)
        decibels = 10 * torch.log10(error / energy + self.floor)
        terms = {"error_db": decibels.mean()}
        if self.spectral_weight:
            terms["spectral"] = (
                self.spectral_weight
                * torch.stack(
                    [
                        _spectral_distance(estimates, sources, mixture, size)
                        for size in self.transforms
                    ]
                ).mean()
            )
        return terms


def _spectral_distance(estimates, sources, mixture, size):
    """Mean absolute difference of magnitudes, relative to the mixture's."""
    codec = STFT(size, size // 4).to(sources.device)

    def magnitudes(wavs):
        return codec(wavs).abs().flatten(2)

    distance = (magnitudes(estimates) - magnitudes(sources)).abs().mean(2)
    return (distance / magnitudes(mixture).mean(2).clamp(min=1e-6)).mean()


class MagnitudeLoss:
    """Error of masked magnitude spectrograms, with a discriminative term.

    J = sum over k of D(s_k, y_k) - gamma sum over j != k of D(s_j, y_k)
    (Huang et al., TASLP 23(12), 2015, equations 12 and 13), the mean over
    frames and bins; y_k is the mixture's magnitude times the mask.

    Arguments
    ---------
    gamma : float
        How much an estimate shall differ from the other sources. Default: 0.
    distance : {"mse", "l1", "kl"}
        Squared or absolute difference, or the generalised Kullback-Leibler
        divergence. Default: mse.
    crop_frames : int, optional
        The network sees crops of so many frames, each for itself; what is left
        over at the end is not used. Default: items as a whole.
    edge_frames : int
        Frames at both ends of an item that are left out, because the transform
        fills their windows with silence. Default: 0.

    Raises
    ------
    ConfigError
        If the distance is unknown.

    Example
    -------
    >>> loss = MagnitudeLoss(gamma=0.5)
    >>> sources = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    >>> loss.terms(torch.tensor([2.0, 3.0]).view(1, 2, 1, 1), sources)
    {'magnitude': tensor(-1.5000)}
    """

    def __init__(
        self, gamma=0.0, distance="mse", crop_frames=None, edge_frames=0
    ):
        if distance not in DISTANCES:
            raise ConfigError(
                f"distance is {distance!r}: use one of {', '.join(DISTANCES)}"
            )
        self.gamma = gamma
        self.distance = DISTANCES[distance]
        self.crop_frames = crop_frames
        self.edge_frames = edge_frames

    def __call__(self, separator, mixture, sources, epoch=None):
        """Terms of the loss of a batch.

        Arguments
        ---------
        separator : separation.separator.MaskSeparator
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int, optional
            Makes no difference.

        Returns
        -------
        dict of str to torch.Tensor

        Raises
        ------
        ConfigError
            If an item is shorter than a crop.
        """
        spec = self._cropped(separator.codec(mixture).unsqueeze(1))
        targets = self._cropped(separator.codec(sources))
        estimates = separator.masks(spec.squeeze(1)) * spec
        return self.terms(estimates.abs(), targets.abs())

    def _cropped(self, spec):
        """(batch, sources, channels, frames, bins): crops as more items."""
        edge, size = self.edge_frames, self.crop_frames
        spec = spec[..., edge : spec.shape[-2] - edge, :]
        if size is None:
            return spec
        if spec.shape[-2] < size:
            raise ConfigError(
                f"an item has {spec.shape[-2]} frames without its edges, "
                f"crop_frames is {size}: make segment_s longer"
            )
        # The crops of an item stand where the item stood.
        crops = spec.unfold(-2, size, size).movedim(-3, 1)
        return crops.flatten(0, 1).mT

    def terms(self, estimates, sources):
        """Terms of the loss of magnitudes.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, ..., bins)

        Returns
        -------
        dict of str to torch.Tensor
        """
        total = self.distance(sources, estimates)
        if self.gamma:
            for shift in range(1, sources.shape[1]):
                others = sources.roll(shift, 1)
                total = total - self.gamma * self.distance(others, estimates)
        return {"magnitude": total.sum(1).mean()}


def _divergence(sources, estimates, eps=1e-8):
    ratio = torch.log((sources + eps) / (estimates + eps))
    return sources * ratio - sources + estimates


DISTANCES = {
    "mse": lambda sources, estimates: (sources - estimates).square(),
    "l1": lambda sources, estimates: (sources - estimates).abs(),
    "kl": _divergence,
}
