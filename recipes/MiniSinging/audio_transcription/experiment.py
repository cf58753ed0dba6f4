"""Train and test the transcriber that SingBrain ships.

    python experiment.py mini.yaml
    python experiment.py params.yaml
    python experiment.py params.yaml --mir1k_folder /path/to/MIR-1K

The first command takes minutes, the others hours on two CPU cores; none needs
a download. With MIR-1K, the singers abjones and amy (Huang et al.'s training
set) also teach it their pitch contours, and their karaoke tracks accompany.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.datasets import corpora_rows, mixtures, repeated


def main(hparams, run_opts):
    """Write the corpus, train on it, test with and without accompaniment."""
    rows = corpora_rows(hparams, ["minisinging", "mir1k"])
    train, valid = rows["minisinging"]["train"], rows["minisinging"]["valid"]
    for level in hparams["valid_mix_db"]:
        valid = valid + mixtures(rows["minisinging"]["valid"], level)
    if "mir1k" in rows:
        train = train + repeated(
            rows["mir1k"]["train"], hparams["mir1k_repeats"]
        )
    tests = {"solo": rows["minisinging"]["test"]}
    for level in hparams["test_mix_db"]:
        tests[f"{level:g}dB"] = mixtures(rows["minisinging"]["test"], level)
    run_transcription(hparams, run_opts, train, valid, tests)


if __name__ == "__main__":
    recipe.run(main)
