"""Makes the small tokenizers of tests/tokenizers (trained on the repository's own text) and the golden values of
tests/golden/tokenizers: what Hugging Face's tokenizers and sentencepiece make of texts.jsonl, and, where DATA is given, what
they make of the files there with LLaMA 2's and 3's vocabularies.

    python make_tokenizers.py [--data ../shared/data]
"""
import argparse
import glob
import io
import json
import os
import random
import shutil
import sys

from compare_tokenizers import SentencePiece, random_text, texts_of

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
OUT = os.path.join(HERE, "..", "tokenizers")
GOLDEN = os.path.join(HERE, "tokenizers")

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CHINESE = ("长鼻浣熊是一种小型动物。它们住在森林里，吃水果和昆虫。我们的模型可以在一台电脑上训练。你好，世界！今天天气很好，我们一起去公园吧。"
           "学习语言需要时间和耐心。请用中文回答下面的问题：什么是人工智能？ 人工智能是计算机科学的一个分支。\n") * 3
OTHER = "Ein Nasenbär frisst Früchte. Le coati mange des fruits à l'été. Коати ест фрукты. コアリクイは果物を食べます。 👍 🦙 🇩🇪 It's, I'm, we'll, they've.\n" * 3


def corpus():
    text = open(os.path.join(OUT, "tiny.txt"), encoding="utf-8").read()
    for name in sorted(glob.glob(os.path.join(ROOT, "core", "base", "*.[ch]"))) + [os.path.join(ROOT, "README.md")]:
        text += open(name, encoding="utf-8").read()
    return (text[:120000] + CHINESE + OTHER).split("\n")


def byte_level_bpe(steps, special, size=700, normalizer=None):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = steps
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator([line + "\n" for line in corpus()], trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def split_bpe(pattern, special, **more):
    steps = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level_bpe(steps, special, **more)


def with_model(t, **settings):
    """The same tokenizer with other settings of its model."""
    d = json.loads(t.to_str())
    d["model"].update(settings)
    return Tokenizer.from_str(json.dumps(d))


def character_bpe(size=600):
    """LLaMA 2's kind: no pre-tokenizer, byte fallback."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=special, limit_alphabet=120, show_progress=False))
    d = json.loads(t.to_str())
    d["added_tokens"] = d["added_tokens"][:3]
    d["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(d))


def llama2():
    t = character_bpe()
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def mistral():
    t = character_bpe()
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)])
    return t


def llama3():
    t = split_bpe(GPT4 % "{1,3}", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    t = with_model(t, ignore_merges=True)
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="$A $B", special_tokens=[("<|begin_of_text|>", 0)])])
    return t


def odd_words():
    """Characters as symbols, an unknown token, a suffix; every plain splitter; flags of added tokens."""
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex("[‘’]"), "'"), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()])
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<pad>"], limit_alphabet=100,
                                                        end_of_word_suffix="</w>", show_progress=False))
    t.add_tokens([AddedToken("hello", single_word=True, normalized=True), AddedToken("<left>", lstrip=True, normalized=False),
                  AddedToken("<right>", rstrip=True, normalized=False), AddedToken(" wide", normalized=True)])
    t.add_special_tokens([AddedToken("<both>", lstrip=True, rstrip=True)])
    return t


def odd_marks():
    """The older Metaspace, fused and unfused unknowns, a prefix for what does not begin a word."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="@"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split("-", "merged_with_previous"),
                                               pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(individual_digits=False)])
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>"], limit_alphabet=80,
                                                        continuing_subword_prefix="@", show_progress=False))
    return t


def roberta():
    t = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "<pad>", "</s>", "<unk>"], size=500)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return t


JSON_FIXTURES = {
    "gpt2": lambda: byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"]),
    "bloom": lambda: split_bpe(BLOOM, ["<unk>", "<s>", "</s>", "<pad>"]),
    "llama2": llama2,
    "llama3": llama3,
    "mistral": mistral,
    "nemo": lambda: split_bpe(TEKKEN, ["<unk>", "<s>", "</s>"]),
    "odd_marks": odd_marks,
    "odd_words": odd_words,
    "qwen2": lambda: split_bpe(GPT4 % "", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC()),
    "roberta": roberta,
}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def texts():
    r = random.Random(7)
    fixed = ["", " ", "  ", "\n", "a", "Hello world", " Hello  world ", "It's 12345 o'clock, isn't IT'S?\r\n\r\n  x\t\ty", "你好，世界！这是(测试)。", "a.b|c(d)e",
             "x = [1, 22, 333, 4444];  // ok", "naïve café e\u0301 ﬁne", "👩‍👩‍👧 🇩🇪 👍🏽", "a" * 300, "ab " * 60, "…。،", "<s>hi</s> <unk>", "\u017f's 'ſ 'S",
             "\ufeffBOM", "tab\tand\u00a0nbsp\u3000wide", "१२३ ½ Ⅷ ²", "hello, ohello hello\u200d", "a <left>  <right>  b <both> c", "x  wide\n<both><both>",
             "<|begin_of_text|><|eot_id|> <|im_start|>user\n<mask>", "-a--b-c- --", "mixed漢字and한글かなЖ", "\x01\x02\x7f", "ŉ İstanbul ΑΣ", "𓐍 𞓐 𖄀 \u1c8a \u0897"]
    return fixed + [random_text(r) for _ in range(110)]


