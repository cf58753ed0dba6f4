"""Masks computed from the sources themselves: what a perfect model would say.

They bound what a kind of mask can reach, and are targets of training. Spectra
are complex, with sources before frames and bins: (..., sources, frames, bins).
Masks are real, one per source; times the mixture's spectrum they give
estimates with the mixture's phase. The complex mask has a phase of its own and
gives back the sources.

None of them divides by nothing. Where all sources are silent, the masks of the
ratio kind share the bin equally, that is 1 / sources each; binary masks give it
to the first source.
"""

import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.codec import STFT


def binary_mask(sources):
    """Ideal binary mask: 1 for the loudest source, 0 for all others.

    With two sources that is |S| > |A| (Wang, in Divenyi (ed.), Speech
    Separation by Humans and Machines, 2005).

    Arguments
    ---------
    sources : torch.Tensor (..., sources, frames, bins), complex

    Returns
    -------
    torch.Tensor (..., sources, frames, bins), real
        They sum to 1; the first of equally loud sources gets the bin.

    Example
    -------
    >>> sources = torch.tensor([3.0, 1.0, 0.0, 2j, -5.0, 0.0]).view(2, 1, 3)
    >>> binary_mask(sources)[:, 0]
    tensor([[1., 0., 1.],
            [0., 1., 0.]])
    """
    magnitudes = sources.abs()
    loudest = magnitudes.argmax(-3, keepdim=True)
    return torch.zeros_like(magnitudes).scatter_(-3, loudest, 1.0)


def ratio_mask(sources, power=1.0):
    """Ideal ratio mask: |S_k|^p / sum over j of |S_j|^p.

    Arguments
    ---------
    sources : torch.Tensor (..., sources, frames, bins), complex
    power : float
        1 (default) gives the magnitude mask, 2 the Wiener filter.

    Returns
    -------
    torch.Tensor (..., sources, frames, bins), real
        In [0, 1]; they sum to 1.

    Example
    -------
    >>> sources = torch.tensor([3.0, 0.0, 1j, 0.0]).view(2, 1, 2)
    >>> ratio_mask(sources)[:, 0]
    tensor([[0.7500, 0.5000],
            [0.2500, 0.5000]])
    >>> ratio_mask(sources, power=2)[:, 0, 0]
    tensor([0.9000, 0.1000])
    """
    magnitudes = sources.abs()
    # Relative to the loudest, powers neither overflow nor vanish.
    loudest = magnitudes.amax(-3, keepdim=True)
    silent = loudest == 0
    parts = (magnitudes / loudest.masked_fill(silent, 1.0)) ** power
    parts = parts.masked_fill(silent, 1.0)
    return parts / parts.sum(-3, keepdim=True)


def phase_sensitive_mask(sources, mixture=None, limits=(0.0, 1.0)):
    """Phase-sensitive mask: |S_k| / |M| times the cosine of their angle.

    Of all real masks this has the least squared error (Erdogan et al., ICASSP
    2015); cut to [0, 1] it is what a sigmoid can say.

    Arguments
    ---------
    sources : torch.Tensor (..., sources, frames, bins), complex
    mixture : torch.Tensor (..., frames, bins), complex, optional
        Default: the sum of the sources.
    limits : (float, float) or None
        Values outside are cut; None leaves them. Default: (0, 1).

    Returns
    -------
    torch.Tensor (..., sources, frames, bins), real
        Without limits they sum to 1 if the mixture is the sum of the sources.

    Example
    -------
    >>> sources = torch.tensor([2.0, -1.0]).view(2, 1, 1) + 0j
    >>> phase_sensitive_mask(sources).flatten()
    tensor([1., 0.])
    >>> phase_sensitive_mask(sources, limits=None).flatten()
    tensor([ 2., -1.])
    """
    mask = complex_mask(sources, mixture).real
    return mask if limits is None else mask.clamp(*limits)


