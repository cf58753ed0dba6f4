"""Train and test singing voice transcription from audio on N20EMv2.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/N20EMv2 \
        --mir_st500_folder /path/to/MIR-ST500

The first command needs no data: it writes MiniSinging in the layouts of
N20EMv2, MIR-ST500, TONAS and ISMIR2014 first. The second trains on N20EMv2 and
MIR-ST500 and should reach the published COnPOff / COnP / COn of 73.1 / 79.6 /
93.7 % on the N20EMv2 test songs (Gu et al., ACM TOMM 2024).
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpora, train on N20EMv2 and MIR-ST500, test on all."""
    rows = corpora_rows(hparams, ["mir_st500", "tonas", "ismir2014", "n20emv2"])
    mixed_in = rows.get("mir_st500", {}).get("train", [])
    run_transcription(
        hparams,
        run_opts,
        train=rows["n20emv2"]["train"] + mixed_in,
        valid=rows["n20emv2"]["valid"],
        tests={name: splits["test"] for name, splits in rows.items()},
    )


if __name__ == "__main__":
    recipe.run(main)
