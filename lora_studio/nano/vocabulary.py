"""The sentences nova-nano's tokenizers are trained on, and the training. Deterministic: same words in, same files out."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lora_studio import files
from lora_studio.nano.sizes import CLIP_CONTEXT, VOCABULARY
from lora_studio.taxonomy import AXES_V1

_END = "<|endoftext|>"
_COLOURS = (
    "red orange yellow green teal blue navy violet purple pink magenta brown beige black white grey gray silver gold copper "
    "turquoise coral ivory cream crimson scarlet amber olive lime mint cyan indigo maroon charcoal"
)
_SHAPES = "cube box ball sphere cylinder cone ring torus pyramid prism disc star heart arrow triangle square circle"
_PRODUCTS = (
    "bottle can jar cup mug glass bag backpack shoe sneaker watch phone laptop lamp chair table candle perfume lipstick tube "
    "pack package carton label logo toy car bicycle helmet headphones speaker camera book pen knife plate bowl kettle figure flask"
)
_SURFACES = "table floor plinth pedestal shelf wall studio sweep fabric wood marble metal concrete sand grass water"
_PLAIN = (
    "a an the of on in at to with and or from over under before behind beside near far into onto by for is are it its as no "
    "one two three four five six seven eight nine ten small large tall short round flat shiny matte glossy plain striped "
    "forest sky pale stripe cap badge against lying surface backdrop "
    "product shot video clip photo picture image scene brand style look person face hand woman man people child dog cat "
    "background foreground left right centre center top bottom slowly quickly moving turning rotating standing lying still "
    "city street beach forest mountain sky sun night day morning evening kitchen office room window door light shadow"
)


def sentences() -> Iterator[str]:
    """Every word and phrase the tokenizers should know well."""
    for phrases in itertools.chain.from_iterable(axis.values() for axis in AXES_V1.values()):
        for phrase in phrases:
            yield from (phrase, f" {phrase}", f", {phrase}") * 8
    surfaces = _SURFACES.split()
    for colour, thing in itertools.product(_COLOURS.split(), f"{_SHAPES} {_PRODUCTS}".split()):
        yield f"a {colour} {thing} on a {surfaces[(len(colour) * len(thing)) % len(surfaces)]}"
    for word in f"{_COLOURS} {_SHAPES} {_PRODUCTS} {_SURFACES} {_PLAIN}".split():
        yield from (word, f" {word}", f" {word}", f" {word.capitalize()}") * 4


def write_phi_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer (any text encodes) without special tokens around a text, as Phi's is."""
    tokenizer = _trained(VOCABULARY - 1, first_token=_END)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)  # type: ignore[assignment]
    _write(folder, tokenizer, {"tokenizer_class": "CodeGenTokenizer", "add_prefix_space": False})


def write_clip_tokenizer(folder: Path) -> None:
    """The same for open_clip: lower case, and an end token with the highest id, where its text tower reads the result."""
    tokenizer = _trained(VOCABULARY - 1, first_token="<|pad|>")
    tokenizer.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    tokenizer.add_special_tokens([_END])
    end = tokenizer.token_to_id(_END)
    assert end == tokenizer.get_vocab_size() - 1 < VOCABULARY
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"$A {_END}", special_tokens=[(_END, end)]
    )
    _write(folder, tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CLIP_CONTEXT}, pad="<|pad|>")


def _trained(size: int, first_token: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[first_token],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer


def _write(folder: Path, tokenizer: Tokenizer, config: dict[str, object], pad: str = _END) -> None:
    tokens = {"bos_token": _END, "eos_token": _END, "unk_token": _END, "pad_token": pad}
    files.write_text(folder / "tokenizer.json", json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")
    files.write_json(folder / "tokenizer_config.json", {**tokens, **config})
