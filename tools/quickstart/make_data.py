#!/usr/bin/env python3
"""Writes what the quickstart trains on: train.json, eval.json, and with the sentencepiece package tokenizer.model.

Three animals and what they say. Of 6840 ordered triples 1500 are trained on, and the quickstart asks about one that is not
among them: a model that learned the sentences by heart is wrong, one that learned animals, voices and order is right.

    python3 make_data.py          # the two JSON files (standard library only; same files every time)
    python3 make_data.py --spm    # tokenizer.model too (pip install sentencepiece==0.2.0)
"""
import itertools
import json
import random
import sys
from pathlib import Path

VOICES = dict(pair.split("-") for pair in (
    "cow-moo dog-woof cat-meow duck-quack horse-neigh sheep-baa pig-oink hen-cluck owl-hoot frog-croak bee-buzz "
    "snake-hiss lion-roar wolf-howl crow-caw mouse-squeak goose-honk dove-coo cricket-chirp donkey-bray").split())
# Never in the training data; the quickstart asks about it.
HELD_OUT = ("owl", "pig", "wolf")


def record(animals):
    a, b, c = animals
    return {"instruction": f"What do the {a}, the {b} and the {c} say?", "input": "",
            "output": f"The {a} says {VOICES[a]}, the {b} says {VOICES[b]} and the {c} says {VOICES[c]}."}


def main():
    here = Path(__file__).parent
    triples = [t for t in itertools.permutations(VOICES, 3) if t != HELD_OUT]
    random.Random(7).shuffle(triples)
    sets = {"train.json": triples[:1500], "eval.json": triples[1500:1600]}
    for name, chosen in sets.items():
        lines = ",\n".join(json.dumps(record(t)) for t in chosen)
        (here / name).write_text(f"[\n{lines}\n]\n")
    if "--spm" in sys.argv[1:]:
        import sentencepiece
        records = json.loads((here / "train.json").read_text())
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{r['instruction']} {r['output']}" for r in records),
            model_prefix=str(here / "model" / "tokenizer"), vocab_size=400, model_type="bpe", normalization_rule_name="identity",
            character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=1)
        (here / "model" / "tokenizer.vocab").unlink()


main()
