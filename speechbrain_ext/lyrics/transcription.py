"""From a sung line to its words: characters, head, search.

The system is that of Ou, Gu and Wang (ISMIR 2022) and of the audio part of
MM-ALT (Gu et al., ACM MM 2022): over a speech encoder a small network, whose
frames are read twice: by connectionist temporal classification (CTC; Graves et
al., ICML 2006) and by a recurrent decoder with location-aware attention
(Chorowski et al., NeurIPS 2015). Blocks, losses and the beam search are
SpeechBrain's own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.decoders import (
    CoverageScorer,
    CTCScorer,
    RNNLMScorer,
    S2SRNNBeamSearcher,
    ScorerBuilder,
    ctc_greedy_decode,
)
from speechbrain.lobes.models.VanillaNN import VanillaNN
from speechbrain.nnet.embedding import Embedding
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.RNN import AttentionalRNNDecoder
from torch import nn

from speechbrain_ext.errors import ConfigError, ModelError
from speechbrain_ext.lyrics.words import CHARACTERS

SAMPLE_RATE = 16000
SAMPLES_PER_FRAME = 320
BLANK, BOS, EOS = 0, 1, 2
N_TOKENS = 3 + len(CHARACTERS)


def token_encoder() -> CTCTextEncoder:
    """Give what turns characters into tokens and back.

    Returns
    -------
    CTCTextEncoder
        Blank 0, begin 1, end 2, then `CHARACTERS`: 31 tokens.

    Example
    -------
    >>> token_encoder().encode_sequence(" 'ab")
    [3, 4, 5, 6]
    """
    encoder = CTCTextEncoder()
    encoder.insert_blank(index=BLANK)
    encoder.insert_bos_eos(
        bos_label="<bos>", eos_label="<eos>", bos_index=BOS, eos_index=EOS
    )
    encoder.update_from_iterable(CHARACTERS, sequence_input=False)
    encoder.expect_len(N_TOKENS)
    return encoder


_TOKENS = token_encoder()


def tokens_of(text: str) -> torch.Tensor:
    """Tokens of a line.

    Arguments
    ---------
    text : str
        See `words.is_spellable`.

    Returns
    -------
    torch.Tensor (characters,) int64

    Example
    -------
    >>> tokens_of("a b")
    tensor([5, 3, 6])
    """
    return torch.tensor(_TOKENS.encode_sequence(text), dtype=torch.long)


def text_of(tokens) -> str:
    """Words that tokens spell.

    Arguments
    ---------
    tokens : iterable of int
        Blank, begin and end say nothing.

    Returns
    -------
    str
        Words parted by single spaces.

    Example
    -------
    >>> text_of([1, 5, 3, 3, 6, 2])
    'a b'
    """
    kept = [int(token) for token in tokens if int(token) > EOS]
    return " ".join("".join(_TOKENS.decode_ndim(kept)).split())


def frame_lengths(wav_lens, samples: int) -> torch.Tensor:
    """Share of a batch's frames that belong to each item.

    Arguments
    ---------
    wav_lens : torch.Tensor (batch,)
        Share of the samples.
    samples : int
        Of the longest item.

    Returns
    -------
    torch.Tensor (batch,)
        Whole frames of 320 samples, as encoders count them.

    Example
    -------
    >>> frame_lengths(torch.tensor([1.0, 0.5]), 3300)
    tensor([1.0000, 0.5000])
    """
    valid = (wav_lens.double() * samples).round() // SAMPLES_PER_FRAME
    return (valid / (samples // SAMPLES_PER_FRAME)).to(torch.float32)


class CharacterHead(nn.Module):
    """Reads characters from the frames of an encoder, in two ways.

    Defaults are those of MM-ALT.

    Arguments
    ---------
    input_size : int
        Channels of the encoder.
    dnn_layers, dnn_size : int
        Layers that both ways share, and their width. Default: 2 of 1024.
    embedding_size : int
        Of a character for the decoder. Default: 128.
    decoder_size, attention_size : int
        Of the gated recurrent unit, and of what its attention compares.
        Default: 256 and 256.
    channels, kernel_size : int
        Of the filters over the last attention; they see `kernel_size` frames
        to each side. Default: 10 and 100.
    dropout : float
        Probability in the decoder. Default: 0.5.

    Example
    -------
    >>> head = CharacterHead(8, dnn_size=16, decoder_size=12)
    >>> feats, lengths = torch.zeros(2, 50, 8), torch.ones(2)
    >>> heard, said = head(feats, lengths, torch.ones(2, 7, dtype=torch.long))
    >>> heard.shape, said.shape
    (torch.Size([2, 50, 31]), torch.Size([2, 7, 31]))
    """

    def __init__(
        self,
        input_size,
        dnn_layers=2,
        dnn_size=1024,
        embedding_size=128,
        decoder_size=256,
        attention_size=256,
        channels=10,
        kernel_size=100,
        dropout=0.5,
    ):
        super().__init__()
        self.input_size = input_size
        self.dnn = VanillaNN(
            input_shape=[None, None, input_size],
            dnn_blocks=dnn_layers,
            dnn_neurons=dnn_size,
        )
        self.embedding = Embedding(
            num_embeddings=N_TOKENS, embedding_dim=embedding_size
        )
        self.decoder = AttentionalRNNDecoder(
            rnn_type="gru",
            attn_type="location",
            hidden_size=decoder_size,
            attn_dim=attention_size,
            num_layers=1,
            enc_dim=dnn_size,
            input_size=embedding_size,
            channels=channels,
            kernel_size=kernel_size,
            dropout=dropout,
        )
        self.ctc = Linear(input_size=dnn_size, n_neurons=N_TOKENS)
        self.out = Linear(input_size=decoder_size, n_neurons=N_TOKENS)

    def forward(self, feats, lengths, prefixes=None):
        """Read characters.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, input_size)
        lengths : torch.Tensor (batch,)
            Share of the frames that counts.
        prefixes : torch.Tensor (batch, characters), int64, optional
            What was said before each character: begin, then the text.

        Returns
        -------
        heard : torch.Tensor (batch, frames, 31)
            Log-probabilities of tokens by frame, for CTC.
        said : torch.Tensor (batch, characters, 31) or None
            Of the decoder: those of each next character.
        """
        states = self.dnn(feats)
        heard = self.ctc(states).log_softmax(dim=-1)
        if prefixes is None:
            return heard, None
        hidden, _ = self.decoder(self.embedding(prefixes), states, lengths)
        return heard, self.out(hidden).log_softmax(dim=-1)


@dataclass
class Search:
    """How the best line is looked for.

    Each character's score is `1 - ctc_weight` of the decoder's, `ctc_weight`
    of that of the prefix in CTC (Watanabe et al., IEEE JSTSP 2017), and
    `lm_weight` of the language model's; `coverage` is taken away for frames
    that were attended to again and again.

    Arguments
    ---------
    beam_size : int
        Lines kept at a time. Default: 16; MM-ALT has 512.
    ctc_weight : float
        0 to 1. Default: 0.4.
    lm_weight : float
        0 or more; 0: without a language model. Default: 0.4.
    coverage : float
        0 or more. Default: 1.5.
    eos_threshold : float
        The end is not taken while its log-probability is below this many
        times that of the likeliest character. Default: 100.
    max_attn_shift : int
        Frames by which the attention may move from one character to the next.
        Default: 300.
    longest : float
        Characters per frame at most, in (0, 1]. Default: 0.5, 25 a second.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Example
    -------
    >>> Search(ctc_weight=2.0)
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: ctc_weight is 2.0: give 0 to below 1
    """

    beam_size: int = 16
    ctc_weight: float = 0.4
    lm_weight: float = 0.4
    coverage: float = 1.5
    eos_threshold: float = 100.0
    max_attn_shift: int = 300
    longest: float = 0.5

    def __post_init__(self):
        if not 0 <= self.ctc_weight < 1:
            raise ConfigError(
                f"ctc_weight is {self.ctc_weight}: give 0 to below 1"
            )
        for name, least in (("beam_size", 1), ("max_attn_shift", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: give {least} or more"
                )
        if not 0 < self.longest <= 1:
            raise ConfigError(
                f"longest is {self.longest}: give more than 0, up to 1"
            )
        for name in ("lm_weight", "coverage", "eos_threshold"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: give 0 or more"
                )

    def searcher(self, head, language_model=None) -> S2SRNNBeamSearcher:
        """Build SpeechBrain's search over a head.

        Arguments
        ---------
        head : CharacterHead
        language_model : RNNLM, optional
            Of the same characters, with `return_hidden`. Default: none.

        Returns
        -------
        S2SRNNBeamSearcher
        """
        scorers = {
            "ctc": (self.ctc_weight, CTCScorer(head.ctc, BLANK, EOS)),
            "coverage": (self.coverage, CoverageScorer(N_TOKENS)),
        }
        if language_model is not None:
            scorers["rnnlm"] = (self.lm_weight, RNNLMScorer(language_model))
        scorers = {name: pair for name, pair in scorers.items() if pair[0]}
        return S2SRNNBeamSearcher(
            embedding=head.embedding,
            decoder=head.decoder,
            linear=head.out,
            bos_index=BOS,
            eos_index=EOS,
            min_decode_ratio=0.0,
            max_decode_ratio=self.longest,
            beam_size=self.beam_size,
            eos_threshold=self.eos_threshold,
            using_max_attn_shift=True,
            max_attn_shift=self.max_attn_shift,
            scorer=ScorerBuilder(
                weights={name: weight for name, (weight, _) in scorers.items()},
                full_scorers=[scorer for _, scorer in scorers.values()],
            ),
        )


def parts_of(folder) -> list[str]:
    """Name the modules of a model folder.

    Arguments
    ---------
    folder : str or Path

    Returns
    -------
    list of str
        `encoder`, `head` and, if it is there, `language_model`.
    """
    from speechbrain_ext.inference.model_folder import model_keys

    has_language = "language_model" in model_keys(folder)
    return ["encoder", "head"] + ["language_model"] * has_language


class LyricsModel:
    """Encoder and head, and perhaps a language model, that hear words.

    Arguments
    ---------
    encoder : torch.nn.Module
        See `speechbrain_ext.encoders`.
    head : CharacterHead
    language_model : RNNLM, optional
        Default: none.
    search : Search, optional
        Default: `Search()`.
    device : str
        Default: cpu.

    Example
    -------
    >>> from speechbrain_ext.encoders.spectral import MelEncoder
    >>> encoder = MelEncoder(8, 20, (2, 2, 2), (1,))
    >>> head = CharacterHead(8, dnn_size=8, decoder_size=8)
    >>> model = LyricsModel(encoder, head, search=Search(beam_size=2))
    >>> isinstance(model.search(np.zeros(3200)), str)
    True
    """

    def __init__(
        self, encoder, head, language_model=None, search=None, device="cpu"
    ):
        self.device = device
        self.encoder = encoder.to(device).eval()
        self.head = head.to(device).eval()
        self.settings = search or Search()
        if language_model is not None:
            language_model = language_model.to(device).eval()
        self.searcher = self.settings.searcher(self.head, language_model)
        self.language_model = language_model

    @classmethod
    def load(cls, folder, device="cpu", **search) -> LyricsModel:
        """Load a model folder.

        Arguments
        ---------
        folder : str or Path
            That a recipe for lyrics wrote.
        device : str
            Default: cpu.
        **search
            Arguments of `Search` to use instead of those in the folder.

        Returns
        -------
        LyricsModel

        Raises
        ------
        ModelError
            If the folder holds no such model.
        ConfigError
            If a setting of the search is out of range.
        """
        from speechbrain_ext.inference.model_folder import (
            find_model,
            load_model,
        )

        folder = find_model(folder)
        found = load_model(folder, parts_of(folder))
        if not isinstance(found.get("search"), Search):
            raise ModelError(
                f"{folder}: has no search: is this a model of another kind?"
            )
        return cls(
            found["encoder"],
            found["head"],
            found.get("language_model"),
            Search(**asdict(found["search"]) | search),
            device,
        )

    def _feats(self, wav):
        """Features (1, frames, channels) and their length."""
        wav = torch.as_tensor(np.asarray(wav), dtype=torch.float32)
        return self.encoder(wav[None].to(self.device)), torch.ones(
            1, device=self.device
        )

    @torch.no_grad()
    def greedy(self, wav) -> str:
        """Words by the likeliest token of each frame.

        Arguments
        ---------
        wav : np.ndarray (samples,)
            A line, mono, at 16 kHz, of 20 ms or more.

        Returns
        -------
        str
        """
        feats, length = self._feats(wav)
        heard, _ = self.head(feats, length)
        return text_of(ctc_greedy_decode(heard, length, BLANK)[0])

    @torch.no_grad()
    def search(self, wav) -> str:
        """Words by the search.

        Arguments
        ---------
        wav : np.ndarray (samples,)
            A line of up to about half a minute, mono, at 16 kHz.

        Returns
        -------
        str
        """
        feats, length = self._feats(wav)
        lines, *_ = self.searcher(self.head.dnn(feats), length)
        return text_of(lines[0])
