// charsmap.h: whether the tables in a tokenizer.model can be walked without leaving them. libsentencepiece trusts them, and
// a damaged file would make it read anywhere.
#ifndef TOKENIZERS_CHARSMAP_H
#define TOKENIZERS_CHARSMAP_H
#include <string>

// True if every precompiled_charsmap in the serialized model is sound, or there is none; else *why says what is wrong.
// Whether the rest is a model is the library's business.
bool charsmaps_are_sound(const std::string &model, std::string *why);
#endif
