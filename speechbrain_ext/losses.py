"""Losses of the trainable systems."""

import torch
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNKNOWN
from speechbrain_ext.separation.codec import STFT
from speechbrain_ext.separation.convolutional import patches_of
from speechbrain_ext.separation.masks import binary_mask, mixture_binary_mask
from speechbrain_ext.separation.permutation import best_assignment, reorder


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
    targets : int, optional
        Only the first so many sources count. Default: all.

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
        self,
        gamma=0.0,
        distance="mse",
        crop_frames=None,
        edge_frames=0,
        targets=None,
    ):
        if distance not in DISTANCES:
            raise ConfigError(
                f"distance is {distance!r}: use one of {', '.join(DISTANCES)}"
            )
        self.gamma = gamma
        self.distance = DISTANCES[distance]
        self.crop_frames = crop_frames
        self.edge_frames = edge_frames
        self.targets = targets

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
        return {"magnitude": total[:, : self.targets].sum(1).mean()}


def _divergence(sources, estimates, eps=1e-8):
    ratio = torch.log((sources + eps) / (estimates + eps))
    return sources * ratio - sources + estimates


DISTANCES = {
    "mse": lambda sources, estimates: (sources - estimates).square(),
    "l1": lambda sources, estimates: (sources - estimates).abs(),
    "kl": _divergence,
}


class BinaryMaskLoss:
    """Binary cross-entropy of patches of a mask.

    Lin et al. (arXiv 1812.01278): the target is 1 where the voice is louder
    than the accompaniment, softened to 0.98 and 0.02; stage one trains the
    same network as an auto-encoder, on the voice as an ideal binary mask lets
    it through.

    Arguments
    ---------
    rival : {"accompaniment", "mixture"}
        What the voice has to be louder than. "mixture" is the fault of a
        published system: there chance decides (`masks.mixture_binary_mask`).
        Default: accompaniment.
    smoothing : float
        Targets are this and 1 minus this. Default: 0.02.
    weighted : bool
        Whether a bin counts as much as its magnitude, relative to the mean of
        all, so that silent bins do not decide; as published (default), all
        count the same.
    hop : int
        Frames from patch to patch. Default: 8, as published.
    patches_per_step : int, optional
        In training: so many patches, drawn from those of the batch. Default:
        all.
    autoencoder_epochs : int
        In the first epochs the network sees the voice through its ideal binary
        mask instead of the mixture. Default: 0.

    Raises
    ------
    ConfigError
        If the rival is unknown, or smoothing is not between 0 and 0.5.

    Example
    -------
    >>> loss = BinaryMaskLoss(smoothing=0.0)
    >>> certain = torch.tensor([[100.0, -100.0]])
    >>> loss.terms(certain, torch.tensor([[1.0, 0.0]]))["mask"].item() < 1e-6
    True
    >>> loss.terms(0 * certain, torch.tensor([[1.0, 0.0]]))
    {'mask': tensor(0.6931)}
    """

    def __init__(
        self,
        rival="accompaniment",
        smoothing=0.02,
        weighted=False,
        hop=8,
        patches_per_step=None,
        autoencoder_epochs=0,
    ):
        if rival not in LABELS:
            raise ConfigError(
                f"rival is {rival!r}: use one of {', '.join(LABELS)}"
            )
        if not 0 <= smoothing < 0.5:
            raise ConfigError(
                f"smoothing is {smoothing}: use 0 or more, less than 0.5"
            )
        self.label = LABELS[rival]
        self.smoothing = smoothing
        self.weighted = weighted
        self.hop = hop
        self.patches_per_step = patches_per_step
        self.autoencoder_epochs = autoencoder_epochs

    def __call__(self, separator, mixture, sources, epoch=None):
        """Terms of the loss of a batch.

        Arguments
        ---------
        separator : separation.separator.MaskSeparator
            Its network is a `convolutional.SlidingPatches`.
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
            The voice first.
        epoch : int, optional
            From 1; None is after the first stage.

        Returns
        -------
        dict of str to torch.Tensor
        """
        network = separator.network
        spec = separator.codec(mixture).flatten(0, 1)
        parts = separator.codec(sources).transpose(1, 2).flatten(0, 1)
        label = self.label(parts)
        level = network.level(spec)
        loudness = spec.abs() / level
        heard = loudness
        if epoch is not None and epoch <= self.autoencoder_epochs:
            heard = parts[:, 0].abs() * label / level
        size = network.patches.patch_frames
        views = [
            patches_of(heard, network.patches.seen_frames, self.hop),
            patches_of(label, size, self.hop),
            patches_of(loudness, size, self.hop),
        ]
        chosen = self._choice(*views[0].shape[:2], network.training)
        inputs, targets, weights = (view[chosen] for view in views)
        return self.terms(network.patches(inputs), targets, weights)

    def _choice(self, items, patches, training):
        """Items and places of the patches to learn from."""
        order = torch.arange(items * patches)
        if training and self.patches_per_step:
            order = torch.randperm(len(order))[: self.patches_per_step]
        return order // patches, order % patches

    def terms(self, logits, label, loudness=None):
        """Terms of the loss of patches.

        Arguments
        ---------
        logits : torch.Tensor (patches, frames, bins)
        label : torch.Tensor (patches, frames, bins)
            0 or 1.
        loudness : torch.Tensor (patches, frames, bins), optional
            Needed if `weighted`.

        Returns
        -------
        dict of str to torch.Tensor
        """
        target = self.smoothing + (1 - 2 * self.smoothing) * label
        entropy = functional.binary_cross_entropy_with_logits(
            logits, target, reduction="none"
        )
        if self.weighted:
            entropy = entropy * loudness / loudness.mean().clamp(min=1e-8)
        return {"mask": entropy.mean()}


