/* builtin.c: the templates known by name, in the form of template files. Sources: Stanford Alpaca; FastChat (vicuna v1.1);
 * Meta's reference code for Llama 2 and 3, its chat template for 3.1 and 3.2; OpenAI's ChatML; HuggingFaceH4/zephyr; Anthropic's hh-rlhf; Mistral 7B Instruct. */
#include <coati/abi.h>
#include "core/data/templates/format.h"
#include <string.h>

static const char alpaca[] =
    "[options]\ncut = 1\n"
    "system = Below is an instruction that describes a task. Write a response that appropriately completes the request.\n"
    "system_with_input = Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n"
    "[begin]\n{before}\n[system]\n{content}\n[user]\n\\n\\n### Instruction:\\n{content}\n"
    "[user with input]\n\\n\\n### Instruction:\\n{content}\\n\\n### Input:\\n{input}\n"
    "[assistant]\n\\n\\n### Response:{learn}{content}{eos}";
static const char none[] = "[options]\ncut = 1\n[begin]\n{before}\n[user]\n{content}{input}\n[assistant]\n{learn}{content}{eos}";
static const char vicuna[] =
    "[options]\nsystem = A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the user's questions.\n"
    "[begin]\n{before}\n[system]\n{content}\\s\n[user]\nUSER: {content}\\s\n[assistant]\nASSISTANT:{learn} {content}{eos}";
static const char llama2[] =
    "[options]\nalternate = 1\n[user]\n{bos}[INST] {content|trim} [/INST]\n"
    "[first user]\n{bos}[INST] <<SYS>>\\n{system}\\n<</SYS>>\\n\\n{content|rtrim} [/INST]\n"
    "[assistant]\n{learn} {content|trim} {eos}";
static const char mistral[] =
    "[options]\nalternate = 1\n[begin]\n{bos}\n[user]\n[INST] {content} [/INST]\n[assistant]\n{learn}{content}{eos}";
static const char llama3[] =
    "[options]\ntokens = <|start_header_id|> <|end_header_id|> <|eot_id|>\n[begin]\n{bos}\n"
    "[system]\n<|start_header_id|>system<|end_header_id|>\\n\\n{content|trim}<|eot_id|>\n"
    "[user]\n<|start_header_id|>user<|end_header_id|>\\n\\n{content|trim}<|eot_id|>\n"
    "[assistant]\n<|start_header_id|>assistant<|end_header_id|>\\n\\n{learn}{content|trim}<|eot_id|>";
static const char llama31[] =
    "[options]\nsystem =\ntokens = <|start_header_id|> <|end_header_id|> <|eot_id|>\n[begin]\n{bos}\n"
    "[system]\n<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: 26 Jul 2024\\n\\n{content|trim}<|eot_id|>\n"
    "[user]\n<|start_header_id|>user<|end_header_id|>\\n\\n{content|trim}<|eot_id|>\n"
    "[assistant]\n<|start_header_id|>assistant<|end_header_id|>\\n\\n{learn}{content|trim}<|eot_id|>";
static const char chatml[] =
    "[options]\ntokens = <|im_start|> <|im_end|>\n"
    "[system]\n<|im_start|>system\\n{content}<|im_end|>\\n\n[user]\n<|im_start|>user\\n{content}<|im_end|>\\n\n"
    "[assistant]\n<|im_start|>assistant\\n{learn}{content}<|im_end|>{/learn}\\n";
static const char zephyr[] =
    "[system]\n<|system|>\\n{content}{eos}\\n\n[user]\n<|user|>\\n{content}{eos}\\n\n"
    "[assistant]\n<|assistant|>\\n{learn}{content}{eos}{/learn}\\n";
static const char hh[] =
    "[options]\nstop = \\n\\nHuman:\n[begin]\n{before}\n[user]\n\\n\\nHuman: {content}\n[assistant]\n\\n\\nAssistant:{learn} {content}{end}";

static const struct { const char *name, *text; } table[] = {
    {"alpaca", alpaca}, {"vicuna", vicuna}, {"llama2", llama2}, {"llama3", llama3}, {"llama3.1", llama31}, {"chatml", chatml},
    {"zephyr", zephyr}, {"mistral", mistral}, {"hh", hh}, {"none", none}};

const char *const *format_names(void)
{
    static const char *const names[] = {"alpaca", "vicuna", "llama2", "llama3", "llama3.1", "chatml", "zephyr", "mistral", "hh", "none", NULL};
    return names;
}

int format_builtin(const char *name, chat_format *out)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return format_parse(name, table[i].text, strlen(table[i].text), out);
    return CO_END;
}
