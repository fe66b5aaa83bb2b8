"""Conversations for the figure finetune: templates in Jinja that mark what is learned, drawn messages, tokenizers."""
import tokenizers
import transformers

ANSWER = "{% generation %}{{ CONTENT + END }}{% endgeneration %}"
TEMPLATES = {  # name: (Jinja, special pieces, end of text)
    "chatml": ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
               + ANSWER.replace("CONTENT", "m['content']").replace("END", "'<|im_end|>'")
               + "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}",
               ["<|im_start|>", "<|im_end|>", "<|end|>"], "<|end|>"),
    "llama3": ("{{ '<|begin_of_text|>' }}{% for m in messages %}"
               "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}{% if m['role'] == 'assistant' %}"
               + ANSWER.replace("CONTENT", "m['content'] | trim").replace("END", "'<|eot_id|>'")
               + "{% else %}{{ m['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}",
               ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"],
               "<|end_of_text|>"),
    "mistral": ("{{ '<s>' }}{% set s = namespace(t='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
                "{% set s.t = m['content'] + '\n\n' %}{% elif m['role'] == 'user' %}"
                "{{ '[INST] ' + s.t + m['content'] + '[/INST]' }}{% set s.t = '' %}{% else %}"
                + ANSWER.replace("CONTENT", "' ' + m['content']").replace("END", "'</s>'") + "{% endif %}{% endfor %}",
                ["<s>", "</s>", "[INST]", "[/INST]"], "</s>"),
    "mistral_v1": ("{{ '<s>' }}{% set s = namespace(t='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
                   "{% set s.t = m['content'] + '\n\n' %}{% elif m['role'] == 'user' %}"
                   "{{ ' [INST] ' + s.t + m['content'] + ' [/INST]' }}{% set s.t = '' %}{% else %}"
                   + ANSWER.replace("CONTENT", "' ' + m['content']").replace("END", "'</s>'")
                   + "{% endif %}{% endfor %}", ["<s>", "</s>"], "</s>"),
    "plain": ("{% for m in messages %}{% if m['role'] == 'assistant' %}"
              + ANSWER.replace("CONTENT", "m['content']").replace("END", "'</s>'")
              + "{% else %}{{ m['content'] }}{% endif %}{% endfor %}", ["</s>"], "</s>")}
WORDS = ("expert router token Straße señal naïve the of and 42 x+y= \u4f60\u597d \U0001f600 e\u0301 <b> {{ %} don't "
         "I'll   \t 3.14").split(" ") + ["\n", "\n\n", "  ", "<|im_sta", "</"]


def conversation(draw, most_words):
    """Alternating; some with a message of the system; contents with blanks at their ends, too."""
    def said(words):
        return "".join(draw.choice(WORDS) + draw.choice([" ", " ", ""]) for _ in range(draw.randint(1, words))) or "x"

    messages = [{"role": "system", "content": said(4)}] if draw.random() < 0.3 else []
    for _ in range(draw.randint(1, 3)):
        messages += [{"role": "user", "content": said(most_words)}, {"role": "assistant", "content": said(most_words)}]
    return messages


def make_tokenizer(folder, template):
    """A byte-level BPE with the template's pieces, saved as a model's own."""
    jinja, pieces, end = TEMPLATES[template]
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=330, special_tokens=pieces, show_progress=False,
                                             initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator([" ".join(WORDS), "user assistant system expert routers tokens"] * 20, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end)
    wrapped.chat_template = jinja
    wrapped.save_pretrained(folder)
    return wrapped


def rendered(tokenizer, messages):
    out = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return out["input_ids"], out["assistant_masks"]