# Where the voice, the first source, is strictly louder: silence is not voice.
LABELS = {
    "accompaniment": lambda parts: 1 - binary_mask(parts.flip(1))[:, 0],
    "mixture": lambda parts: mixture_binary_mask(parts)[:, 0],
}


class AbsoluteLoss:
    """Absolute error of separated signals and of their complex spectra.

    The loss of the band-split RoFormer (Lu et al., ICASSP 2024, section 3.3):
    the mean absolute error of the samples, plus the mean absolute error of
    complex spectra at several resolutions.

    Arguments
    ---------
    spectral_weight : float
        Of the sum over the resolutions. Default: 1.
    windows : sequence of int
        Sizes of the Hann windows, samples. Default: 4096, 2048, 1024, 512, 256.
    hop_length : int
        Samples, for all windows. Default: 147.

    Example
    -------
    >>> sources = torch.zeros(1, 2, 1, 5000)
    >>> loss = AbsoluteLoss(spectral_weight=0.5)
    >>> terms = loss.terms(sources + 0.1, sources)
    >>> terms["samples"], bool(terms["spectra"] > 0)
    (tensor(0.1000), True)
    """

    def __init__(
        self,
        spectral_weight=1.0,
        windows=(4096, 2048, 1024, 512, 256),
        hop_length=147,
    ):
        self.spectral_weight = spectral_weight
        self.windows = tuple(windows)
        self.hop_length = hop_length

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
        estimates, sources : torch.Tensor (..., samples)

        Returns
        -------
        dict of str to torch.Tensor
        """
        # The transform is linear: the error of spectra is that of the error.
        error = estimates - sources
        flat = error.flatten(0, -2)
        spectra = torch.zeros((), device=error.device)
        for size in self.windows:
            window = torch.hann_window(size, device=error.device)
            spec = torch.stft(
                flat,
                size,
                self.hop_length,
                window=window,
                pad_mode="constant",
                return_complex=True,
            )
            spectra = spectra + spec.abs().mean()
        return {
            "samples": error.abs().mean(),
            "spectra": self.spectral_weight * spectra,
        }


def snr_loss(estimates, sources, eps=1e-8):
    """Signal-to-noise ratio, negative: less is better.

    -10 log10(|s|^2 / (|e - s|^2 + eps) + eps), of signals without their means.

    Arguments
    ---------
    estimates, sources : torch.Tensor (..., samples)
        Of shapes that go together.
    eps : float
        Default: 1e-8.

    Returns
    -------
    torch.Tensor (...)
        dB. A silent source gives 80 and no gradient.

    Example
    -------
    >>> source = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> round(snr_loss(0.9 * source, source).item(), 3)
    -20.0
    """
    estimates, sources = _centred(estimates), _centred(sources)
    error = (estimates - sources).square().sum(-1)
    return -10 * torch.log10(sources.square().sum(-1) / (error + eps) + eps)


def si_sdr_loss(estimates, sources, eps=1e-8):
    """Scale-invariant signal-to-distortion ratio, negative: less is better.

    As `metrics.bss_eval.si_sdr` but without the means of the signals.

    Arguments
    ---------
    estimates, sources : torch.Tensor (..., samples)
        Of shapes that go together.
    eps : float
        Default: 1e-8.

    Returns
    -------
    torch.Tensor (...)
        dB.

    Example
    -------
    >>> source = torch.tensor([1.0, -1.0, 0.0, 0.0])
    >>> error = torch.tensor([0.1, 0.1, -0.1, -0.1])
    >>> round(si_sdr_loss(3 * (source + error), source).item(), 3)
    -16.99
    """
    estimates, sources = _centred(estimates), _centred(sources)
    energy = sources.square().sum(-1, keepdim=True)
    common = (estimates * sources).sum(-1, keepdim=True)
    target = common / (energy + eps) * sources
    error = (estimates - target).square().sum(-1)
    return -10 * torch.log10(target.square().sum(-1) / (error + eps) + eps)


def _centred(signals):
    return signals - signals.mean(-1, keepdim=True)


def spectral_l1(estimates, sources, windows=(2048, 1024, 512)):
    """Absolute difference of spectra at several resolutions.

    100 times the sum over the resolutions of the mean absolute difference of
    real and imaginary parts, over frames and bins, as the published separator
    of singers (Jeon et al., ICASSP 2023) was trained on it. Windows are square
    roots of Hann windows, hops a quarter of them, frames lie inside the signal.
    Spectra are scaled by 2 sqrt(hop) / window, and the lowest and the highest
    bin by another 1 / sqrt(2), so that they have the energy of the signal.

    Arguments
    ---------
    estimates, sources : torch.Tensor (..., samples)
        At least as long as the longest window.
    windows : sequence of int
        Samples. Default: 2048, 1024, 512.

    Returns
    -------
    torch.Tensor
        Scalar.

    Raises
    ------
    ConfigError
        If the signals are shorter than a window.

    Example
    -------
    >>> noise = torch.randn(2, 4000)
    >>> spectral_l1(noise, noise)
    tensor(0.)
    """
    # The transform is linear: the difference of spectra is that of signals.
    error = (estimates - sources).flatten(0, -2)
    if error.shape[-1] < max(windows):
        raise ConfigError(
            f"signals have {error.shape[-1]} samples, the longest window "
            f"{max(windows)}: use longer segments or shorter windows"
        )
    total = torch.zeros((), device=error.device)
    for size in windows:
        hop = size // 4
        spec = torch.stft(
            error,
            size,
            hop,
            window=torch.hann_window(size, device=error.device).sqrt(),
            center=False,
            return_complex=True,
        )
        scale = torch.full((size // 2 + 1, 1), 2 * hop**0.5 / size)
        scale[[0, -1]] *= 0.5**0.5
        parts = torch.view_as_real(spec * scale.to(error.device))
        total = total + 100 * parts.abs().mean()
    return total


class SingersLoss:
    """Errors of singers told apart, whichever output is whose.

    The order of the outputs is decided once, for each item, by the estimates
    of the first stage; every term compares them in that order.

    The published training (Jeon et al., ICASSP 2023) meant that, but as
    released it compared spectra in the order of the data set, whatever output
    was whose, and the second stage's estimates with every source: that is
    `order="published"`.

    Arguments
    ---------
    measure : {"error", "snr", "si_sdr"}
        What decides the order and is the first term: "error", the error's
        energy over the mixture's in dB, as `WaveformLoss` has it, with a
        limit, and defined for silent singers; or `snr_loss`, or `si_sdr_loss`.
        Default: error.
    limit_db : float
        Of "error": errors so far below the mixture are good enough. Default:
        40.
    spectral_weight : float
        Of `spectral_l1` of the first stage. Default: 1.
    windows : sequence of int
        See `spectral_l1`. Default: 2048, 1024, 512.
    refined_weight : float
        Of the same measure of the second stage, where there is one. Default:
        1.
    order : {"assigned", "fixed", "published"}
        "assigned" (default): the best order. "fixed": output k is source k, as
        where the main voice shall come first. "published": see above.
    weight : float
        Of the measure. Default: 1.
    frame_weight : float
        Of the error, in dB as "error", of the first stage's spectra with the
        best order in every frame, whichever the orders of other frames are: it
        teaches to tell apart what sounds at once, before who goes on as whom
        (Yu et al., "Permutation invariant training of deep models for
        speaker-independent multi-talker speech separation", ICASSP 2017).
        Default: 0.
    frame_window : int
        Window of these spectra in samples, four to a hop. Default: 2048.

    Raises
    ------
    ConfigError
        If a setting is unknown, or nothing is weighted.

    Example
    -------
    Perfect estimates in another order cost nothing:

    >>> sources = torch.randn(1, 2, 1, 4000)
    >>> loss = SingersLoss("snr")
    >>> terms = loss.terms([sources.flip(1)], sources)
    >>> terms["spectral"].item(), terms["snr"].item() < -80
    (0.0, True)
    >>> loss = SingersLoss("snr", order="published")
    >>> loss.terms([sources.flip(1)], sources)["spectral"].item() > 10
    True
    """

    def __init__(
        self,
        measure="error",
        limit_db=40.0,
        spectral_weight=1.0,
        windows=(2048, 1024, 512),
        refined_weight=1.0,
        order="assigned",
        weight=1.0,
        frame_weight=0.0,
        frame_window=2048,
    ):
        for name, value, known in (
            ("measure", measure, ("error", "snr", "si_sdr")),
            ("order", order, ("assigned", "fixed", "published")),
        ):
            if value not in known:
                raise ConfigError(
                    f"{name} is {value!r}: use one of {', '.join(known)}"
                )
        self.measure = measure
        self.floor = 10 ** (-limit_db / 10)
        self.spectral_weight = spectral_weight
        self.windows = tuple(windows)
        self.refined_weight = refined_weight
        self.order = order
        self.weight, self.frame_weight = weight, frame_weight
        self.frame_window = frame_window
        if not (weight or spectral_weight or frame_weight):
            raise ConfigError(
                "weight, spectral_weight and frame_weight are 0: nothing would "
                "be learnt, give one of them a number above 0"
            )

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
            Scalars, to be added up.
        """
        return self.terms(separator.stages(mixture), sources)

    def terms(self, stages, sources):
        """Terms of the loss of estimates.

        Arguments
        ---------
        stages : list of torch.Tensor (batch, sources, channels, samples)
            Estimates of the first stage, and of the second if there is one.
        sources : torch.Tensor (batch, sources, channels, samples)

        Returns
        -------
        dict of str to torch.Tensor
            The measure by its name, "frames", "spectral" and "refined".
        """
        first, *more = (stage.float().flatten(2) for stage in stages)
        sources = sources.flatten(2)
        assignment = self.assignment(first, sources)
        ordered = reorder(first, assignment)
        terms = {}
        if self.weight:
            measured = self.measured(ordered, sources).mean()
            terms[self.measure] = self.weight * measured
        if self.frame_weight:
            by_frame = self.by_frame(first, sources).mean()
            terms["frames"] = self.frame_weight * by_frame
        if self.spectral_weight:
            compared = first if self.order == "published" else ordered
            terms["spectral"] = self.spectral_weight * spectral_l1(
                compared, sources, self.windows
            )
        for refined in more:
            if self.order == "published":
                value = self.table(refined, sources)
            else:
                value = self.measured(reorder(refined, assignment), sources)
            terms["refined"] = self.refined_weight * value.mean()
        return terms

    def measured(self, estimates, sources):
        """Errors of estimates in the order of the sources.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, samples)

        Returns
        -------
        torch.Tensor (batch, sources)
            dB.
        """
        return self._pairs(estimates, sources, sources)

    def by_frame(self, estimates, sources):
        """Errors of estimates with the best order in each frame.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, samples)

        Returns
        -------
        torch.Tensor (batch,)
            dB, of the mean error of the sources over the mixture, with the
            limit of "error".
        """
        codec = STFT(self.frame_window, self.frame_window // 4)
        codec = codec.to(sources.device)
        # (batch, frames, sources, bins): a frame is an item of its own.
        heard, true = (
            codec(wavs).transpose(1, 2) for wavs in (estimates, sources)
        )
        heard, true = heard.flatten(0, 1), true.flatten(0, 1)
        costs = (heard.unsqueeze(2) - true.unsqueeze(1)).abs().square().sum(-1)
        order = best_assignment(costs)
        chosen = costs.gather(1, order.unsqueeze(1)).squeeze(1).sum(-1)
        error = chosen.unflatten(0, (len(sources), -1)).sum(1)
        energy = true.sum(1).abs().square().sum(-1)
        energy = energy.unflatten(0, (len(sources), -1)).sum(1)
        energy = energy.clamp(min=1e-6) * sources.shape[1]
        return 10 * torch.log10(error / energy + self.floor)

    def table(self, estimates, sources):
        """Errors of every estimate, taken for every source.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, samples)

        Returns
        -------
        torch.Tensor (batch, estimates, sources)
            dB.
        """
        return self._pairs(
            estimates.unsqueeze(2), sources.unsqueeze(1), sources
        )

    def _pairs(self, estimates, compared, sources):
        if self.measure == "snr":
            return snr_loss(estimates, compared)
        if self.measure == "si_sdr":
            return si_sdr_loss(estimates, compared)
        energy = sources.sum(1).square().sum(-1).clamp(min=1e-6)
        energy = energy.view(-1, *[1] * (estimates.ndim - 2))
        error = (estimates - compared).square().sum(-1)
        return 10 * torch.log10(error / energy + self.floor)

    @torch.no_grad()
    def assignment(self, estimates, sources):
        """Which estimate is compared with which source.

        Arguments
        ---------
        estimates, sources : torch.Tensor (batch, sources, samples)

        Returns
        -------
        torch.Tensor (batch, sources) of int64
        """
        if self.order == "fixed":
            order = torch.arange(sources.shape[1], device=sources.device)
            return order.expand(len(sources), -1)
        return best_assignment(self.table(estimates, sources))