def complex_mask(sources, mixture=None):
    """Ideal complex mask S_k / M, which restores the sources.

    Arguments
    ---------
    sources : torch.Tensor (..., sources, frames, bins), complex
    mixture : torch.Tensor (..., frames, bins), complex, optional
        Default: the sum of the sources.

    Returns
    -------
    torch.Tensor (..., sources, frames, bins), complex
        1 / sources where the sources cancel each other to rounding error.

    Example
    -------
    >>> sources = torch.tensor([1.0, 2j, 1.0, -2j]).view(2, 1, 2)
    >>> complex_mask(sources)[:, 0]
    tensor([[0.5000+0.j, 0.5000+0.j],
            [0.5000+0.j, 0.5000+0.j]])
    """
    if mixture is None:
        mixture = sources.sum(-3)
    mixture = mixture.unsqueeze(-3)
    loudest = sources.abs().amax(-3, keepdim=True)
    limit = torch.finfo(loudest.dtype)
    gone = mixture.abs() <= (limit.eps * loudest).clamp(min=limit.tiny)
    share = torch.full_like(sources, 1.0 / sources.shape[-3])
    return torch.where(
        gone,
        share,
        sources / torch.where(gone, torch.ones_like(mixture), mixture),
    )


def mixture_binary_mask(sources, mixture=None):
    """1 where a source is louder than the mixture: a fault, for the record.

    Some published systems were trained on this instead of `binary_mask`.
    Where the sources are in opposite phase the mixture is quieter than either,
    so chance decides: with r = |A| / |S| and a random phase, 1 has the
    probability arccos(r / 2) / pi for r < 2, and is never above one half.

    Arguments
    ---------
    sources : torch.Tensor (..., sources, frames, bins), complex
    mixture : torch.Tensor (..., frames, bins), complex, optional
        Default: the sum of the sources.

    Returns
    -------
    torch.Tensor (..., sources, frames, bins), real
        0 or 1; silence gets 0 from all.
    """
    if mixture is None:
        mixture = sources.sum(-3)
    magnitudes = sources.abs()
    return (magnitudes > mixture.abs().unsqueeze(-3)).to(magnitudes.dtype)


ORACLES = {
    "ibm": lambda sources, mixture: binary_mask(sources),
    "irm": lambda sources, mixture: ratio_mask(sources),
    "wiener": lambda sources, mixture: ratio_mask(sources, power=2.0),
    "psm": phase_sensitive_mask,
    "complex": complex_mask,
}


def oracle_estimates(
    sources,
    kind="ibm",
    mixture=None,
    n_fft=1024,
    hop_length=256,
    win_length=None,
    window="hann",
):
    """Separate a mixture with masks computed from its sources.

    Arguments
    ---------
    sources : torch.Tensor (..., sources, samples)
    kind : {"ibm", "irm", "wiener", "psm", "complex"}
        Ideal binary, magnitude ratio, power ratio, phase-sensitive (cut to
        [0, 1]) or complex mask. Default: ibm.
    mixture : torch.Tensor (..., samples), optional
        Default: the sum of the sources.
    n_fft, hop_length, win_length, window
        As in `codec.STFT`; samples. Default: 1024, 256, 1024, hann.

    Returns
    -------
    torch.Tensor (..., sources, samples)

    Raises
    ------
    ConfigError
        If the kind is unknown or the transform is not possible.

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> sources = torch.randn(2, 4000, generator=generator)
    >>> estimates = oracle_estimates(sources, "irm")
    >>> torch.allclose(estimates.sum(0), sources.sum(0), atol=1e-5)
    True
    >>> estimates = oracle_estimates(sources, "complex")
    >>> torch.allclose(estimates, sources, atol=1e-4)
    True
    """
    if kind not in ORACLES:
        raise ConfigError(f"kind is {kind!r}: use one of {', '.join(ORACLES)}")
    if mixture is None:
        mixture = sources.sum(-2)
    codec = STFT(n_fft, hop_length, win_length, window).to(sources.device)
    mixture = codec(mixture)
    masks = ORACLES[kind](codec(sources), mixture)
    return codec.inverse(masks * mixture.unsqueeze(-3), sources.shape[-1])
