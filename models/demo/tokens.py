"""The text tokenizer of the tiny MLLM.

A byte-level BPE trained on nothing but the prompts and reasoning texts of prompt.py, so that each of their words
is one token; any other text still encodes, byte by byte. After the text come the special tokens of Qwen2.5-VL, the
tags of the answer format, and 2,048 action tokens. Saved as Hugging Face files (tokenizer.json,
tokenizer_config.json with the chat template).
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import prompt

QWEN_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<ACTION_START>", "<ACTION_END>")
ACTIONS = 2048
TEXT_VOCABULARY = 512

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def corpus():
    """Every text the model is shown, without special tokens; numbers once per bin."""
    for colour in prompt.COLOURS:
        for task, phrasings in enumerate(prompt.PHRASINGS):
            for phrasing in phrasings:
                yield from [phrasing.format(c=colour)] * 4
            for i in range(prompt.BINS):
                yield prompt.thought(task, colour, (i, i), (i, i))
    yield from ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * 64


def build() -> Tokenizer:
    """Trains the tokenizer. Deterministic: the corpus is fixed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_VOCABULARY, min_frequency=1, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    special = list(QWEN_SPECIALS) + list(TAGS) + [f"<action_{i}>" for i in range(ACTIONS)]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
        "padding_side": "right",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Tokenizer:
    """Reads tokenizer.json."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Text -> ids; special tokens written in the text count as themselves, none is added."""
    return tokenizer.encode(text, add_special_tokens=False).ids