def golden_line(ids, everything, back, text):
    return f"{' '.join(map(str, ids))}|{' '.join(map(str, everything))}|{'=' if back == text else json.dumps(back)}\n"


def write_golden(name, t):
    out = "".join(golden_line(t.encode(x, add_special_tokens=False).ids, t.encode(x).ids, t.decode(t.encode(x, add_special_tokens=False).ids), x) for x in texts())
    write(f"{GOLDEN}/{name}.txt", out)


def write_golden_sentencepiece(name, path):
    t = SentencePiece(path).t
    bos = [t.bos_id()] if t.bos_id() >= 0 else []
    write(f"{GOLDEN}/{name}.txt", "".join(golden_line(t.encode(x), bos + t.encode(x), t.decode(t.encode(x)), x) for x in texts()))


def train_unigram():
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, vocab_size=500, model_type="unigram",
                                             byte_fallback=True, character_coverage=0.99, minloglevel=2, num_threads=1)
    os.makedirs(f"{OUT}/unigram", exist_ok=True)
    open(f"{OUT}/unigram/tokenizer.model", "wb").write(model.getvalue())


def gpt2_files():
    """GPT-2's and OPT's form: vocab.json and merges.txt."""
    d = json.load(open(f"{OUT}/gpt2/tokenizer.json"))["model"]
    merges = "#version: 0.2\n" + "\n".join(m if isinstance(m, str) else " ".join(m) for m in d["merges"]) + "\n"
    for name in ("gpt2_files", "opt_files"):
        vocab = dict(d["vocab"])
        if name == "opt_files":
            del vocab["<|endoftext|>"]
            vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, **{k: v + 2 for k, v in vocab.items()}}
        write(f"{OUT}/{name}/vocab.json", json.dumps(vocab, ensure_ascii=False))
        write(f"{OUT}/{name}/merges.txt", merges)
    write(f"{OUT}/opt_files/special_tokens_map.json", json.dumps({"bos_token": "</s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": "<pad>"}))
    write(f"{OUT}/opt_files/tokenizer_config.json", json.dumps({"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}))
    t = Tokenizer.from_file(f"{OUT}/gpt2/tokenizer.json")
    write_golden("gpt2_files", t)
    o = json.loads(t.to_str())
    o["model"]["vocab"] = json.load(open(f"{OUT}/opt_files/vocab.json"))
    o["added_tokens"] = []
    o = Tokenizer.from_str(json.dumps(o))
    o.add_special_tokens(["<pad>", "</s>"])
    o.post_processor = processors.TemplateProcessing(single="</s> $A", pair="$A $B", special_tokens=[("</s>", 2)])
    write_golden("opt_files", o)


def fnv(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def shared(data):
    """Hashes of the ids of whole files, and the golden texts, with the real vocabularies."""
    llama2_json, llama3_json = (Tokenizer.from_file(f"{data}/tokenizers/{p}/tokenizer.json") for p in ("llama2/hf", "llama3"))
    write_golden("shared_llama2", llama2_json)
    write_golden("shared_llama3", llama3_json)
    write_golden_sentencepiece("shared_llama2_model", f"{data}/tokenizers/llama2")
    spm = SentencePiece(f"{data}/tokenizers/llama2").t
    out = ""
    for name, all_texts in texts_of(data):
        if name.endswith(".gz"):
            continue
        for label, encode in (("llama2/hf", lambda x: llama2_json.encode(x, add_special_tokens=False).ids), ("llama2", spm.encode),
                              ("llama3", lambda x: llama3_json.encode(x, add_special_tokens=False).ids)):
            ids = encode(all_texts[0])
            out += f"{label} {name} {len(ids)} {fnv(ids):016x}\n"
    write(f"{GOLDEN}/shared_files.txt", out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data")
    args = p.parse_args()
    write(f"{GOLDEN}/texts.jsonl", "".join(json.dumps(t) + "\n" for t in texts()))
    for name, make in JSON_FIXTURES.items():
        t = make()
        write(f"{OUT}/{name}/tokenizer.json", json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        write_golden(name, t)
        print(name, t.get_vocab_size(), file=sys.stderr)
    gpt2_files()
    train_unigram()
    write_golden_sentencepiece("unigram", f"{OUT}/unigram")
    write_golden_sentencepiece("tiny", f"{OUT}/tiny")
    if args.data:
        shared(args.data)


main()
