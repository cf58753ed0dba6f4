"""Train and test singing voice transcription from audio on MIR-ST500.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/MIR-ST500

The first command needs no data: it writes MiniSinging in the layouts of
MIR-ST500, TONAS, ISMIR2014 and N20EMv2 first. The second should reach the
published COnPOff / COnP / COn of 52.4 / 70.7 / 78.3 % on the MIR-ST500 test
songs (Gu et al., ACM TOMM 2024).
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpora, train on MIR-ST500, test on all that are given."""
    rows = corpora_rows(hparams, ["mir_st500", "tonas", "ismir2014", "n20emv2"])
    run_transcription(
        hparams,
        run_opts,
        train=rows["mir_st500"]["train"],
        valid=rows["mir_st500"]["valid"],
        tests={name: splits["test"] for name, splits in rows.items()},
    )


if __name__ == "__main__":
    recipe.run(main)
