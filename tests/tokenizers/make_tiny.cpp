// make_tiny.cpp: how tests/tokenizers/tiny/tokenizer.model was made, from tiny.txt and nothing else, with the
// settings of LLaMA's tokenizer. Not part of the build; again, from this folder:
//   g++ -std=c++17 make_tiny.cpp -lsentencepiece_train -lsentencepiece -o /tmp/make_tiny && /tmp/make_tiny
#include <sentencepiece_trainer.h>
#include <cstdio>

int main()
{
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        "--input=tiny.txt --model_prefix=tiny/tokenizer --model_type=bpe --vocab_size=420 --byte_fallback=true "
        "--normalization_rule_name=identity --remove_extra_whitespaces=false --add_dummy_prefix=true "
        "--split_digits=true --allow_whitespace_only_pieces=true --character_coverage=0.98 --num_threads=1");
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return !status.ok();
}
