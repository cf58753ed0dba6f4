"""Models of the package demucs as separators.

demucs (Rouard, Massa & Défossez, ICASSP 2023) is not needed otherwise; its
models come with it as names and are fetched when they are first used.
"""

from __future__ import annotations

import re

from torch import nn

from speechbrain_ext.errors import (
    DependencyError,
    ModelError,
    optional_library,
)


class DemucsSeparator(nn.Module):
    """A model of demucs in the form that `transfer.estimate_sources` takes.

    Arguments
    ---------
    model : torch.nn.Module
        With `sources`, `samplerate` and `audio_channels`; a bag of models says
        in `max_allowed_segment` how many seconds it can take, a single one in
        `segment`.
    apply_model : callable
        `demucs.apply.apply_model`.
    """

    # Of models that would take any length, to bound the memory.
    longest_s = 30.0

    def __init__(self, model, apply_model):
        super().__init__()
        self.model = model
        self.apply_model = apply_model
        self.sources = tuple(model.sources)
        self.sample_rate = int(model.samplerate)
        self.channels = int(model.audio_channels)
        limit = getattr(
            model,
            "max_allowed_segment",
            getattr(model, "segment", self.longest_s),
        )
        self.segment_s = min(float(limit), self.longest_s)

    def forward(self, mixture):
        """Separate a batch of mixtures.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)
            At most `segment_s` long.

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        return self.apply_model(
            self.model, mixture, shifts=0, split=False, device=mixture.device
        )


def load_demucs(name) -> DemucsSeparator:
    """Load a model of demucs by its name.

    Arguments
    ---------
    name : str
        Such as "htdemucs".

    Returns
    -------
    DemucsSeparator

    Raises
    ------
    DependencyError
        If demucs is not installed, or its weights are not here and cannot be
        fetched.
    ModelError
        If demucs knows no such model.
    """
    what = f"--model demucs:{name}"
    pretrained = optional_library("demucs.pretrained", "demucs", "demucs", what)
    apply = optional_library("demucs.apply", "demucs", "demucs", what)
    if not re.fullmatch(r"[\w-]+", name):
        raise ModelError(f"demucs:{name}: is no name: try demucs:htdemucs")
    try:
        model = pretrained.get_model(name)
    except (Exception, SystemExit) as error:
        # Whatever the library says: no model of that name, no network.
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError):
            raise DependencyError(
                f"demucs:{name}: its weights are not here and cannot be "
                f"fetched ({reason}): use it once with access to the internet"
            ) from None
        raise ModelError(
            f"demucs:{name}: cannot be loaded ({reason}): is htdemucs meant?"
        ) from None
    return DemucsSeparator(model, apply.apply_model)
