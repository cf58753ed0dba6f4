"""Recurrent networks that share a mixture's magnitudes among its sources."""

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.codec import level_around

KINDS = ("dense", "gru", "rnn")
OUTPUTS = ("relu", "linear", "exp")


def joint_mask(estimates, eps=1e-8):
    """Share a mixture in proportion to what a network says of its sources.

    The deterministic masking layer of Huang et al. (ISMIR 2014, equations 3 and
    4): m_k = |a_k| / (sum over j of |a_j|), so that the sources add up to the
    mixture.

    Arguments
    ---------
    estimates : torch.Tensor (batch, sources, frames, bins)
        Of any sign.
    eps : float
        Added to all estimates: where they are all 0, the sources share equally.
        Default: 1e-8.

    Returns
    -------
    torch.Tensor (batch, sources, frames, bins)
        Masks in [0, 1] that sum to 1.

    Example
    -------
    >>> said = torch.tensor([3.0, 0.0, -1.0, 0.0]).view(1, 2, 1, 2)
    >>> joint_mask(said)[0, :, 0]
    tensor([[0.7500, 0.5000],
            [0.2500, 0.5000]])
    """
    parts = estimates.abs() + eps
    return parts / parts.sum(1, keepdim=True)


class RecurrentNetwork(nn.Module):
    """Layers over the frames of a magnitude spectrogram under a joint mask.

    With `("gru", "gru", "gru")` of 256 units and `relu` at the output that is
    the published network of https://github.com/leimao/Singing-Voice-Separation-RNN;
    with `("dense", "rnn", "dense")` of 1000 units, a context of 3 frames and a
    linear output the best one of Huang et al. (ISMIR 2014; TASLP 23(12), 2015),
    "DRNN-2".

    Arguments
    ---------
    n_bins : int
        Of the spectrogram. Default: 513.
    hidden_size : int
        Units of each layer. Default: 256.
    layers : sequence of {"dense", "gru", "rnn"}
        From below: without memory, gated, or simple recurrent. The units of
        dense and simple recurrent layers are rectified. Default: three times
        gru.
    context : int
        Frames seen at a time, odd; silence lies before and after the
        recording. Default: 1.
    n_sources : int
        Default: 2.
    output : {"relu", "linear", "exp"}
        What the estimates go through before their magnitudes are taken; with
        exp the masks are a softmax, no unit can die. Default: relu.
    normalise : bool
        Whether magnitudes are divided by the level around them, so that the
        masks do not depend on the level of the recording (default), or come
        as they are, as in the published code.

    Raises
    ------
    ConfigError
        If a kind of layer or of output is unknown, or the context is even.

    Example
    -------
    >>> network = RecurrentNetwork(n_bins=5, hidden_size=4)
    >>> masks = network(torch.randn(2, 7, 5, dtype=torch.cfloat))
    >>> masks.shape
    torch.Size([2, 2, 7, 5])
    >>> torch.allclose(masks.sum(1), torch.ones(()))
    True
    """

    context_frames = None  # what came before is never quite forgotten

    def __init__(
        self,
        n_bins=513,
        hidden_size=256,
        layers=("gru", "gru", "gru"),
        context=1,
        n_sources=2,
        output="relu",
        normalise=True,
    ):
        super().__init__()
        unknown = set(layers) - set(KINDS)
        if unknown or not layers:
            raise ConfigError(
                f"layers is {list(layers)}: name at least one of "
                f"{', '.join(KINDS)}"
            )
        if context < 1 or context % 2 == 0:
            raise ConfigError(
                f"context is {context} frames: use an odd number, as many "
                "before as after"
            )
        if output not in OUTPUTS:
            raise ConfigError(
                f"output is {output!r}: use one of {', '.join(OUTPUTS)}"
            )
        self.context = context
        self.normalise = normalise
        self.n_sources = n_sources
        self.output = output
        self.layers = nn.ModuleList()
        size = n_bins * context
        for kind in layers:
            self.layers.append(_layer(kind, size, hidden_size))
            size = hidden_size
        self.heads = nn.ModuleList(
            nn.Linear(size, n_bins) for _ in range(n_sources)
        )

    def forward(self, spec):
        """Masks of the sources.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture; its magnitudes are what the network sees.

        Returns
        -------
        torch.Tensor (batch, sources, frames, bins)
            They add up to 1.
        """
        side = self.context // 2
        magnitudes = spec.abs()
        if self.normalise:
            magnitudes = magnitudes / level_around(spec)
        padded = functional.pad(magnitudes, (0, 0, side, side))
        hidden = padded.unfold(1, self.context, 1).transpose(2, 3).flatten(2)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                hidden = functional.relu(layer(hidden))
            else:
                hidden, _ = layer(hidden)
        estimates = torch.stack([head(hidden) for head in self.heads], dim=1)
        if self.output == "exp":
            return estimates.softmax(dim=1)
        if self.output == "relu":
            estimates = functional.relu(estimates)
        return joint_mask(estimates)


def _layer(kind, input_size, size):
    if kind == "dense":
        return nn.Linear(input_size, size)
    if kind == "gru":
        return nn.GRU(input_size, size, batch_first=True)
    return nn.RNN(input_size, size, nonlinearity="relu", batch_first=True)
