"""Pictures of what a separator that is told what is sung makes of a song."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from speechbrain_ext.audio import read_audio
from speechbrain_ext.lyrics.posteriorgram import read_sung
from speechbrain_ext.lyrics.timed import read_timed
from speechbrain_ext.report.plots import masks_figure, posteriorgram_figure


def song_pictures(
    model, row, folder, start: float = 0.0, seconds: float = 12.0
) -> list[Path]:
    """Draw phones over the spectrum of a song, and masks of its voice.

    Arguments
    ---------
    model : str or Path
        Model folder of a `separation.informed.InformedSeparator`.
    row : dict
        Of a manifest: `song_id`, `stop`, `wav`, `accomp_wav`, `phones` and
        perhaps `words`.
    folder : str or Path
        Gets `phones.png` and `masks.png`; older ones are replaced.
    start, seconds : float
        Where the picture starts, and how much it shows. Default: 0, 12.

    Returns
    -------
    list of Path
        The files written. Masks are those of the model when it is told what
        is sung, when it is told nothing, and the ideal ratio mask.
    """
    import torch

    from speechbrain_ext.inference.model_folder import load_model
    from speechbrain_ext.separation.masks import ratio_mask
    from speechbrain_ext.separation.side_input import controlled

    separator = load_model(model, ("separator",))["separator"].eval()
    rate = separator.sample_rate
    stop = start + seconds
    wavs = [
        read_audio(row[m], start, stop, rate) for m in ("wav", "accomp_wav")
    ]
    size = min(map(len, wavs))
    sources = np.stack([wav[:size] for wav in wavs]).astype(np.float32)
    sung = read_sung(row["phones"])
    words = []
    if row.get("words"):
        words = [
            replace(word, onset=word.onset - start, offset=word.offset - start)
            for word in read_timed(row["words"])
        ]
    folder = Path(folder)
    name = row["song_id"]
    drawn = [
        posteriorgram_figure(
            sources.sum(0),
            rate,
            sung.moved(sung.start - start),
            folder / "phones.png",
            words,
            title=name,
            overwrite=True,
        )
    ]
    spec = separator.codec(torch.from_numpy(sources))
    mixture = spec.sum(0)[None, None]
    masks = {}
    told = {"told what is sung": "correct"}
    if separator.side_size:
        told["told nothing"] = "constant"
    with torch.inference_mode():
        for title, control in told.items():
            side = controlled(control, sung, stop)
            rows = separator.rows(side, mixture.shape[2], start)
            found = separator.masks(mixture, torch.from_numpy(rows)[None])
            masks[title] = found[0, 0, 0].abs().clamp(0, 1).numpy()
    masks["ideal"] = ratio_mask(spec)[0].numpy()
    drawn.append(
        masks_figure(
            masks,
            rate,
            separator.hop_length,
            folder / "masks.png",
            title=name,
            overwrite=True,
        )
    )
    return drawn
