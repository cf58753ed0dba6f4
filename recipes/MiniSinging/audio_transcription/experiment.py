"""Train a transcriber on MiniSinging; test it alone and in noise.

    python experiment.py mini.yaml
    python experiment.py params.yaml
    python experiment.py params.yaml --mir1k_folder /path/to/MIR-1K

The first command takes minutes, the others hours on two CPU cores; none needs
a download. With MIR-1K, the singers abjones and amy (Huang et al.'s training
set) also teach it their pitch contours, and their karaoke tracks accompany;
the others test it, alone and with their accompaniment as recorded.
"""

from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.datasets import corpora_rows, noisy, repeated
from speechbrain_ext.report.plots import noise_curves


def main(hparams, run_opts):
    """Write the corpus, train on it, test alone and with noise."""
    rows = corpora_rows(hparams, ["minisinging", "mir1k"])
    train, valid, test = (
        rows["minisinging"][split] for split in ("train", "valid", "test")
    )
    definition = hparams["noise_level"]
    valid = valid + [
        row
        for ratio in hparams["valid_mix_db"]
        for row in noisy(valid, "accompaniment", ratio, level=definition)
    ]
    tests = {"clean": test} | {
        f"{kind}{ratio:+g}dB": noisy(test, kind, ratio, folder, definition)
        for kind, folder in hparams["test_noise"].items()
        for ratio in hparams["test_noise_db"]
    }
    if "mir1k" in rows:
        train = train + repeated(
            rows["mir1k"]["train"], hparams["mir1k_repeats"]
        )
        tests["mir1k"] = rows["mir1k"]["test"]
        tests["mir1k_mix"] = [
            {**row, "wav": row["mix_wav"]} for row in rows["mir1k"]["test"]
        ]
    results = run_transcription(hparams, run_opts, train, valid, tests)
    if if_main_process():
        place = Path(hparams["output_folder"]) / "noise.png"
        noise_curves(results, place, overwrite=True)


if __name__ == "__main__":
    recipe.run(main)
